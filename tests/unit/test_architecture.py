"""What each program loads: a job pays for what it uses. (Import direction: `make check`.)"""

import ast
import subprocess
import sys

import pytest


def loaded_by(module):
    """Return the names of all modules that importing this one loads, in a process of its own."""
    code = f"import {module}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("container.training.train_job", {"torch", "triton", "flask", "gunicorn", "scipy.sparse"}),
        ("fm_algo", {"torch", "numba", "flask", "gunicorn", "container", "scipy.sparse"}),
    ],
)
def test_nothing_is_loaded_in_vain(module, unwanted):
    loaded = loaded_by(module)

    assert module in loaded
    assert loaded & unwanted == set()


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
