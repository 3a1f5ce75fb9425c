"""Read a FIFO of Pipe mode without ever blocking for good."""

import io
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_LOOK_AGAIN_S = 0.1
_BUFFER_BYTES = 1 << 20


def open_fifo(path: Path, should_stop: Callable[[], bool]) -> BinaryIO:
    """Open a FIFO for reading.

    The FIFO may appear late, and its writer even later; this function waits for both. Once
    `should_stop` returns True, waiting ends and the stream reads as ended.

    Parameters
    ----------
    path : Path
        E.g. /opt/ml/input/data/train_0.
    should_stop : callable
        Called ten times per second while there is nothing to read.

    Returns
    -------
    binary file
        Can be read once, from start to end; may be closed early.
    """
    return io.BufferedReader(_Fifo(path, should_stop), _BUFFER_BYTES)


class _Fifo(io.RawIOBase):
    """The read end, opened without waiting for a writer; reads wait for bytes or the end."""

    def __init__(self, path: Path, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._descriptor: int | None = None
        while not path.exists():
            if should_stop():
                return
            time.sleep(_LOOK_AGAIN_S)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while self._descriptor is not None and not self._should_stop():
            # Before the first writer there is no event; after the last one, a hang-up.
            events = self._poll.poll(1000 * _LOOK_AGAIN_S)
            if events:
                return os.readv(self._descriptor, [buffer])
        return 0

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        super().close()
