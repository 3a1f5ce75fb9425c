"""The notebooks run from top to bottom, and what they print and draw is kept in them."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from movielens import load_ratings

ROOT = Path(__file__).parents[1]
FOLDER = Path("examples", "notebooks")
NOTEBOOKS = sorted((ROOT / FOLDER).glob("*.ipynb"))
OF_A_MACHINE = re.compile(
    r"/(?:home|opt/(?!ml)|root|tmp|Users|usr|work)\b|https?://(?!127\.0\.0\.1)"
)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The notebooks in a checkout of their own, where they may leave files."""
    for entry in ROOT.iterdir():
        if not entry.name.startswith(".") and entry.name != FOLDER.parts[0]:
            (tmp_path / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / FOLDER, tmp_path / FOLDER)
    return tmp_path / FOLDER


def run(path: Path) -> nbformat.NotebookNode:
    return runpy.run_path(str(ROOT / FOLDER / "renew.py"))["run"](path)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: nbformat.NotebookNode) -> list[tuple[str, str | None]]:
    return [(output.output_type, output.get("name")) for output in cell.outputs]


def texts(cell: nbformat.NotebookNode) -> str:
    shown = [output.get("text", "") for output in cell.outputs]
    for output in cell.outputs:
        shown += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(shown)


@each_notebook
def test_it_runs_and_gives_what_is_kept(path, copies, monkeypatch):
    monkeypatch.delenv("FM_IMAGE", raising=False)
    kept = nbformat.read(path, nbformat.NO_CONVERT)
    if "movielens" in str(kept):
        try:
            load_ratings()
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("MovieLens-100k cannot be downloaded here")

    new = run(copies / path.name)

    assert [cell.source for cell in code_cells(new)] == [cell.source for cell in code_cells(kept)]
    assert [kinds(cell) for cell in code_cells(new)] == [kinds(cell) for cell in code_cells(kept)]
    assert sorted(file.name for file in copies.iterdir()) == sorted(
        file.name for file in (ROOT / FOLDER).iterdir()
    ), "it leaves files beside itself"


@pytest.mark.docker
def test_from_table_to_endpoint_in_the_image(image, copies):
    new = run(copies / "table_to_endpoint.ipynb")

    assert "in Docker" in texts(code_cells(new)[0])


@each_notebook
def test_outputs_are_kept_and_tell_nothing_of_a_machine(path):
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    cells = code_cells(notebook)

    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), (
        "run `make notebooks`"
    )
    assert not [kind for cell in cells for kind in kinds(cell) if kind[0] == "error"]
    assert not [kind for cell in cells for kind in kinds(cell) if kind[1] == "stderr"]
    assert [found for cell in cells for found in OF_A_MACHINE.findall(texts(cell))] == []
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


@each_notebook
def test_its_links_lead_somewhere(path):
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    written = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")

    links = re.findall(r"\]\((?!https?:)([^)#]+)", written)
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["from_the_builtin", "ratings", "table_to_endpoint"]
