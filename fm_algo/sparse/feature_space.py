"""`FeatureSpace`: how many features there are, and which field each belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from fm_algo.sparse.matrix import Int32Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Features in fields: those that come from one column of a table, or that data says so of.

    A run is a range of consecutive features of one field. A column of a table is one run; the
    features of a field of libffm text may lie in many.

    Attributes
    ----------
    fields : tuple of str
        Names of the F fields.
    firsts : int64, shape (R,)
        The first feature of each run, ascending; the first one is 0.
    numbers : int32, shape (R,)
        The field of each run, from 0 to F - 1.
    feature_dim : int
        Number of features.
    """

    fields: tuple[str, ...]
    firsts: Int64Array
    numbers: Int32Array
    feature_dim: int

    @classmethod
    def of_columns(cls, fields: Sequence[str], firsts: Int64Array, feature_dim: int) -> Self:
        """Return features of which each field is one run; shapes (F,)."""
        return cls(tuple(fields), firsts, np.arange(len(fields), dtype=np.int32), feature_dim)

    @classmethod
    def of_map(cls, fields: Sequence[str], field_of: Int32Array) -> Self:
        """Return the features whose fields have these numbers, int32, shape (feature_dim,)."""
        is_first = np.append(True, field_of[1:] != field_of[:-1])
        firsts = np.flatnonzero(is_first).astype(np.int64)
        return cls(tuple(fields), firsts, field_of[firsts], len(field_of))

    def field_of(self, features: Int32Array) -> Int32Array:
        """Return the number of the field of each feature, int32, shape of `features`."""
        return self.numbers[np.searchsorted(self.firsts, features, side="right") - 1]

    def field_map(self) -> Int32Array:
        """Return the number of the field of every feature, int32, shape (feature_dim,)."""
        return np.repeat(self.numbers, np.diff(np.append(self.firsts, self.feature_dim)))
