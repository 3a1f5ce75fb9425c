"""Where the trainer's mini-batches come from: rows in memory, or a stream read again each epoch."""

import contextlib
import functools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.gradient import Prepared, Take
from fm_algo.training.gradient.parameters import CACHE_LINE
from fm_algo.training.gradient.simd import prefetch

_ROWS_AHEAD = 8
"""How far ahead shuffled rows are fetched from memory: more than a fourfold gain (measured)."""

_T = TypeVar("_T")


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
        mini_batch_size; shuffle and seed: all rows are put in a new order each epoch.
    take : callable, optional
        What the kernel's `hold` returned for these rows.
    """

    def __init__(
        self, rows: CSRBatch, hyperparameters: Hyperparameters, take: Take | None = None
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
                yield _take(self._rows, order, start, stop)
            else:
                yield self._take(np.arange(start, stop) if order is None else order[start:stop])

    def _order(self, epoch: int) -> Int64Array | None:
        """Draw an epoch's order; for a kernel that holds the rows, during the epoch before.

        To such a kernel drawing is slow: 20 to 60 ns a row, about what training takes.
        """
        draw = functools.partial(_permutation, self._rows.num_rows, self._seed)
        ahead, self._next_order = self._next_order, None
        order = next(ahead[1]) if ahead is not None and ahead[0] == epoch else draw(epoch)
        if self._take is not None and epoch + 1 < self._num_epochs:
            self._next_order = (epoch + 1, ReadAhead(map(draw, [epoch + 1]), 2))
        return order


class StreamedRows:
    """Rows that are read anew each epoch, for data larger than memory and for pipes.

    Parameters
    ----------
    read : callable
        ``read(epoch)`` yields the rows of an epoch in blocks of any size.
    hyperparameters : Hyperparameters
        mini_batch_size; shuffle and seed: rows are put in a new order within a buffer.
    buffer_bytes : int
        Size of that buffer. The larger, the better the rows are mixed. There are three at most: one
        is cut into mini-batches, one is ready, and a thread of its own fills one.
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
                    yield _take(rows, order, start, min(start + self._size, rows.num_rows))
        finally:
            ended.set()  # else the thread would read on until its buffer is full
            filled.close()

    def _buffers(self, epoch: int, is_ended: Callable[[], bool]) -> Iterator[CSRBatch]:
        """Yield the rows buffer by buffer, whole mini-batches in all but the last."""
        buffer = RowBuffer(self._feature_dim)
        for block in self._read(epoch):
            if is_ended():
                return
            buffer.append(block)
            if buffer.num_rows >= self._size and buffer.num_bytes >= self._buffer_bytes:
                yield buffer.take(buffer.num_rows - buffer.num_rows % self._size)
        if buffer.num_rows:
            yield buffer.take(buffer.num_rows)


class RowBuffer:
    """Rows collected block by block, without a second copy of them when all are there."""

    _GROWTH = 1.125

    def __init__(self, feature_dim: int) -> None:
        self._feature_dim = feature_dim
        self._clear()

    def _clear(self) -> None:
        self._num_rows = 0
        self._indptr = np.zeros(1, np.int64)
        self._indices = np.empty(0, np.int32)
        self._values = np.empty(0, np.float32)
        self._labels = np.empty(0, np.float32)

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return self._num_rows

    @property
    def num_bytes(self) -> int:
        """Memory of the rows so far."""
        return 8 * self._num_entries + 12 * self._num_rows

    @property
    def _num_entries(self) -> int:
        return int(self._indptr[self._num_rows])

    def append(self, batch: CSRBatch) -> None:
        """Add the rows of `batch`, which have labels."""
        first_row, first_entry = self._num_rows, self._num_entries
        num_rows, num_entries = first_row + batch.num_rows, first_entry + batch.num_entries
        _grow(self._indptr, num_rows + 1)
        _grow(self._labels, num_rows)
        _grow(self._indices, num_entries)
        _grow(self._values, num_entries)
        self._indptr[first_row + 1 : num_rows + 1] = batch.indptr[1:] + first_entry
        self._labels[first_row:num_rows] = batch.require_labels()
        self._indices[first_entry:num_entries] = batch.indices
        self._values[first_entry:num_entries] = batch.values
        self._num_rows = num_rows

    def take(self, num_rows: int) -> CSRBatch:
        """Return the first rows, without a copy; the rest stay."""
        rows = CSRBatch(
            self._indptr[: self._num_rows + 1],
            self._indices[: self._num_entries],
            self._values[: self._num_entries],
            self._labels[: self._num_rows],
            self._feature_dim,
        )
        self._clear()
        self.append(rows.rows(num_rows, rows.num_rows))
        return rows.rows(0, num_rows)


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


