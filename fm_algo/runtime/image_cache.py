"""Numba's cache in an image: filled when the image is built, read wherever it runs.

NUMBA_CACHE_LOCATOR_CLASSES, which the Dockerfile sets, makes Numba ask `ImageCacheLocator` where
compiled code lies. Left to itself, Numba compiles for the very processor it finds, so that code
from the build would fit few others; and it refuses a cache directory that it cannot write to.

The image holds code for several levels of processors, each in a directory of its own; a job takes
the best that its processor can run. The build compiles for a level by NUMBA_CPU_NAME, and asks
``python -m fm_algo.runtime.image_cache`` for the levels it can compile for.
"""

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from llvmlite import binding
from numba import config as numba_config
from numba.core.caching import UserProvidedCacheLocator

_V3 = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_LEVELS = {"x86-64-v4": _V3 + _V4, "x86-64-v3": _V3, "x86-64": ()}
"""What each level has beyond the one before; x86-64 psABI, "Micro-Architecture Levels"."""


def levels() -> list[str]:
    """Return the levels that this processor has, the best first; none if it is no x86-64."""
    if not binding.get_process_triple().startswith("x86_64"):
        return []
    own = binding.get_host_cpu_features()
    return [level for level, features in _LEVELS.items() if all(map(own.get, features))]


def choose_level() -> None:
    """Let Numba compile for a level, if the image's cache is in use.

    It is what NUMBA_CPU_NAME says; else the best that the cache holds code for; if it holds none,
    the best of this processor. To be called before Numba compiles anything: it takes the features
    of a processor but once.
    """
    config: Any = numba_config  # its attributes are set at import, unseen by type checkers
    if ImageCacheLocator.__name__ not in config.CACHE_LOCATOR_CLASSES:
        return
    own = levels()
    compiled = [level for level in own if (Path(config.CACHE_DIR) / level).is_dir()]
    level = config.CPU_NAME or next(iter(compiled or own), None)
    if level in _LEVELS:
        config.CPU_NAME, config.CPU_FEATURES = level, ""


class ImageCacheLocator(UserProvidedCacheLocator):
    """Finds a level's code below NUMBA_CACHE_DIR; where that is read-only, in a copy of it."""

    def __init__(self, py_func: object, py_file: str) -> None:
        super().__init__(py_func, py_file)  # type: ignore[no-untyped-call] # Numba has no types
        config: Any = numba_config
        cache = Path(config.CACHE_DIR)
        directory = cache / str(config.CPU_NAME) / Path(self._cache_path).relative_to(cache)
        if directory.is_dir() and not os.access(directory, os.W_OK):
            directory = _writable_copy(directory)
        self._cache_path = str(directory)


@functools.cache
def _writable_copy(directory: Path) -> Path:
    """Copy a level's directory to one that lives as long as this process."""
    copy = tempfile.mkdtemp(prefix="fm-algo-kernels-")
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    level = directory.parent.name
    return Path(shutil.copytree(directory, Path(copy) / level / directory.name))


if __name__ == "__main__":
    sys.stdout.write("\n".join(levels()) + "\n")
