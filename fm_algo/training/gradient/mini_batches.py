"""Mini-batches from rows in memory, or from a stream that is read again each epoch."""

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from fm_algo.data.row_buffer import RowBuffer
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Int64Array
from fm_algo.training.gradient import Prepared
from fm_algo.training.gradient.gather import gather_rows
from fm_algo.training.gradient.read_ahead import ReadAhead


class RowSource(Protocol):
    """The training rows, cut into mini-batches."""

    def mini_batches(self, epoch: int) -> Iterator[CSRBatch | Prepared]:
        """Yield the mini-batches of an epoch, each row once; the last one may be shorter.

        The same epoch of the same source always gives the same mini-batches. A source that knows
        the kernel may yield them prepared.
        """
        ...


class CachedRows:
    """Rows in memory.

    Parameters
    ----------
    rows : CSRBatch
        All of them, with labels.
    hyperparameters : Hyperparameters
        mini_batch_size, shuffle and seed. Shuffling puts all rows in a new order for each epoch.
    take : callable, optional
        What the kernel's `hold` returned for these rows.
    """

    def __init__(
        self,
        rows: CSRBatch,
        hyperparameters: Hyperparameters,
        take: Callable[[Int64Array], Prepared] | None = None,
    ) -> None:
        self._rows = rows
        self._take = take
        self._num_epochs = hyperparameters.epochs
        self._next_order: tuple[int, Iterator[Int64Array | None]] | None = None
        self._size = hyperparameters.mini_batch_size
        self._seed = _shuffle_seed(hyperparameters)

    def mini_batches(self, epoch: int) -> Iterator[CSRBatch | Prepared]:
        """Yield the mini-batches of an epoch."""
        order = self._order(epoch)
        for start in range(0, self._rows.num_rows, self._size):
            stop = min(start + self._size, self._rows.num_rows)
            if self._take is None:
                yield gather_rows(self._rows, order, start, stop)
            else:
                yield self._take(np.arange(start, stop) if order is None else order[start:stop])

    def _order(self, epoch: int) -> Int64Array | None:
        """Draw an epoch's order; if the kernel holds the rows, do so during the epoch before.

        For such a kernel drawing is slow: it takes 20 to 60 ns per row, about as long as training.
        """
        draw = functools.partial(_permutation, self._rows.num_rows, self._seed)
        ahead, self._next_order = self._next_order, None
        order = next(ahead[1]) if ahead is not None and ahead[0] == epoch else draw(epoch)
        if self._take is not None and epoch + 1 < self._num_epochs:
            self._next_order = (epoch + 1, ReadAhead(map(draw, [epoch + 1]), 2))
        return order


class StreamedRows:
    """Rows that are read again for each epoch, for data larger than memory and for pipes.

    Parameters
    ----------
    read : callable
        ``read(epoch)`` yields the rows of an epoch in blocks of any size.
    hyperparameters : Hyperparameters
        mini_batch_size, shuffle and seed. Shuffling puts the rows of a buffer in a new order.
    buffer_bytes : int
        Size of that buffer. A larger one mixes the rows better. There are at most three buffers:
        one is cut into mini-batches, one is ready, and a separate thread fills one.
    """

    def __init__(
        self,
        read: Callable[[int], Iterator[CSRBatch]],
        hyperparameters: Hyperparameters,
        buffer_bytes: int,
    ) -> None:
        self._read = read
        self._feature_dim = hyperparameters.feature_dim
        self._size = hyperparameters.mini_batch_size
        self._seed = _shuffle_seed(hyperparameters)
        self._buffer_bytes = buffer_bytes if hyperparameters.shuffle else 0

    def mini_batches(self, epoch: int) -> Iterator[CSRBatch]:
        """Yield the mini-batches of an epoch."""
        ended = threading.Event()
        filled = ReadAhead(self._buffers(epoch, ended.is_set), 1)
        try:
            for number, rows in enumerate(filled):
                order = _permutation(rows.num_rows, self._seed, epoch, number)
                for start in range(0, rows.num_rows, self._size):
                    yield gather_rows(rows, order, start, min(start + self._size, rows.num_rows))
        finally:
            ended.set()  # else the thread would read on until its buffer is full
            filled.close()

    def _buffers(self, epoch: int, is_ended: Callable[[], bool]) -> Iterator[CSRBatch]:
        """Yield the rows buffer by buffer; all buffers but the last hold whole mini-batches."""
        buffer = RowBuffer(self._feature_dim)
        for block in self._read(epoch):
            if is_ended():
                return
            buffer.append(block)
            if buffer.num_rows >= self._size and buffer.num_bytes >= self._buffer_bytes:
                yield buffer.take(buffer.num_rows - buffer.num_rows % self._size)
        if buffer.num_rows:
            yield buffer.take(buffer.num_rows)


def draw_order(num_rows: int, hyperparameters: Hyperparameters, epoch: int) -> Int64Array | None:
    """Draw the order of rows in an epoch, int64, shape (num_rows,); None as they stand."""
    return _permutation(num_rows, _shuffle_seed(hyperparameters), epoch)


def _shuffle_seed(hyperparameters: Hyperparameters) -> int | None:
    return hyperparameters.seed if hyperparameters.shuffle else None


def _permutation(num_rows: int, seed: int | None, *numbers: int) -> Int64Array | None:
    # Seeded by epoch and buffer too, so that no order depends on how many came before.
    return None if seed is None else np.random.default_rng([seed, *numbers]).permutation(num_rows)