def split_rows(rows: CSRBatch, fraction: float, seed: int) -> tuple[CSRBatch, CSRBatch]:
    """Draw a part of the rows; both parts keep the order of the rows.

    Parameters
    ----------
    rows : CSRBatch
        n rows, with labels.
    fraction : float
        Of the rows to be drawn: at least one row, and never all.
    seed : int

    Returns
    -------
    rest, drawn : CSRBatch

    Raises
    ------
    UserError
        If there are fewer than two rows.
    """
    if rows.num_rows < 2:
        raise UserError(f"{rows.num_rows} rows cannot be split in two")
    count = min(max(round(fraction * rows.num_rows), 1), rows.num_rows - 1)
    order = np.random.default_rng([seed, *b"validation"]).permutation(rows.num_rows)
    rest, drawn = np.sort(order[count:]), np.sort(order[:count])
    return _take(rows, rest, 0, len(rest)), _take(rows, drawn, 0, len(drawn))


def _shuffle_seed(hyperparameters: Hyperparameters) -> int | None:
    return hyperparameters.seed if hyperparameters.shuffle else None


def _permutation(num_rows: int, seed: int | None, *numbers: int) -> Int64Array | None:
    # Seeded by epoch and buffer too: their order does not depend on how many came before.
    return None if seed is None else np.random.default_rng([seed, *numbers]).permutation(num_rows)


def _take(rows: CSRBatch, order: Int64Array | None, start: int, stop: int) -> CSRBatch:
    """Rows `start:stop` of a given order, or as they are."""
    if order is None:
        return rows.rows(start, stop)
    chosen = order[start:stop]
    indptr, labels = np.empty(len(chosen) + 1, np.int64), np.empty(len(chosen), np.float32)
    num_entries = _lay_out(rows.indptr, rows.require_labels(), chosen, indptr, labels)
    indices, values = np.empty(num_entries, np.int32), np.empty(num_entries, np.float32)
    as_table = (rows.indices.reshape(1, -1), rows.values.reshape(1, -1))  # what `prefetch` takes
    _gather(rows.indptr, *as_table, chosen, indptr, indices, values)
    return CSRBatch(indptr, indices, values, labels, rows.feature_dim)


@njit(nogil=True, cache=True)
def _lay_out(
    indptr: Int64Array,
    labels: Float32Array,
    chosen: Int64Array,
    to_indptr: Int64Array,
    to_labels: Float32Array,
) -> int:
    """Set where each chosen row's entries go, and its label; return the number of entries."""
    to_indptr[0] = 0
    for r in range(len(chosen)):
        row = chosen[r]
        to_indptr[r + 1] = to_indptr[r] + indptr[row + 1] - indptr[row]
        to_labels[r] = labels[row]
    return int(to_indptr[len(chosen)])


@njit(nogil=True, cache=True)
def _gather(
    indptr: Int64Array,
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    chosen: Int64Array,
    to_indptr: Int64Array,
    to_indices: Int32Array,
    to_values: Float32Array,
) -> None:
    """Copy the entries of the chosen rows to the places that to_indptr gives them."""
    for r in range(len(chosen)):
        ahead = chosen[min(r + _ROWS_AHEAD, len(chosen) - 1)]
        for e in range(indptr[ahead], indptr[ahead + 1], CACHE_LINE):
            prefetch(indices, 0, e)
            prefetch(values, 0, e)
        source = indptr[chosen[r]]
        for e in range(to_indptr[r], to_indptr[r + 1]):
            to_indices[e] = indices[0, source]
            to_values[e] = values[0, source]
            source += 1


def _grow(array: np.ndarray[tuple[int], np.dtype[np.generic]], size: int) -> None:
    """Make an array at least `size` long, in place: the system moves large ones without a copy."""
    if size > len(array):
        array.resize(max(size, int(len(array) * RowBuffer._GROWTH)), refcheck=False)
