import os
import subprocess
import sys
from pathlib import Path

import pytest

from fm_algo.runtime.image_cache import levels

LEVEL = next(iter(levels()), None)

FUNCTION = """
import sys
from numba import config
from fm_algo.runtime.jit import njit

@njit(cache=True)
def double(x):
    return 2 * x

print(double(21), config.CPU_NAME, double._cache.cache_path)
"""


def run(script: Path, cache: Path, **more_variables: str) -> str:
    """Declare and call a function as the image does; return what Numba says of its cache too."""
    variables = {
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_CACHE_LOCATOR_CLASSES": "fm_algo.runtime.image_cache.ImageCacheLocator",
        "NUMBA_DEBUG_CACHE": "1",
        **more_variables,
    }
    command = [sys.executable, script]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "function.py"
    path.write_text(FUNCTION)
    return path


def test_code_is_compiled_once_and_for_a_level_of_processors(script: Path, tmp_path: Path) -> None:
    first, second = run(script, tmp_path / "cache"), run(script, tmp_path / "cache")

    assert "data saved to" in first
    assert "data saved to" not in second
    assert "data loaded from" in second
    assert f"42 {LEVEL} " in second


@pytest.mark.skipif(not levels(), reason="no x86-64")
def test_the_best_level_that_was_compiled_is_taken(script: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    run(script, cache, NUMBA_CPU_NAME="x86-64")
    generic = run(script, cache)
    run(script, cache, NUMBA_CPU_NAME=levels()[0])
    best = run(script, cache)

    assert "data loaded from" in generic
    assert "42 x86-64 " in generic
    assert "data loaded from" in best
    assert f"42 {LEVEL} " in best


def test_the_levels_of_a_processor_end_with_the_generic_one() -> None:
    command = [sys.executable, "-m", "fm_algo.runtime.image_cache"]

    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert printed == levels()
    assert printed[-1:] in ([], ["x86-64"])


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root may write anywhere; the image's tests see to it"
)
def test_a_read_only_cache_is_read(script: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(script, cache)
    (place,) = cache.glob("*/*")
    place.chmod(0o555)

    again = run(script, cache)

    assert "data loaded from" in again
    assert f"42 {LEVEL} " in again
    assert not Path(again.split()[-1]).exists(), "a copy ends with its process"
