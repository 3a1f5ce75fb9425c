"""Numba's cache in an image: filled when the image is built, read wherever it runs.

The Dockerfile sets NUMBA_CACHE_LOCATOR_CLASSES, so that Numba asks `ImageCacheLocator` where
compiled code lies. By default, Numba compiles for the exact processor it finds, so code from the
build would fit few others. It also refuses a cache directory that it cannot write to.

The image holds code for several levels of processors, one directory per level. A job takes the
best level that its processor can run. The build chooses a level by NUMBA_CPU_NAME. It asks
``python -m fm_algo.runtime.image_cache`` which levels it can compile for.
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
"""What each level adds to the one before; x86-64 psABI, "Micro-Architecture Levels"."""


def levels() -> list[str]:
    """Return the levels this processor supports, the best first; none if it is not x86-64."""
    if not binding.get_process_triple().startswith("x86_64"):
        return []
    own = binding.get_host_cpu_features()
    return [level for level, features in _LEVELS.items() if all(map(own.get, features))]


def choose_level() -> None:
    """Make Numba compile for a level, if the image's cache is in use.

    NUMBA_CPU_NAME decides. Without it, take the best level that the cache holds code for, or else
    the best level of this processor. Call this before Numba compiles anything: Numba reads the
    features of a processor only once.
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
    """Finds a level's code below NUMBA_CACHE_DIR, or in a copy if that is read-only."""

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
    """Copy a level's directory to a temporary one, removed when this process ends."""
    copy = tempfile.mkdtemp(prefix="fm-algo-kernels-")
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    level = directory.parent.name
    return Path(shutil.copytree(directory, Path(copy) / level / directory.name))


if __name__ == "__main__":
    sys.stdout.write("\n".join(levels()) + "\n")
