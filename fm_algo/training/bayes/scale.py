"""Labels of a regressor as targets of mean 0 and deviation 1, and models of the two.

Priors know no units: λ and α have the prior Gamma(½, ½).
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FMModel, PredictorType
from fm_algo.sparse import Float32Array


@dataclass(frozen=True, slots=True)
class Scale:
    """label = center + deviation · target.

    Attributes
    ----------
    center, deviation : float
        0 and 1 of a classifier.
    """

    center: float
    deviation: float

    @classmethod
    def of(
        cls,
        labels: Float32Array,
        predictor_type: PredictorType,
        weights: Float32Array | None = None,
        *,
        is_centered: bool = True,
    ) -> Self:
        """Measure labels, weighted; the deviation of labels that are all alike counts as 1.

        Without `is_centered`, for a model without a bias, the center is 0.
        """
        if predictor_type == "binary_classifier" or not len(labels):
            return cls(0.0, 1.0)
        center = _mean(labels, weights) if is_centered else 0.0
        spread = math.sqrt(_mean(np.square(labels - center, dtype=np.float64), weights))
        is_alike = bool(labels.min() == labels.max()) and (is_centered or spread == 0)
        return cls(center, 1.0 if is_alike else spread)

    def targets(self, labels: Float32Array) -> Float32Array:
        """Targets of labels, float32, same shape."""
        return ((labels - self.center) / self.deviation).astype(np.float32)

    def model(
        self, predictor_type: PredictorType, w0: Float32Array, w: Float32Array, V: Float32Array
    ) -> FMModel:
        """Make the model of labels of one of targets, copied."""
        return FMModel(
            predictor_type,
            (self.center + self.deviation * w0).astype(np.float32),
            w * np.float32(self.deviation),
            V * np.float32(math.sqrt(self.deviation)),
        )

    def to_targets(self, model: FMModel) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Return w0, w and V of the model of targets."""
        w0 = ((model.w0 - self.center) / self.deviation).astype(np.float32)
        root = np.float32(math.sqrt(self.deviation))
        return w0, model.w / np.float32(self.deviation), model.V / root


def _mean(numbers: NDArray[np.floating], weights: Float32Array | None) -> float:
    if weights is None:
        return float(numbers.mean(dtype=np.float64))
    return float(np.average(numbers, weights=weights.astype(np.float64)))
