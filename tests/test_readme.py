"""README and docs say what is true: their commands run, their links lead somewhere."""

import ast
import http.client
import os
import re
import runpy
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fm_algo

READY_TIMEOUT_S = 60


def blocks(root: Path, language: str) -> list[str]:
    text = (root / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def pages(root: Path) -> list[Path]:
    return [*root.glob("*.md"), *root.glob("docs/*.md"), *root.glob("benchmarks/*.md")]


@pytest.fixture
def fresh_copy(root: Path, tmp_path: Path) -> Path:
    """What a clone would hold if everything were committed as it stands."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=root, capture_output=True, text=True, check=True).stdout
    copy = tmp_path / "fm-algo"
    for name in filter(None, names.split("\0")):
        if (root / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
    return copy


def test_two_commands_come_first(root: Path) -> None:
    assert [line.split("#")[0].strip() for line in blocks(root, "sh")[0].splitlines()] == [
        "make demo",
        "make test",
    ]


def test_ci_runs_both(root: Path) -> None:
    commands = (root / ".ci" / "run").read_text().splitlines()

    assert "make test" in commands
    assert "FM_FRESH_COPY=1 .venv/bin/pytest -rs tests/test_readme.py" in commands


def test_make_demo_works_on_a_fresh_copy(fresh_copy: Path) -> None:
    if not os.environ.get("FM_FRESH_COPY"):  # noqa: TID251 - asked for by .ci/run, costs minutes
        pytest.skip("FM_FRESH_COPY is not set: .ci/run sets it")

    done = subprocess.run(
        ["make", "demo"], cwd=fresh_copy, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "would give Star Wars (1977)" in done.stdout
    assert "× genres=" in done.stdout, "an answer by name"
    rmse = re.search(r"test rmse (\S+)", done.stdout)
    assert rmse is not None
    assert float(rmse[1]) < 0.90


@pytest.mark.docker
def test_the_docker_commands_work(root: Path, image: str, fresh_copy: Path) -> None:
    train, serve, ask = (
        block.replace("fm-algo", image) for block in blocks(root, "sh")[1:] if "make" not in block
    )

    run(train, fresh_copy)
    with running(serve, fresh_copy):
        answer = run(ask, fresh_copy)
    assert answer.count('{"predictions"') == len(ask.strip().splitlines())


def run(block: str, directory: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def running(block: str, directory: Path) -> Iterator[None]:
    """Run a block that serves on port 8080 until the caller is done with it."""
    with subprocess.Popen(["bash", "-c", f"exec {block}"], cwd=directory) as server:
        try:
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not answers("localhost:8080", "/ping"):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield
        finally:
            server.terminate()


def answers(host: str, path: str) -> bool:
    connection = http.client.HTTPConnection(host, timeout=READY_TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def test_python_examples_are_python(root: Path) -> None:
    examples = blocks(root, "python")

    assert examples
    for example in examples:
        ast.parse(example)


def test_links_lead_somewhere(root: Path) -> None:
    missing = [
        f"{page.relative_to(root)}: {link}"
        for page in pages(root)
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        if not (page.parent / link).exists()
    ]
    assert missing == []


def test_the_page_of_hyperparameters_is_fresh(root: Path) -> None:
    made = runpy.run_path(str(root / "docs" / "hyperparameters.py"))["make_page"]()

    assert (root / "docs" / "hyperparameters.md").read_text() == made, "run `make docs`"


def test_the_page_of_names_is_fresh_and_has_the_face_of_the_library(root: Path) -> None:
    script = runpy.run_path(str(root / "docs" / "api.py"))

    assert (root / "docs" / "api.md").read_text() == script["make_page"](), "run `make docs`"
    assert sorted(script["PUBLIC"]["fm_algo"]) == fm_algo.__all__


def test_the_page_of_errors_is_fresh(root: Path) -> None:
    made = runpy.run_path(str(root / "docs" / "errors.py"))["make_page"]()

    assert (root / "docs" / "errors.md").read_text() == made, "run `make docs`"


def test_every_run_time_dependency_has_a_reason(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["torch"]]
    architecture = (root / "docs" / "architecture.md").read_text()

    names = [re.split(r"[^\w-]", requirement)[0] for requirement in wanted]
    assert [name for name in names if f"| {name} |" not in architecture] == []


def test_the_lock_file_holds_every_dependency(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lock = (root / "requirements.lock").read_text()

    names = [re.split(r"[^\w-]", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in names if f"\n{name}==" not in lock] == []
