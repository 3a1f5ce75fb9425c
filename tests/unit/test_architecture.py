"""What each program loads, and whether docs/architecture.md is true. (Imports: `make check`.)"""

import ast
import re
import subprocess
import sys
import tomllib

import pytest


def loaded_by(module):
    """Return the names of all modules that importing this one loads, in a process of its own."""
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            "container.training.train_job",
            {"torch", "triton", "flask", "gunicorn", "scipy.sparse", "sklearn"},
        ),
        ("container.serving.app", {"torch", "numba", "pyarrow", "scipy.sparse"}),
        ("fm_algo", {"torch", "numba", "flask", "gunicorn", "container", "scipy.sparse"}),
    ],
)
def test_nothing_is_loaded_in_vain(module, unwanted):
    loaded = loaded_by(module)

    assert module in loaded
    assert loaded & unwanted == set()


def test_the_library_is_imported_soon_and_alone():
    """What an estimator needs is loaded when one is asked for."""
    code = (
        "import sys, time; began = time.perf_counter(); import fm_algo\n"
        "print(time.perf_counter() - began, *sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]

    took_s, *loaded = min((run.stdout.split() for run in runs), key=lambda words: float(words[0]))
    assert float(took_s) < 0.3
    unwanted = {"sklearn", "pyarrow", "matplotlib", "pandas", "polars", "scipy", "joblib", "tqdm"}
    assert set(loaded) & unwanted == set()
    assert "sklearn" in loaded_by("fm_algo.estimators")
    assert loaded_by("fm_algo.estimators") & {"matplotlib", "torch"} == set()


def test_without_scikit_learn_it_is_said_what_to_install(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ImportError('not installed')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom fm_algo import FMRegressor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "scikit-learn is missing: pip install 'fm-algo[sklearn]'" in done.stderr


@pytest.mark.parametrize("program", ["train", "serve"])
def test_a_program_only_starts_the_container_package(root, program):
    tree = ast.parse((root / program).read_text())
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    ]

    assert imported
    assert all(name.startswith("container.") for name in imported)
    assert (root / program).stat().st_mode & 0o111 == 0o111


def test_only_one_module_takes_the_compiler_from_numba(root):
    """So that Numba knows what processor to compile for before the first function is declared."""
    importing = {
        path.relative_to(root).as_posix()
        for path in (root / "fm_algo").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "numba"
        and {name.name for name in node.names} & {"njit", "jit", "prange", "vectorize"}
    }

    assert importing == {"fm_algo/runtime/jit.py"}


def pictures(root):
    """Return the floors of each picture in docs/architecture.md, from the top: names of rooms."""
    page = (root / "docs" / "architecture.md").read_text()
    return [
        [
            [name.strip() for name in floor.split("│")]
            for floor in re.findall(r"^║(.*)║", picture, re.MULTILINE)
        ]
        for picture in re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]


def layers(root, contract, prefix=""):
    """Return a contract's layers as import-linter has them, from the top, without a prefix."""
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    (found,) = (each for each in tools["importlinter"]["contracts"] if each["name"] == contract)
    return [
        [name.strip().removeprefix(prefix) for name in re.split("[|:]", layer)]
        for layer in found["layers"]
    ]


def rooms_of(directory):
    """Names of the modules and packages that lie directly in a package."""
    paths = [*directory.glob("*.py"), *(init.parent for init in directory.glob("*/__init__.py"))]
    return {path.stem for path in paths} - {"__init__"}


def test_the_picture_is_true_to_the_layers(root):
    house, training = pictures(root)

    assert house == layers(root, "Imports run one way")
    assert training == layers(root, "In the room fm_algo.training", "fm_algo.training.")


def test_every_room_is_in_the_picture(root):
    house, training = ({name for floor in floors for name in floor} for floors in pictures(root))

    assert house == {
        f"{package}.{name}"
        for package in ("fm_algo", "container")
        for name in rooms_of(root / package)
    }
    assert training == rooms_of(root / "fm_algo" / "training")


def test_the_places_that_the_page_names_exist(root):
    page = (root / "docs" / "architecture.md").read_text()
    places = re.findall(
        r"`((?:fm_algo|container|deploy|tests|docs)/[\w/.]*)`(?:, `([\w.]+)`:)?", page
    )

    assert len(places) > 30
    for path, name in places:
        assert (root / path).exists(), path
        for part in filter(None, name.split(".")):
            text = (root / path).read_text()
            assert re.search(rf"^ *(?:def|class) {part}\b", text, re.MULTILINE), f"{path}: {name}"
