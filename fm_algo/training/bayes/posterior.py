"""What a chain has come to so far: the mean of its samples, and some of them as they are."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.simd import WIDTH
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.sketch import Sketch

COLUMNS_KEPT = 4
"""Columns of a sketch, in saved factors. It has as much room behind them."""

SKETCHED = 2
"""Of so many samples one is sketched: two in a row are much alike, and a sketch takes its time."""


class Posterior:
    """The running mean of samples: bias and weights as they are, factors in a `Sketch`.

    Parameters
    ----------
    weight : float32, shape (feature_dim,)
        Rows of each feature.
    num_rows : int
        Training rows.
    num_factors : int
        Of a sample.
    num_saved : int
        Factors of the model that is asked for.
    num_samples : int
        Samples to keep beside it.

    Attributes
    ----------
    count : int64, shape (1,)
        Samples so far.
    w0, w, margin : float64 (1,), float32 (feature_dim,), float32 (num_rows,)
        Their means; `margin` is that of the training rows.
    sketch : Sketch
        The sum of their V Vᵀ.
    num_kept : int64, shape (1,)
    sample_w0, sample_w, sample_V : float32, shape (num_samples, …)
        The samples kept.
    """

    def __init__(
        self,
        weight: Float32Array,
        num_rows: int,
        num_factors: int,
        num_saved: int,
        num_samples: int,
    ) -> None:
        feature_dim = len(weight)
        self.count = np.zeros(1, np.int64)
        self.w0 = np.zeros(1, np.float64)
        self.w = np.zeros(feature_dim, np.float32)
        self.margin = np.zeros(num_rows, np.float32)
        self.sketch = Sketch(weight, *sketch_columns(num_factors, num_saved))
        self.num_kept = np.zeros(1, np.int64)
        self.sample_w0 = np.zeros(num_samples, np.float32)
        self.sample_w = np.zeros((num_samples, feature_dim), np.float32)
        self.sample_V = np.zeros((num_samples, feature_dim, num_factors), np.float32)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, not copied."""
        return {
            "mean_count": self.count,
            "mean_w0": self.w0,
            "mean_w": self.w,
            "mean_margin": self.margin,
            "sketch_factors": self.sketch.factors,
            "sketch_used": self.sketch.num_used,
            "sketch_samples": self.sketch.num_samples,
            "samples_kept": self.num_kept,
            "sample_w0": self.sample_w0,
            "sample_w": self.sample_w,
            "sample_V": self.sample_V,
        }

    def add(
        self, w0: float, w: Float32Array, V: Float32Array, margin: Float32Array, *, keep: bool
    ) -> None:
        """Add a sample: its parameters and its margins of the training rows.

        Also keep it as it is, if there is room.
        """
        if self.count[0] % SKETCHED == 0:
            self.sketch.add(V)
        self.count += 1
        share = 1.0 / int(self.count[0])
        self.w0 += share * (w0 - self.w0)
        self.w += np.float32(share) * (w - self.w)
        self.margin += np.float32(share) * (margin - self.margin)
        at = int(self.num_kept[0])
        if keep and at < len(self.sample_w0):
            self.sample_w0[at], self.sample_w[at], self.sample_V[at] = w0, w, V
            self.num_kept += 1


def sketch_columns(num_factors: int, num_saved: int) -> tuple[int, int]:
    """Columns of a sketch that are kept, and room behind them; none where none are to be saved."""
    if not num_saved:
        return 0, 0
    kept = -(-COLUMNS_KEPT * num_saved // WIDTH) * WIDTH
    return kept, max(kept, num_factors)
