"""The weights of fields of a model as tensors of its file."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.artifacts.tensors import Tensor
from fm_algo.errors import UserError
from fm_algo.model import FieldWeights
from fm_algo.sparse.feature_space import FeatureSpace

OF_FIELDS = "fields"

_DTYPES = {"R": "float32", "firsts": "int64", "numbers": "int32"}


def field_tensors(field_weights: FieldWeights) -> dict[str, Tensor]:
    """Return R, firsts and numbers as tensors, by name."""
    space = field_weights.space
    arrays: dict[str, NDArray[Any]]
    arrays = {"R": field_weights.R, "firsts": space.firsts, "numbers": space.numbers}
    return {name: Tensor.of(array) for name, array in arrays.items()}


def field_weights_of(
    names: tuple[str, ...], arrays: Mapping[str, NDArray[Any]], feature_dim: int
) -> FieldWeights:
    """Return what a file says of fields, as views of it.

    Parameters
    ----------
    names : tuple of str
        Names of the fields, from the manifest.
    arrays : mapping of str to array
        What `field_tensors` wrote.
    feature_dim : int
        Number of features of the model.

    Raises
    ------
    UserError
        If they do not fit together.
    """
    found = {name: array.dtype.name for name, array in arrays.items()}
    if found != _DTYPES:
        raise UserError(f"the model's fields are damaged: tensors {found}, expected {_DTYPES}")
    R, firsts, numbers = arrays["R"], arrays["firsts"], arrays["numbers"]
    num_fields = len(names)
    if (
        R.shape != (num_fields, num_fields)
        or firsts.ndim != 1
        or firsts.shape != numbers.shape
        or not len(firsts)
        or firsts[0] != 0
        or np.any(np.diff(firsts) <= 0)
        or firsts[-1] >= feature_dim
        or np.any((numbers < 0) | (numbers >= num_fields))
    ):
        raise UserError(
            f"the model's fields are damaged: {num_fields} names, R {R.shape}, {len(firsts)} runs "
            f"of features and {len(numbers)} numbers for {feature_dim} features"
        )
    return FieldWeights(R, FeatureSpace(names, firsts, numbers, feature_dim))
