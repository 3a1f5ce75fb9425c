"""`RowBuffer`: collect decoded rows block by block."""

import numpy as np

from fm_algo.sparse import CSRBatch, Float32Array


class RowBuffer:
    """Rows collected block by block, without a second copy when they are complete."""

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
        self._weights: Float32Array | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows so far."""
        return self._num_rows

    @property
    def num_bytes(self) -> int:
        """Memory of the rows so far, in bytes."""
        row_bytes = 12 if self._weights is None else 16
        return 8 * self._num_entries + row_bytes * self._num_rows

    @property
    def _num_entries(self) -> int:
        return int(self._indptr[self._num_rows])

    def append(self, batch: CSRBatch) -> None:
        """Add the rows of `batch`, which have labels.

        If only some batches have weights, the rows of the others get weight 1.
        """
        first_row, first_entry = self._num_rows, self._num_entries
        num_rows, num_entries = first_row + batch.num_rows, first_entry + batch.num_entries
        _grow(self._indptr, num_rows + 1)
        _grow(self._labels, num_rows)
        _grow(self._indices, num_entries)
        _grow(self._values, num_entries)
        self._indptr[first_row + 1 : num_rows + 1] = batch.indptr[1:] + first_entry
        self._labels[first_row:num_rows] = batch.require_labels()
        if self._weights is None and batch.weights is not None:
            self._weights = np.ones(first_row, np.float32)
        if self._weights is not None:
            _grow(self._weights, num_rows)
            self._weights[first_row:num_rows] = 1 if batch.weights is None else batch.weights
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
            None if self._weights is None else self._weights[: self._num_rows],
        )
        self._clear()
        self.append(rows.rows(num_rows, rows.num_rows))
        return rows.rows(0, num_rows)


def _grow(array: np.ndarray[tuple[int], np.dtype[np.generic]], size: int) -> None:
    """Make an array at least `size` long, in place; the system moves large ones without a copy."""
    if size > len(array):
        array.resize(max(size, int(len(array) * RowBuffer._GROWTH)), refcheck=False)
