"""`CSRBatch`: rows of a sparse matrix, with labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.errors import UserError

Float32Array = NDArray[np.float32]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]

MAX_FEATURE_DIM = 2**31 - 1
"""Feature numbers are int32 throughout: half the memory of int64, and wide enough."""


@dataclass(frozen=True, slots=True, eq=False)
class CSRBatch:
    """Rows in compressed sparse row form.

    Row r holds the entries `indptr[r]:indptr[r + 1]`. Within a row the features may stand in any
    order but each at most once (`combine_duplicates` makes it so). An empty row is a row.

    Attributes
    ----------
    indptr : int64, shape (num_rows + 1,)
        Where each row's entries begin; starts at 0.
    indices : int32, shape (num_entries,)
        Feature numbers, 0-based, below `feature_dim`.
    values : float32, shape (num_entries,)
        Feature values.
    labels : float32, shape (num_rows,), or None
        One label a row, where there are labels.
    feature_dim : int
        Number of features, those without an entry included.
    """

    indptr: Int64Array
    indices: Int32Array
    values: Float32Array
    labels: Float32Array | None
    feature_dim: int

    @property
    def num_rows(self) -> int:
        """Number of rows, empty ones included."""
        return len(self.indptr) - 1

    @property
    def num_entries(self) -> int:
        """Number of stored entries."""
        return len(self.indices)

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays."""
        labels_bytes = 0 if self.labels is None else self.labels.nbytes
        return self.indptr.nbytes + self.indices.nbytes + self.values.nbytes + labels_bytes

    @classmethod
    def empty(cls, feature_dim: int, *, labelled: bool) -> Self:
        """Return a batch of no rows."""
        labels = np.empty(0, np.float32) if labelled else None
        return cls(
            np.zeros(1, np.int64),
            np.empty(0, np.int32),
            np.empty(0, np.float32),
            labels,
            feature_dim,
        )

    @classmethod
    def join(cls, batches: Sequence[Self]) -> Self:
        """Return the rows of all `batches`, in order.

        Parameters
        ----------
        batches : sequence of CSRBatch
            At least one; all of one feature_dim, all with labels or none.
        """
        if len(batches) == 1:
            return batches[0]
        ends = np.cumsum([batch.num_entries for batch in batches])
        starts = [0, *ends[:-1].tolist()]
        indptr = np.concatenate(
            [
                np.zeros(1, np.int64),
                *(batch.indptr[1:] + start for batch, start in zip(batches, starts, strict=True)),
            ]
        )
        labels = [batch.labels for batch in batches if batch.labels is not None]
        return cls(
            indptr,
            np.concatenate([batch.indices for batch in batches]),
            np.concatenate([batch.values for batch in batches]),
            np.concatenate(labels) if labels else None,
            batches[0].feature_dim,
        )

    def rows(self, start: int, stop: int) -> Self:
        """Return the rows `start:stop`; entries and labels are views, not copies."""
        first, last = self.indptr[start], self.indptr[stop]
        return type(self)(
            self.indptr[start : stop + 1] - first,
            self.indices[first:last],
            self.values[first:last],
            None if self.labels is None else self.labels[start:stop],
            self.feature_dim,
        )

    def take(self, order: Int64Array) -> Self:
        """Return the rows numbered `order`, in that order, as copies."""
        lengths = np.diff(self.indptr)[order]
        indptr = np.zeros(len(order) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        # Entry e of the result comes from where its row starts in the source, plus its place there.
        source = np.arange(indptr[-1]) + np.repeat(self.indptr[order] - indptr[:-1], lengths)
        return type(self)(
            indptr,
            self.indices[source],
            self.values[source],
            None if self.labels is None else self.labels[order],
            self.feature_dim,
        )

    def combine_duplicates(self) -> Self:
        """Return the same rows with values of a feature that stands twice in a row added up.

        That is what a CSR matrix product makes of duplicates. Features keep their order, by where
        each stood first.

        Raises
        ------
        UserError
            If a sum is too large for float32.
        """
        if self.num_entries < 2:
            return self
        if self.num_rows == 1 and (self.indices[1:] > self.indices[:-1]).all():
            return self
        row_of = np.repeat(np.arange(self.num_rows), np.diff(self.indptr))
        same_row = row_of[1:] == row_of[:-1]
        if not np.any(same_row & (self.indices[1:] <= self.indices[:-1])):
            return self  # strictly ascending: the common case, one pass
        keys = row_of * np.int64(self.feature_dim) + self.indices
        _, first, place = np.unique(keys, return_index=True, return_inverse=True)
        if len(first) == len(keys):
            return self
        with np.errstate(over="ignore"):
            sums = np.bincount(place, self.values).astype(np.float32)
        order = np.argsort(first)  # an entry stays where its feature first stood
        kept, values = first[order], sums[order]
        if not np.isfinite(values).all():
            feature = self.indices[kept[~np.isfinite(values)][0]]
            raise UserError(
                f"the values of feature {feature}, which stands more than once in a row, add up to "
                "more than a float32 holds"
            )
        indptr = np.zeros(self.num_rows + 1, np.int64)
        np.cumsum(np.bincount(row_of[kept], minlength=self.num_rows), out=indptr[1:])
        return type(self)(indptr, self.indices[kept], values, self.labels, self.feature_dim)

    def require_labels(self) -> Float32Array:
        """Return the labels, float32, shape (num_rows,).

        Raises
        ------
        UserError
            If the rows have none.
        """
        if self.labels is None:
            raise UserError("these rows have no labels; training and evaluation need one a row")
        return self.labels

    def check_feature_dim(self, feature_dim: int) -> None:
        """Check that these rows fit a model.

        Raises
        ------
        UserError
            If `feature_dim` is not this batch's.
        """
        if self.feature_dim != feature_dim:
            raise UserError(
                f"rows of feature_dim {self.feature_dim} were given to a model of feature_dim "
                f"{feature_dim}"
            )


def to_float32(numbers: NDArray[np.float64]) -> Float32Array:
    """Round to float32; what is too large becomes infinite, without a warning."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)
