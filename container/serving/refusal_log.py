"""`RefusalLog`: where the log of refused requests goes, which no client may fill."""

import contextlib
import copy
import logging
import re
import threading
import time
from dataclasses import dataclass
from typing import TextIO

WINDOW_S = 10.0
"""For how long lines like the first one are only counted."""

_MAX_KINDS = 32
"""Kinds of lines that are told apart within a window; all others count as one more."""

_OTHERS = ""
_NUMBER = re.compile(r"\d+")


@dataclass(slots=True)
class _Kind:
    """Lines of a window that differ in numbers alone.

    Attributes
    ----------
    num_lines : int
        The first one, which has been written, among them.
    last : logging.LogRecord
    """

    num_lines: int
    last: logging.LogRecord


class RefusalLog(logging.StreamHandler[TextIO]):
    """Writes the first and the last of many warnings alike, and how many there were.

    A window opens with a warning. When it ends, or the process does, the last warning of each kind
    is written. Errors are written at once, with their tracebacks.

    Parameters
    ----------
    stream : text stream
    window_s : float, optional
    """

    def __init__(self, stream: TextIO, window_s: float = WINDOW_S) -> None:
        super().__init__(stream)
        self._window_s = window_s
        self._opened_at = 0.0
        self._kinds: dict[str, _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it; `handle` calls this, one thread at a time."""
        if record.levelno != logging.WARNING:
            super().emit(record)
            return
        if time.monotonic() > self._opened_at + self._window_s:
            self._end_window()  # the timer is late, or found no thread
        name = _NUMBER.sub("0", record.getMessage())
        if name not in self._kinds and len(self._kinds) >= _MAX_KINDS:
            name = _OTHERS
        kind = self._kinds.get(name)
        if kind is not None:
            kind.num_lines += 1
            kind.last = record
            return
        if not self._kinds:
            self._open_window()
        self._kinds[name] = _Kind(1, record)
        super().emit(record)

    def close(self) -> None:
        """End the window; `logging.shutdown` calls this when the process ends."""
        self._end_window()
        super().close()

    def _open_window(self) -> None:
        self._opened_at = time.monotonic()
        timer = threading.Timer(self._window_s, self._end_window)
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # no thread is left
            timer.start()

    def _end_window(self) -> None:
        self.acquire()
        try:
            for kind in self._kinds.values():
                if kind.num_lines > 1:
                    super().emit(self._last_of(kind))
            self._kinds.clear()
        finally:
            self.release()

    def _last_of(self, kind: _Kind) -> logging.LogRecord:
        record = copy.copy(kind.last)
        elapsed_s = time.monotonic() - self._opened_at
        told = f"the last of {kind.num_lines} such lines in {elapsed_s:.1f} s"
        record.msg, record.args = f"{record.getMessage()} ({told})", None
        return record
