"""`Turns`: so many threads at a time, in the order in which they asked."""

import threading
from collections import deque


class Turns:
    """A semaphore that is fair: who gives a turn back and wants another one stands behind the rest.

    Parameters
    ----------
    num_turns : int
        How many there are at a time.
    """

    def __init__(self, num_turns: int) -> None:
        self._num_free = num_turns
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def take(self, timeout_s: float) -> bool:
        """Take a turn; tell whether one came in time."""
        with self._lock:
            if self._num_free:
                self._num_free -= 1
                return True
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(timeout_s):
            return True
        with self._lock:
            if mine.is_set():  # it came after all
                return True
            self._waiting.remove(mine)
            return False

    def give_back(self) -> None:
        """Give a turn back, to who has waited longest if anybody does."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._num_free += 1
