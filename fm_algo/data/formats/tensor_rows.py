"""Turn the tensors of records into rows and labels.

    values, as many keys, maybe a shape     sparse: keys are features, 0-based; zeros are kept
    values, no keys                         dense: as many values as features; zeros are dropped
    no values, no keys, a shape             sparse without entries: an empty row
    no values, no keys, no shape            dense without values: an error, like any wrong number

A shape of one number is not compared with feature_dim: a matrix written file by file may be
narrower or wider than the model. Every key must be below feature_dim. A shape of several numbers
must have feature_dim as its product.

Source: SageMaker developer guide, "Common data formats for training" and "for inference".
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.formats.tensors import Tensors
from fm_algo.errors import UserError
from fm_algo.sparse import MAX_FEATURE_DIM, CSRBatch, Float32Array


def tensor_rows(features: Tensors, labels: Float32Array | None, feature_dim: int) -> CSRBatch:
    """Make rows from the features of n records.

    Parameters
    ----------
    features : Tensors
        The features of n records.
    labels : float32, shape (n,), or None
        Their labels.
    feature_dim : int
        Width of the rows.

    Raises
    ------
    UserError
        If a tensor is not a row of feature_dim, or a value is not finite as float32.
    """
    _check_counts(features, feature_dim)
    _check_range(features, feature_dim)
    values, counts = _to_float32(features.values), features.value_counts
    is_dense = np.repeat(features.key_counts == 0, counts)  # (num_entries,)
    if is_dense.any():
        indices = np.empty(len(values), np.int32)
        indices[~is_dense] = features.keys
        indices[is_dense] = np.arange(np.count_nonzero(is_dense)) % feature_dim
        kept = ~is_dense | (values != 0)
    else:
        indices, kept = features.keys.astype(np.int32), None
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        value = features.values[bad[0]]
        raise UserError(f"value {value} of feature {indices[bad[0]]} {_why_unfit(value)}")
    if kept is not None:
        row = np.repeat(np.arange(len(counts)), counts)
        counts = np.bincount(row[kept], minlength=len(counts))
        indices, values = indices[kept], values[kept]
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    return CSRBatch(indptr, indices, values, labels, feature_dim).combine_duplicates()


def tensor_labels(labels: Tensors) -> Float32Array:
    """Return the label of each of n records, float32, shape (n,).

    Raises
    ------
    UserError
        If a record has none or several, or the label is not finite as float32.
    """
    if not labels.found.all():
        raise UserError("no label, a training record has one")
    wrong = labels.value_counts[labels.value_counts != 1]
    if len(wrong):
        raise UserError(f"{wrong[0]} label values, allowed is one")
    numbers = _to_float32(labels.values)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        label = labels.values[bad[0]]
        raise UserError(f"label {label} {_why_unfit(label)}")
    return numbers


def least_feature_dim(features: Tensors) -> int:
    """Return the least width that holds every shape, key and dense row; 0 if there is none.

    A width above the limit of a model is cut to that limit; decoding then reports what is wrong.
    """
    dense = features.value_counts[features.key_counts == 0]
    shapes = np.fmin(_sizes(features)[features.shape_counts > 0], MAX_FEATURE_DIM)
    last_key = int(features.keys.max()) if len(features.keys) else -1
    width = max(int(dense.max(initial=0)), int(shapes.max(initial=0)), last_key + 1)
    return min(width, MAX_FEATURE_DIM)


def _check_counts(features: Tensors, feature_dim: int) -> None:
    if not features.found.all():
        raise UserError('no features, a record has a tensor under features["values"]')
    values, keys = features.value_counts, features.key_counts
    wrong = np.flatnonzero((keys > 0) & (keys != values))
    if len(wrong):
        num_values, num_keys = values[wrong[0]], keys[wrong[0]]
        raise UserError(
            f"{num_values} values and {num_keys} keys, a sparse record has as many of both"
        )
    has_shape = features.shape_counts > 0
    wrong = np.flatnonzero((keys == 0) & (values != feature_dim) & ~((values == 0) & has_shape))
    if len(wrong):
        raise UserError(
            f"{values[wrong[0]]} values without keys, a dense record has as many as feature_dim, "
            f"{feature_dim}, and a sparse one without entries has a shape"
        )


def _check_range(features: Tensors, feature_dim: int) -> None:
    sizes = _sizes(features)
    wrong = np.flatnonzero((features.shape_counts > 1) & (sizes != feature_dim))
    if len(wrong):
        raise UserError(
            f"a shape of {features.shape_counts[wrong[0]]} dimensions for {sizes[wrong[0]]:.0f} "
            f"features, allowed is feature_dim, {feature_dim}"
        )
    outside = features.keys[features.keys >= feature_dim]
    if len(outside):
        raise UserError(
            f"feature {outside[0]} is outside [0, {feature_dim}), the range feature_dim allows"
        )


def _sizes(tensors: Tensors) -> NDArray[np.float64]:
    """Return the product of each shape, float64, shape (n,); 1 without a shape.

    A product too large to be exact, or inf or nan, is not a feature_dim either.
    """
    sizes = np.ones(len(tensors.found))
    shaped = np.flatnonzero(tensors.shape_counts)
    if len(shaped):
        starts = (np.cumsum(tensors.shape_counts) - tensors.shape_counts)[shaped]
        with np.errstate(over="ignore", invalid="ignore"):
            sizes[shaped] = np.multiply.reduceat(tensors.shape.astype(np.float64), starts)
    return sizes


def _to_float32(numbers: NDArray[np.generic]) -> Float32Array:
    with np.errstate(over="ignore"):  # becomes inf, which is reported with its place
        return numbers.astype(np.float32, copy=False)


def _why_unfit(number: np.generic) -> str:
    return "is too large for a float32" if np.isfinite(number) else "is not a finite number"
