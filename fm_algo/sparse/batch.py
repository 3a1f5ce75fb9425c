"""`CSRBatch`: rows of a sparse matrix, with labels and weights."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fm_algo.errors import UserError
from fm_algo.sparse.matrix import (
    MAX_FEATURE_DIM,
    Float32Array,
    Int32Array,
    Int64Array,
    Matrix,
    find_entries,
    is_sparse,
    to_entries,
    to_labels,
    to_weights,
)


@dataclass(frozen=True, slots=True, eq=False)
class CSRBatch:
    """Rows in compressed sparse row form.

    Row r holds the entries `indptr[r]:indptr[r + 1]`. Within a row, features may stand in any
    order, but each at most once (`combine_duplicates` sees to that). An empty row is a row.

    The constructor checks nothing, and compiled code trusts its arrays. Use it only inside this
    library, and `CSRBatch.of` everywhere else.

    Attributes
    ----------
    indptr : int64, shape (num_rows + 1,)
        Where each row's entries begin; starts at 0.
    indices : int32, shape (num_entries,)
        Feature numbers, 0-based, below `feature_dim`.
    values : float32, shape (num_entries,)
        Feature values.
    labels : float32, shape (num_rows,), or None
        One label per row, if there are labels.
    feature_dim : int
        Number of features, including those without an entry.
    weights : float32, shape (num_rows,), or None
        How much each row counts, at least 0: a row of weight 2 counts as two rows of weight 1.
        None means 1 for all rows.
    """

    indptr: Int64Array
    indices: Int32Array
    values: Float32Array
    labels: Float32Array | None
    feature_dim: int
    weights: Float32Array | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows, including empty ones."""
        return len(self.indptr) - 1

    @property
    def num_entries(self) -> int:
        """Number of stored entries."""
        return len(self.indices)

    @property
    def num_bytes(self) -> int:
        """Memory of the arrays, in bytes."""
        arrays = (self.indptr, self.indices, self.values, self.labels, self.weights)
        return sum(array.nbytes for array in arrays if array is not None)

    @classmethod
    def of(
        cls,
        X: "CSRBatch | Matrix",
        y: ArrayLike | None = None,
        feature_dim: int | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        binary: bool = False,
    ) -> Self:
        """Make a checked batch from a matrix.

        Parameters
        ----------
        X : sparse matrix or array of scipy, or array of numbers; shape (num_rows, num_columns)
            Explicit zeros of a sparse matrix stay entries. Values of a feature that stands twice
            in a row are added up. A CSRBatch is checked again, and its labels and weights are used.
        y : numbers, shape (num_rows,), optional
            The labels.
        feature_dim : int, optional
            Number of features, by default num_columns. It may be more for a sparse matrix, but
            not for a dense one.
        sample_weight : numbers, shape (num_rows,), optional
            The weights, each at least 0; by default 1 for all rows.
        binary : bool, optional
            Whether labels must be 0 or 1, as for a binary_classifier.

        Returns
        -------
        CSRBatch
            Arrays that have the right type are shared with X, y and sample_weight; others are
            copied once.

        Raises
        ------
        UserError
            If X is not a matrix of finite real numbers, is damaged or does not fit feature_dim; or
            if there is not one label or weight per row, or one is not allowed.

        Notes
        -----
        Milliseconds per million entries, one processor of 2025: 1 for float32 and int32 whose
        features rise within each row, 6 if both are converted, 25 if features do not rise (they are
        sorted to find duplicates), 90 more per million entries in rows that have duplicates.
        """
        if isinstance(X, CSRBatch):
            shape = (X.num_rows, X.feature_dim)
            entries = to_entries(X.indptr, X.indices, X.values, shape)
            y = X.labels if y is None else y
            sample_weight = X.weights if sample_weight is None else sample_weight
        else:
            entries = find_entries(X)
        indptr, indices, values, num_columns = entries
        if feature_dim is None:
            feature_dim = num_columns
        is_dense = not (isinstance(X, CSRBatch) or is_sparse(X))
        _check_width(num_columns, feature_dim, is_dense=is_dense)
        num_rows = len(indptr) - 1
        labels = None if y is None else to_labels(y, num_rows, binary=binary)
        weights = None if sample_weight is None else to_weights(sample_weight, num_rows)
        rows = cls(indptr, indices, values, labels, int(feature_dim), weights)
        return rows.combine_duplicates()

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
            At least one; all have the same feature_dim, and either all have labels or none. If
            only some have weights, the rows of the others get weight 1.
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
            _join_weights(batches),
        )

    def rows(self, start: int, stop: int) -> Self:
        """Return the rows `start:stop`; its arrays are views, except for indptr."""
        first, last = self.indptr[start], self.indptr[stop]
        return type(self)(
            self.indptr[start : stop + 1] - first,
            self.indices[first:last],
            self.values[first:last],
            None if self.labels is None else self.labels[start:stop],
            self.feature_dim,
            None if self.weights is None else self.weights[start:stop],
        )

    def take(self, order: Int64Array) -> Self:
        """Return the rows numbered `order`, in that order, as copies."""
        lengths = np.diff(self.indptr)[order]
        indptr = np.zeros(len(order) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        # Entry e comes from the start of its row in the source, plus its place in that row.
        source = np.arange(indptr[-1]) + np.repeat(self.indptr[order] - indptr[:-1], lengths)
        return type(self)(
            indptr,
            self.indices[source],
            self.values[source],
            None if self.labels is None else self.labels[order],
            self.feature_dim,
            None if self.weights is None else self.weights[order],
        )

    def combine_duplicates(self) -> Self:
        """Return the same rows; add up the values of a feature that stands twice in a row.

        A matrix product of CSR rows treats duplicates in the same way. Features stay in the order
        in which each first stood.

        Raises
        ------
        UserError
            If a sum is too large for float32.
        """
        if self.num_entries < 2 or self._is_ascending():
            return self
        row_of = np.repeat(np.arange(self.num_rows), np.diff(self.indptr))
        keys = row_of * np.int64(self.feature_dim) + self.indices
        in_order = np.sort(keys)
        twice = in_order[1:][in_order[1:] == in_order[:-1]]
        if not len(twice):
            return self
        has_twice = np.zeros(self.num_rows, np.bool_)
        has_twice[twice // self.feature_dim] = True
        among = np.flatnonzero(has_twice[row_of])  # the other rows stay as they are
        _, first, place = np.unique(keys[among], return_index=True, return_inverse=True)
        kept = among[first]  # an entry stays where its feature first stood
        with np.errstate(over="ignore"):
            sums = np.bincount(place, self.values[among]).astype(np.float32)
        if not np.isfinite(sums).all():
            feature = self.indices[kept[~np.isfinite(sums)].min()]
            raise UserError(
                f"the values of feature {feature}, which stands more than once in a row, add up to "
                "more than a float32 holds"
            )
        values = self.values.copy()
        values[kept] = sums
        stays = ~has_twice[row_of]
        stays[kept] = True
        indptr = np.zeros(self.num_rows + 1, np.int64)
        np.cumsum(np.bincount(row_of[stays], minlength=self.num_rows), out=indptr[1:])
        indices, values = self.indices[stays], values[stays]
        return dataclasses.replace(self, indptr=indptr, indices=indices, values=values)

    def _is_ascending(self) -> bool:
        """Return whether features rise within each row, as they mostly do; takes one pass."""
        falls = self.indices[1:] <= self.indices[:-1]
        if self.num_rows > 1:  # from row to row they may fall
            starts = self.indptr[1:-1]
            falls[starts[(starts > 0) & (starts < self.num_entries)] - 1] = False
        return not falls.any()

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

    def weigh(self, numbers: Float32Array) -> Float32Array:
        """Multiply a number per row by the row's weight.

        Parameters
        ----------
        numbers : float32, shape (num_rows,)

        Returns
        -------
        float32, shape (num_rows,)
            `numbers` itself if the rows have no weights.
        """
        return numbers if self.weights is None else numbers * self.weights

    def drop_weightless(self) -> Self:
        """Return the rows whose weight is not 0; if that is all of them, uncopied.

        A row of weight 0 does not count. Left in, it would still fill up a mini-batch, and decay
        and momentum would move its features.
        """
        if self.weights is None or self.weights.all():
            return self
        return self.take(np.flatnonzero(self.weights))

    def check_feature_dim(self, feature_dim: int) -> None:
        """Check that these rows fit a model.

        Raises
        ------
        UserError
            If this batch has another feature_dim.
        """
        if self.feature_dim != feature_dim:
            raise UserError(
                f"rows of feature_dim {self.feature_dim} were given to a model of feature_dim "
                f"{feature_dim}"
            )


def _join_weights(batches: Sequence[CSRBatch]) -> Float32Array | None:
    if all(batch.weights is None for batch in batches):
        return None
    return np.concatenate(
        [
            np.ones(batch.num_rows, np.float32) if batch.weights is None else batch.weights
            for batch in batches
        ]
    )


def _check_width(num_columns: int, feature_dim: int, *, is_dense: bool) -> None:
    is_number = isinstance(feature_dim, int | np.integer) and not isinstance(feature_dim, bool)
    if not is_number or not 0 <= feature_dim <= MAX_FEATURE_DIM:
        raise UserError(
            f"feature_dim {feature_dim!r}, allowed are whole numbers from 0 to {MAX_FEATURE_DIM}"
        )
    if num_columns > feature_dim or (is_dense and num_columns < feature_dim):
        most = "" if is_dense else "at most "
        raise UserError(
            f"rows of {num_columns} columns, allowed are {most}{feature_dim} = feature_dim"
        )


def to_float32(numbers: NDArray[np.float64]) -> Float32Array:
    """Round to float32; a number too large becomes infinite, without a warning."""
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)
