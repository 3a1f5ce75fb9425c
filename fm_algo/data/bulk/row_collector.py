"""`RowCollector`: collects the rows of compiled and plain decoders into a batch."""

import numpy as np

from fm_algo.data.bulk.frame import Form, RowArrays, UInt8Array, append_rows
from fm_algo.sparse import CSRBatch


class RowCollector:
    """Collects the rows of a batch: compiled functions write rows, plain decoders add batches.

    Parameters
    ----------
    max_rows, max_entries : int
        Room for written rows. Unused room costs addresses but no memory.
    feature_dim : int
        Width of the rows.
    labelled : bool
        Whether rows have labels.

    Attributes
    ----------
    num_rows : int
        How many rows have been written since a batch was last added.
    """

    def __init__(
        self, *, max_rows: int, max_entries: int, feature_dim: int, labelled: bool
    ) -> None:
        self._max_rows = max_rows
        self._max_entries = max_entries
        self._feature_dim = feature_dim
        self._labelled = labelled
        self._batches: list[CSRBatch] = []
        self.num_rows = 0
        self._make_room()

    def decode(self, source: UInt8Array, position: int, form: Form) -> int:
        """Write rows of a source from `position` on; return where the last row written ends.

        The arguments are those of `append_rows`.
        """
        position, self.num_rows = append_rows(source, position, form, self._arrays, self.num_rows)
        return position

    def add(self, batch: CSRBatch) -> None:
        """Append a batch after the rows so far."""
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
        self._arrays = RowArrays(
            np.empty(self._max_rows + 1, np.int64),
            np.empty(self._max_entries, np.int32),
            np.empty(self._max_entries, np.float32),
            np.empty(self._max_rows if self._labelled else 0, np.float32),
        )
        self._arrays.indptr[0] = 0
        self.num_rows = 0

    def _put_away(self) -> None:
        if not self.num_rows:
            return
        indptr, indices, values, labels = self._arrays
        num_entries = int(indptr[self.num_rows])
        # Shrink in place to what was written; nothing else refers to these arrays.
        indptr.resize(self.num_rows + 1, refcheck=False)
        indices.resize(num_entries, refcheck=False)
        values.resize(num_entries, refcheck=False)
        labels.resize(self.num_rows if self._labelled else 0, refcheck=False)
        self._batches.append(
            CSRBatch(indptr, indices, values, labels if self._labelled else None, self._feature_dim)
        )
        self._make_room()
