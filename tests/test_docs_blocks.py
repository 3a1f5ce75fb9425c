"""The Python in README and docs runs, page by page; what cannot run here says why, and compiles."""

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import pytest

from fm_algo.cli import program

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
MODEL = ROOT / "tests" / "data" / "builtin" / "binary-k8-d100" / "model.tar.gz"

BLOCK = re.compile(
    r"(?:^ *<!-- not run: (?P<why_not>.+) -->\n)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
RUN = """
import json, sys
names = {"__name__": "__main__"}
for place, code in json.load(sys.stdin):
    exec(compile(code, place, "exec"), names)
"""


class Block(NamedTuple):
    place: str
    code: str
    why_not: str | None


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [
        Block(
            f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, found.start('code')) + 1}",
            dedent(found["code"]),
            found["why_not"],
        )
        for found in BLOCK.finditer(text)
    ]


ALL = [block for page in PAGES for block in blocks(page)]
RUNNING_PAGES = [page for page in PAGES if any(not block.why_not for block in blocks(page))]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A directory as the commands of the pages leave it: a model, and vectors of it."""
    (tmp_path / "local_test").symlink_to(ROOT / "local_test")
    (tmp_path / MODEL.name).write_bytes(MODEL.read_bytes())
    ranges = ["--items", "60:100", "--users", "0:60"]
    program.main(["export-vectors", str(MODEL), str(tmp_path / "vectors"), *ranges])
    return tmp_path


@pytest.mark.parametrize("page", RUNNING_PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_one_after_another(page: Path, scratch: Path) -> None:
    to_run = [(block.place, block.code) for block in blocks(page) if not block.why_not]

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN],
        cwd=scratch,
        input=json.dumps(to_run),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.place)
def test_every_block_compiles(block: Block) -> None:
    compile(block.code, block.place, "exec")


def test_every_block_is_found() -> None:
    for page in PAGES:
        text = page.read_text()
        assert text.count("```python") == len(blocks(page)), page
        assert text.count("<!-- not run: ") == sum(bool(block.why_not) for block in blocks(page))
    assert len(RUNNING_PAGES) >= 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_stands_in_fences(page: Path) -> None:
    """Indented blocks have no language, so nobody would run them."""
    unfenced = FENCED.sub("", page.read_text())

    assert (
        re.findall(r"^ {4,}(?:from \w+[\w.]* import|import \w+).*$", unfenced, re.MULTILINE) == []
    )
