"""Make items ahead of their use, in a separate thread."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

_T = TypeVar("_T")


class ReadAhead(contextlib.AbstractContextManager["ReadAhead[_T]"], Iterator[_T]):
    """Yields items that a thread of its own makes ahead.

    An error in making an item is raised in place of the item. Close the iterator after use: this
    ends the thread once it has made its present item. After an error in a `with` block the thread
    is told to end, but not waited for: its item may be waiting for something that never comes.

    Parameters
    ----------
    items : iterable
        Makes the items.
    depth : int
        The most items that may be ready.
    """

    def __init__(self, items: Iterable[_T], depth: int) -> None:
        self._items = items
        self._ready: queue.Queue[_T | BaseException] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._make, name="read-ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> _T:
        item = self._ready.get()
        if isinstance(item, BaseException):  # StopIteration too: the end
            raise item
        return item

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._closed.set()

    def close(self) -> None:
        """End the thread, and wait until it has ended."""
        self._closed.set()
        self._thread.join()

    def _make(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._closed.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._put(error)
        else:
            self._put(StopIteration())

    def _put(self, item: _T | BaseException) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=0.1)
                return
