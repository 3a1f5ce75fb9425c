"""Turn JSON instances, as Python objects, into rows.

`fm_algo.data.formats.jsonio` states the rules and makes these objects from text.
`fm_algo.data.formats.tensor_rows` does the same for features in RecordIO-protobuf.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import chain

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from fm_algo.data.formats.number import TOO_LARGE
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, Float32Array, to_float32


class Tensor(msgspec.Struct, gc=False):
    """Features as an object."""

    values: list[float] = []
    keys: list[float] | None = None
    shape: list[float] | None = None


class Data(msgspec.Struct, gc=False):
    """An object that may stand between an instance and its features."""

    features: list[float] | Tensor


class Instance(msgspec.Struct, gc=False):
    """One row."""

    features: list[float] | Tensor | UnsetType = UNSET
    data: Data | UnsetType = UNSET


class LabelledInstance(Instance, gc=False, kw_only=True):
    """One row to train on."""

    label: float
    weight: float | UnsetType = UNSET


def instance_rows(instances: Sequence[Instance], feature_dim: int) -> CSRBatch:
    """Make one row from each instance, with labels and weights if the instances have them.

    Parameters
    ----------
    instances : sequence of Instance
        All of one class.
    feature_dim : int
        Width of the rows.

    Raises
    ------
    UserError
        If one is not a row of feature_dim; does not say which.
    """
    tensors = [_tensor_of(instance) for instance in instances]
    is_sparse = [_is_sparse(tensor, feature_dim) for tensor in tensors]
    if is_sparse == [True]:
        return _to_sparse_row(tensors[0], instances, feature_dim)
    lengths = [len(tensor.values) for tensor in tensors]
    indptr = np.zeros(len(tensors) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    has_key = np.repeat(is_sparse, lengths)  # (num_entries,)
    features = np.arange(indptr[-1], dtype=np.float64) - np.repeat(indptr[:-1], lengths)
    features[has_key] = _concatenate(tensor.keys or [] for tensor in tensors)
    numbers = _concatenate(tensor.values for tensor in tensors)
    values = to_float32(numbers)
    _check_entries(features, numbers, values, feature_dim)
    is_stored = has_key | (values != 0)
    return CSRBatch(
        np.concatenate([[0], np.cumsum(is_stored)])[indptr],
        features[is_stored].astype(np.int32),
        values[is_stored],
        _labels_of(instances),
        feature_dim,
        _weights_of(instances),
    ).combine_duplicates()


def _to_sparse_row(tensor: Tensor, instances: Sequence[Instance], feature_dim: int) -> CSRBatch:
    """Return the same as `instance_rows` for one sparse instance, the most common request."""
    features = np.array(tensor.keys or [], np.float64)
    numbers = np.array(tensor.values, np.float64)
    values = to_float32(numbers)
    _check_entries(features, numbers, values, feature_dim)
    indptr = np.array([0, len(features)], np.int64)
    indices = features.astype(np.int32)
    labels, weights = _labels_of(instances), _weights_of(instances)
    return CSRBatch(indptr, indices, values, labels, feature_dim, weights).combine_duplicates()


def _concatenate(numbers: Iterable[list[float]]) -> NDArray[np.float64]:
    return np.fromiter(chain.from_iterable(numbers), np.float64)


def _tensor_of(instance: Instance) -> Tensor:
    at_top, below = instance.features, instance.data
    if at_top is not UNSET and below is not UNSET:
        raise UserError("both 'features' and 'data', expected one of them")
    features = at_top if below is UNSET else below.features
    if features is UNSET:
        raise UserError("neither 'features' nor 'data', expected one of them")
    return Tensor(values=features) if isinstance(features, list) else features


def _is_sparse(tensor: Tensor, feature_dim: int) -> bool:
    """Check how many numbers there are; return whether the row is sparse."""
    keys, shape, num_values = tensor.keys, tensor.shape, len(tensor.values)
    if shape is not None and len(shape) != 1 and math.prod(shape) != feature_dim:
        raise UserError(f"the product of shape {shape} is not {feature_dim}, which is feature_dim")
    if keys is not None:
        if len(keys) != num_values:
            raise UserError(f"{len(keys)} keys and {num_values} values, expected as many")
        return True
    if shape is not None and not num_values:
        return True
    if num_values != feature_dim:
        raise UserError(
            f"{num_values} values without keys, expected {feature_dim}, which is feature_dim"
        )
    return False


def _check_entries(
    features: NDArray[np.float64],
    numbers: NDArray[np.float64],
    values: Float32Array,
    feature_dim: int,
) -> None:
    """Check features, and the numbers as float32 values."""
    is_right = (features >= 0) & (features < feature_dim) & (features == np.floor(features))
    is_right &= np.isfinite(values)
    if is_right.all():
        return
    is_wrong = ~is_right
    entry = int(is_wrong.argmax())
    feature = float(features[entry])
    if not feature.is_integer():
        raise UserError(f"feature {feature:.17g} is not a whole number")
    if not 0 <= feature < feature_dim:
        raise UserError(
            f"feature {feature:.17g} is outside [0, {feature_dim}), the range feature_dim allows"
        )
    raise UserError(f"value {numbers[entry]:.17g} of feature {feature:.17g} {TOO_LARGE}")


def _labels_of(instances: Sequence[Instance]) -> Float32Array | None:
    numbers = [item.label for item in instances if isinstance(item, LabelledInstance)]
    if not numbers:
        return None
    labels = to_float32(np.array(numbers))
    if not np.isfinite(labels).all():
        raise UserError(f"label {numbers[int(np.isinf(labels).argmax())]:.17g} {TOO_LARGE}")
    return labels


def _weights_of(instances: Sequence[Instance]) -> Float32Array | None:
    """Return the weights, 1 where there is none; None if no instance has one."""
    given = [item.weight for item in instances if isinstance(item, LabelledInstance)]
    if all(weight is UNSET for weight in given):
        return None
    numbers = [1.0 if weight is UNSET else weight for weight in given]
    weights = to_float32(np.array(numbers))
    wrong = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(wrong):
        number = numbers[wrong[0]]
        allowed = "is below 0" if number < 0 else TOO_LARGE
        raise UserError(f"weight {number:.17g} {allowed}")
    return weights
