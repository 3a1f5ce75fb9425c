"""Numba's cache in an image: filled when the image is built, read wherever it runs.

NUMBA_CACHE_LOCATOR_CLASSES, which the Dockerfile sets, makes Numba ask `ImageCacheLocator` where
compiled code lies. Left to itself, Numba compiles for the very processor it finds, so that code
from the build would fit few others; and it refuses a cache directory that it cannot write to.
"""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from llvmlite import binding
from numba import config as numba_config
from numba.core.caching import UserProvidedCacheLocator

_LEVEL = "x86-64-v3"
_FEATURES_OF_LEVEL = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
"""x86-64 psABI, table "Micro-Architecture Levels". The kernels' vectors are as wide as this level's
registers: the wider ones of x86-64-v4 would lie idle."""


class ImageCacheLocator(UserProvidedCacheLocator):
    """Finds compiled code below NUMBA_CACHE_DIR; where that is read-only, in a copy of it.

    Numba asks when a function is declared, before the first is compiled: late enough to be called,
    early enough to say what processor to compile for.
    """

    def __init__(self, py_func: object, py_file: str) -> None:
        super().__init__(py_func, py_file)  # type: ignore[no-untyped-call] # Numba has no types
        _compile_for_level()
        directory = Path(self._cache_path)
        if directory.is_dir() and not os.access(directory, os.W_OK):
            self._cache_path = _writable_copy(directory)


def _compile_for_level() -> None:
    """Let Numba compile for all processors of a level, if this one has it."""
    features = binding.get_host_cpu_features()
    if all(features.get(feature) for feature in _FEATURES_OF_LEVEL):
        config: Any = numba_config  # its attributes are set at import, unseen by type checkers
        config.CPU_NAME, config.CPU_FEATURES = _LEVEL, ""


@functools.cache
def _writable_copy(directory: Path) -> str:
    """Copy a directory to one that lives as long as this process."""
    copy = tempfile.mkdtemp(prefix="fm-algo-kernels-")
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    return shutil.copytree(directory, copy, dirs_exist_ok=True)
