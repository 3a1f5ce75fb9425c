"""Start the server: this process becomes gunicorn's master and gets the platform's SIGTERM."""

import atexit
import contextlib
import ctypes
import os
import shutil
import sys
import tempfile

from gunicorn.app.wsgiapp import run

from container.settings import share_metrics, shared_memory

_M_ARENA_MAX = -8  # malloc.h


def main() -> None:
    """Serve until SIGTERM; how, says gunicorn_conf.py."""
    # One heap for all threads: glibc would give each of dozens its own, and none ever shrinks.
    with contextlib.suppress(AttributeError):  # where malloc is not glibc's
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    # Each worker keeps its own counters there, so that any of them can tell the sum.
    directory = tempfile.mkdtemp(prefix="fm-metrics-", dir=shared_memory())
    share_metrics(directory)
    atexit.register(_remove, directory, owner=os.getpid())
    sys.argv[1:] = ["--config", "python:container.serving.gunicorn_conf"]
    run()


def _remove(directory: str, *, owner: int) -> None:
    if os.getpid() == owner:  # a worker, forked from it, ends in the same way
        shutil.rmtree(directory, ignore_errors=True)
