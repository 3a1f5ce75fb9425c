"""The other hosts of a job, as the epoch loop and its surroundings see them."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import CSRBatch, Int64Array


class Peers(Protocol):
    """What hosts do together: all must call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """Number of this host, from 0; host 0 leads: it writes what the job leaves."""
        ...

    @property
    def size(self) -> int:
        """Number of hosts."""
        ...

    def blocks_in_step(self, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        """Pass on rows to be scored, then empty blocks until no host has any left.

        They may come out in smaller blocks.
        """
        ...

    def add_up(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Add up each number over all hosts, float64 or int64; all get the very same result."""
        ...

    def gather(self, numbers: list[int]) -> Int64Array:
        """Return the numbers of all hosts, shape (size, len(numbers))."""
        ...

    def is_stopping(self) -> bool:
        """Tell whether the hosts have agreed to stop."""
        ...

    def agree_on_stop(self) -> bool:
        """Stop together if one of the hosts is to stop; return `is_stopping`."""
        ...


class Alone:
    """No other hosts.

    Parameters
    ----------
    should_stop : callable, optional
        Whether this host is to stop.
    """

    rank = 0
    size = 1

    def __init__(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        self._should_stop = should_stop

    def blocks_in_step(self, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        """Pass on the blocks."""
        return blocks

    def add_up(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers."""
        return numbers

    def gather(self, numbers: list[int]) -> Int64Array:
        """Return the numbers, shape (1, len(numbers))."""
        return np.array([numbers], np.int64)

    def is_stopping(self) -> bool:
        """Tell whether to stop."""
        return self._should_stop()

    def agree_on_stop(self) -> bool:
        """Tell whether to stop."""
        return self._should_stop()
