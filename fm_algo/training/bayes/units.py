"""Feature values in units of their own size, so that one prior suits all features of a group."""

import dataclasses
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array


@dataclass(frozen=True, slots=True)
class Units:
    """What a value of 1 is, for each feature: the root of the mean square of its entries.

    A prior knows no units, and float32 sums of squares lose what is small beside them. Features
    whose values are all 1 or -1, those of one-hot columns, stay as they are.

    Attributes
    ----------
    sizes : float32, shape (feature_dim,), or None
        None where all are 1.
    """

    sizes: Float32Array | None

    @classmethod
    def of(cls, rows: CSRBatch) -> Self:
        """Measure the rows' values; a feature without entries other than 0 has the size 1."""
        if (rows.values == 1).all():
            return cls(None)
        counts = weight_of_features(rows)
        squares = np.square(rows.values, dtype=np.float64)
        if rows.weights is not None:
            squares *= np.repeat(rows.weights, np.diff(rows.indptr))
        sums = np.bincount(rows.indices, squares, len(counts))
        sizes = np.sqrt(sums / np.where(counts > 0, counts, 1)).astype(np.float32)
        sizes[sizes == 0] = 1
        return cls(sizes)

    def rows(self, rows: CSRBatch) -> CSRBatch:
        """Return rows with their values in these units."""
        if self.sizes is None:
            return rows
        return dataclasses.replace(rows, values=rows.values / self.sizes[rows.indices])

    def model(self, model: FMModel) -> FMModel:
        """Return the model of plain values of one of values in these units."""
        if self.sizes is None:
            return model
        w, V = model.w / self.sizes, model.V / self.sizes[:, np.newaxis]
        return FMModel(model.predictor_type, model.w0, w, V)

    def model_in_units(self, model: FMModel) -> FMModel:
        """Return the model of values in these units of one of plain values."""
        if self.sizes is None:
            return model
        w, V = model.w * self.sizes, model.V * self.sizes[:, np.newaxis]
        return FMModel(model.predictor_type, model.w0, w, V)


def weight_of_features(rows: CSRBatch) -> NDArray[np.float64]:
    """Weight of the rows that have each feature, float64, (feature_dim,): how many they are."""
    per_entry = None
    if rows.weights is not None:
        per_entry = np.repeat(rows.weights, np.diff(rows.indptr))
    return np.bincount(rows.indices, per_entry, rows.feature_dim).astype(np.float64)
