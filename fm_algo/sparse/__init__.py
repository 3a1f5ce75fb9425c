"""Rows in sparse form, and the way from what users bring to them.

batch           `CSRBatch`: rows with labels and weights
feature_space   `FeatureSpace`: which field each feature belongs to
matrix          matrices, labels and weights that users pass, checked
"""

from fm_algo.sparse.batch import CSRBatch, to_float32
from fm_algo.sparse.matrix import MAX_FEATURE_DIM, Float32Array, Int32Array, Int64Array

__all__ = [
    "MAX_FEATURE_DIM",
    "CSRBatch",
    "Float32Array",
    "Int32Array",
    "Int64Array",
    "to_float32",
]
