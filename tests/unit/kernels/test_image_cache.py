import os
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding

LEVEL = "x86-64-v3" if binding.get_host_cpu_features().get("avx2") else "None"

FUNCTION = """
import sys
from numba import config, njit

@njit(cache=True)
def double(x):
    return 2 * x

print(double(21), config.CPU_NAME, double._cache.cache_path)
"""


def run(script: Path, cache: Path) -> str:
    """Declare and call a function as the image does; return what Numba says of its cache too."""
    variables = {
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_CACHE_LOCATOR_CLASSES": "fm_algo.kernels.image_cache.ImageCacheLocator",
        "NUMBA_DEBUG_CACHE": "1",
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


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root may write anywhere; the image's tests see to it"
)
def test_a_read_only_cache_is_read(script: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    run(script, cache)
    (place,) = cache.iterdir()
    place.chmod(0o555)

    again = run(script, cache)

    assert "data loaded from" in again
    assert f"42 {LEVEL} " in again
    assert not Path(again.split()[-1]).exists(), "a copy ends with its process"
