"""What training asks of the other hosts of its job."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import CSRBatch, Int64Array


class Peers(Protocol):
    """What the hosts do together: all must call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """Number of this host, from 0. Host 0 leads: it writes the model and the checkpoints."""
        ...

    @property
    def size(self) -> int:
        """Number of hosts."""
        ...

    def blocks_in_step(self, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        """Yield the rows to be scored, then empty blocks until no host has rows left.

        The blocks yielded may be smaller than the blocks given.
        """
        ...

    def add_up(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Add up each number, float64 or int64, over all hosts; all get exactly the same result."""
        ...

    def gather(self, numbers: list[int]) -> Int64Array:
        """Return the numbers of all hosts, shape (size, len(numbers))."""
        ...

    def is_stopping(self) -> bool:
        """Tell whether the hosts have agreed to stop."""
        ...

    def agree_on_stop(self) -> bool:
        """Stop all hosts if one of them is to stop; return `is_stopping`."""
        ...


class Alone:
    """The peers of a job with a single host.

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
        """Return the blocks unchanged."""
        return blocks

    def add_up(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the numbers unchanged."""
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
