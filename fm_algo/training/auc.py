"""Area under the ROC curve, from a histogram: in one pass, for any number of rows."""

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import Float32Array

_Bools = NDArray[np.bool_]


class AUCHistogram:
    """Area under the ROC curve, from weights of margins in 2^20 bins: 16 MB for any number of rows.

    The float32 numbers of a bin share sign, exponent and the first 11 bits of the mantissa. So two
    margins closer than 1/2048 of their size count as tied.

    Attributes
    ----------
    counts : float64, shape (2, 2^20)
        Weight of the rows per bin: negatives first, then positives. Without weights these are whole
        numbers, and so are their sums: float64 is exact for 2^53 rows.
    """

    _BITS = 20

    def __init__(self) -> None:
        self.counts = np.zeros((2, 1 << self._BITS), np.float64)

    def update(
        self, margin: Float32Array, is_positive: _Bools, weights: Float32Array | None = None
    ) -> None:
        """Count rows: margins float32, shape (n,), whether the label is 1, and weights."""
        bits = (margin + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0, which it equals
        # To sort the bits like the floats, flip all bits of a negative one, else its sign bit.
        negative = (bits >> np.uint32(31)).astype(bool)
        ordered = np.where(negative, ~bits, bits | np.uint32(1 << 31))
        bins = ordered >> np.uint32(32 - self._BITS)
        np.add.at(
            self.counts, (is_positive.astype(np.intp), bins), 1.0 if weights is None else weights
        )

    def area(self) -> float | None:
        """Chance that a positive scores above a negative, ties counting half; None without both."""
        negatives, positives = self.counts
        pairs = negatives.sum() * positives.sum()
        if not pairs:
            return None
        below = np.cumsum(negatives) - negatives
        return float((positives * (below + 0.5 * negatives)).sum() / pairs)
