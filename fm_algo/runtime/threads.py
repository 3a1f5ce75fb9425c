"""Set the number of threads of the CPU kernel, and run them on Intel's TBB if it can be loaded.

When the system suspends a thread, TBB gives its work to a running one. Numba's own work queue
waits for it.
"""

import contextlib
import ctypes
import importlib.metadata
import logging
from typing import Any

import numba
from numba import config as numba_config

_log = logging.getLogger(__name__)
_LIBRARY = "libtbb.so.12"


def set_up(num_threads: int | None) -> int:
    """Choose the threading layer and the number of threads; call it before the first kernel.

    Parameters
    ----------
    num_threads : int or None
        The number asked for; None means one per usable processor.

    Returns
    -------
    int
        Threads in use, never more than there are usable processors.
    """
    config: Any = numba_config  # its attributes are set at import, unseen by type checkers
    config.THREADING_LAYER = "tbb" if _load_tbb() else "workqueue"
    most = int(config.NUMBA_NUM_THREADS)
    threads = min(num_threads or most, most)
    numba.set_num_threads(threads)
    # A thread takes one iteration at a time: the kernels cut their loops into pieces themselves.
    numba.set_parallel_chunksize(1)
    return threads


def _load_tbb() -> bool:
    """Load the library from the package `tbb`, which Numba does not search."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, OSError):
        for file in importlib.metadata.files("tbb") or []:
            if file.name == _LIBRARY:
                ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
                return True
    _log.warning("%s could not be loaded: training will be slower beside other work", _LIBRARY)
    return False
