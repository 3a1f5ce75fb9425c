"""`FeatureSpace`: how many features there are, and which field each belongs to."""

from dataclasses import dataclass

import numpy as np

from fm_algo.sparse.matrix import Int32Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Features in fields: consecutive features that come from one column of a table.

    Attributes
    ----------
    fields : tuple of str
        Names of the F fields.
    firsts : int64, shape (F,)
        The first feature of each field, ascending; the first one is 0.
    feature_dim : int
        Number of features.
    """

    fields: tuple[str, ...]
    firsts: Int64Array
    feature_dim: int

    def field_of(self, features: Int32Array) -> Int64Array:
        """Return the number of the field of each feature, int64, shape of `features`."""
        return np.searchsorted(self.firsts, features, side="right") - 1
