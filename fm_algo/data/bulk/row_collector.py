"""`RowCollector`: where rows of compiled decoders go."""

import numpy as np

from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array


class RowCollector:
    """Rows on their way into a batch: compiled functions write them, plain decoders add theirs.

    Parameters
    ----------
    max_rows, max_entries : int
        Room for written rows. More than is used costs addresses, no memory.
    feature_dim : int
        Width of the rows.
    labelled : bool
        Whether rows have labels.

    Attributes
    ----------
    num_rows : int
        How many rows have been written to `arrays`: the writer's to set.
    """

    def __init__(
        self, *, max_rows: int, max_entries: int, feature_dim: int, labelled: bool
    ) -> None:
        self._max_rows = max_rows
        self._max_entries = max_entries
        self._feature_dim = feature_dim
        self._labelled = labelled
        self._batches: list[CSRBatch] = []
        self._make_room()

    @property
    def arrays(self) -> tuple[Int64Array, Int32Array, Float32Array, Float32Array]:
        """What to write to: indptr, indices, values and labels (none where there are no labels)."""
        return self._indptr, self._indices, self._values, self._labels

    def add(self, batch: CSRBatch) -> None:
        """Put rows behind those written so far."""
        if batch.num_rows:
            self._put_away()
            self._batches.append(batch)

    def finish(self) -> CSRBatch:
        """Return all rows."""
        self._put_away()
        if not self._batches:
            return CSRBatch.empty(self._feature_dim, labelled=self._labelled)
        return CSRBatch.join(self._batches)

    def _make_room(self) -> None:
        self._indptr = np.empty(self._max_rows + 1, np.int64)
        self._indptr[0] = 0
        self._indices = np.empty(self._max_entries, np.int32)
        self._values = np.empty(self._max_entries, np.float32)
        self._labels = np.empty(self._max_rows if self._labelled else 0, np.float32)
        self.num_rows = 0

    def _put_away(self) -> None:
        if not self.num_rows:
            return
        num_entries = int(self._indptr[self.num_rows])
        # Gives back what was not written to, in place; nobody else knows these arrays.
        self._indptr.resize(self.num_rows + 1, refcheck=False)
        self._indices.resize(num_entries, refcheck=False)
        self._values.resize(num_entries, refcheck=False)
        self._labels.resize(self.num_rows if self._labelled else 0, refcheck=False)
        labels = self._labels if self._labelled else None
        self._batches.append(
            CSRBatch(self._indptr, self._indices, self._values, labels, self._feature_dim)
        )
        self._make_room()
