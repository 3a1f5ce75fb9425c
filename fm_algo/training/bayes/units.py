"""Feature values from their mean and in units of their own size, so that one prior suits all."""

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array

_LEAST_SPREAD = 1e-6
"""Of a feature's mean; below that its spread is but rounding of float32 values."""


@dataclass(frozen=True, slots=True)
class Units:
    """Where a value counts from, and what a value of 1 is, for each feature.

    A prior knows no units, and float32 sums of squares lose what is small beside them. So a value
    of 1 is the root of the mean square of a feature's entries. Features whose values are all 1 or
    -1, those of one-hot columns, stay as they are.

    A column that is in every row and far from 0, such as years, hardly differs from the bias, and
    two of them from each other. Sweeps then take turns in moving what only their sum is held to,
    until rounding takes over. So the values of such a feature count from their mean.

    Attributes
    ----------
    sizes : float32, shape (feature_dim,), or None
        None where all are 1.
    centers : float32, shape (feature_dim,), or None
        None where all are 0.

    Notes
    -----
    A model of x - c is a model of x with the same factors, because the products that c brings in
    are linear in x. See `_moved`.
    """

    sizes: Float32Array | None
    centers: Float32Array | None = None

    @classmethod
    def of(cls, rows: CSRBatch, *, may_move: bool = True) -> Self:
        """Measure the rows' values; a feature without entries other than 0 has the size 1.

        Parameters
        ----------
        rows : CSRBatch
        may_move : bool, optional
            Whether values may count from their mean. The model then needs a bias and linear
            weights.
        """
        if (rows.values == 1).all():
            return cls(None)
        squares = _means(rows, np.square(rows.values, dtype=np.float64))
        centers = None
        is_far = np.bincount(rows.indices, minlength=rows.feature_dim) == rows.num_rows
        if may_move and is_far.any():
            means = _means(rows, rows.values.astype(np.float64))
            spreads = np.maximum(squares - means**2, 0)
            is_far &= (means**2 > spreads) & (spreads > (_LEAST_SPREAD * means) ** 2)
            squares[is_far] = spreads[is_far]
            centers = np.where(is_far, means, 0).astype(np.float32) if is_far.any() else None
        sizes = np.sqrt(squares).astype(np.float32)
        sizes[sizes == 0] = 1
        return cls(sizes, centers)

    def rows(self, rows: CSRBatch) -> CSRBatch:
        """Return rows with their values in these units."""
        if self.sizes is None:
            return rows
        values = rows.values
        if self.centers is not None:
            rows = _filled(rows, np.flatnonzero(self.centers).astype(np.int32))
            values = rows.values - self.centers[rows.indices]
        return dataclasses.replace(rows, values=values / self.sizes[rows.indices])

    def model(self, model: FMModel) -> FMModel:
        """Return the model of plain values of one of values in these units."""
        if self.sizes is None:
            return model
        w, V = model.w / self.sizes, model.V / self.sizes[:, np.newaxis]
        plain = FMModel(model.predictor_type, model.w0, w, V)
        return plain if self.centers is None else _moved(plain, self.centers)

    def model_in_units(self, model: FMModel) -> FMModel:
        """Return the model of values in these units of one of plain values."""
        if self.sizes is None:
            return model
        if self.centers is not None:
            model = _moved(model, -self.centers)
        w, V = model.w * self.sizes, model.V * self.sizes[:, np.newaxis]
        return FMModel(model.predictor_type, model.w0, w, V)


def _moved(model: FMModel, by: Float32Array) -> FMModel:
    """Return the model that scores x as this one scores x - by; (feature_dim,), mostly 0.

    With S = Σ_j v_j by_j: w0 − Σ_j w_j by_j + ½ (|S|² − Σ_j |v_j|² by_j²), and
    w_i − <v_i, S> + |v_i|² by_i.
    """
    moved = np.flatnonzero(by)
    steps, V = by[moved].astype(np.float64), model.V[moved].astype(np.float64)
    total = np.einsum("jf,j->f", V, steps)
    own = np.einsum("jf,jf->j", V, V) * steps
    w0 = model.w0 - model.w[moved] @ steps + 0.5 * (total @ total - own @ steps)
    # Not by BLAS: its threads would go on spinning beside those that train.
    w = model.w - np.einsum("if,f->i", model.V, total, dtype=np.float64)
    w[moved] += own
    return FMModel(model.predictor_type, w0.astype(np.float32), w.astype(np.float32), model.V)


def _filled(rows: CSRBatch, features: NDArray[np.int32]) -> CSRBatch:
    """Return the rows with an entry, be it 0, for each of some features."""
    place = np.full(rows.feature_dim, -1, np.int32)
    place[features] = np.arange(len(features))
    found = place[rows.indices]
    if np.count_nonzero(found >= 0) == rows.num_rows * len(features):
        return rows  # as training rows are: a feature stands at most once in a row
    row_of = np.repeat(np.arange(rows.num_rows), np.diff(rows.indptr))
    lacks = np.ones((rows.num_rows, len(features)), np.bool_)
    lacks[row_of[found >= 0], found[found >= 0]] = False
    lacking, which = np.nonzero(lacks)
    ends = rows.indptr[lacking + 1]
    return dataclasses.replace(
        rows,
        indptr=rows.indptr + np.append(0, np.cumsum(lacks.sum(axis=1))),
        indices=np.insert(rows.indices, ends, features[which]),
        values=np.insert(rows.values, ends, 0),
    )


def _means(rows: CSRBatch, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted mean of a number per entry for each feature, (feature_dim,); changes `numbers`."""
    if rows.weights is not None:
        numbers *= np.repeat(rows.weights, np.diff(rows.indptr))
    counts = weight_of_features(rows)
    sums = np.bincount(rows.indices, numbers, rows.feature_dim)
    means: NDArray[np.float64] = sums / np.where(counts > 0, counts, 1)
    return means


def weight_of_features(rows: CSRBatch) -> NDArray[np.float64]:
    """Weight of the rows that have each feature, float64, (feature_dim,): how many they are."""
    per_entry = None
    if rows.weights is not None:
        per_entry = np.repeat(rows.weights, np.diff(rows.indptr))
    return np.bincount(rows.indices, per_entry, rows.feature_dim).astype(np.float64)
