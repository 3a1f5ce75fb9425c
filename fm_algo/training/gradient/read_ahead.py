"""Items made ahead of their use, by a thread of their own."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

_T = TypeVar("_T")


class ReadAhead(contextlib.AbstractContextManager["ReadAhead[_T]"], Iterator[_T]):
    """Items made ahead by a thread of its own.

    An error in making an item comes out where the item would have. To be closed after use, which
    ends the thread once it has made the item it is at. Where an error ends the use, that is not
    waited for: the item may be waiting for what never comes.

    Parameters
    ----------
    items : iterable
        Where they come from.
    depth : int
        How many may be ready.
    """

    def __init__(self, items: Iterable[_T], depth: int) -> None:
        self._items = items
        self._ready: queue.Queue[_T | BaseException] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._make, name="read-ahead", daemon=True)
        self._thread.start()

    def __next__(self) -> _T:
        item = self._ready.get()
        if isinstance(item, BaseException):  # StopIteration among them: the end
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
        """End the thread."""
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
