"""Values of a declared type, and the words for what is allowed."""

import math
from typing import Any

import msgspec
import numpy as np

FEATURE_LIST = "a list of whole numbers, such as [0, 943], ascending, below feature_dim"
"""The words for what `feature_groups` and `feature_fields` take."""


def describe_range(annotation: Any) -> str:  # noqa: ANN401 - a type annotation has no type of its own
    """Say in words what values a declared field takes, e.g. "a whole number >= 1"."""
    info = value_type(annotation)
    if isinstance(info, msgspec.inspect.LiteralType):
        return f"one of {', '.join(str(value) for value in info.values)}"
    if isinstance(info, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(info, msgspec.inspect.VarTupleType):
        return FEATURE_LIST
    if isinstance(info, msgspec.inspect.DictType):
        return 'a JSON object, such as {"rating": "label", "user": "category"}'
    if not isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        raise TypeError(f"no words for {annotation}")
    noun = "a whole number" if isinstance(info, msgspec.inspect.IntType) else "a finite number"
    bounds = [(">=", info.ge), (">", info.gt), ("<=", info.le), ("<", info.lt)]
    limits = " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)
    return f"{noun} {limits}".rstrip()


def value_type(annotation: Any) -> msgspec.inspect.Type:  # noqa: ANN401 - as above
    """Return the type of the values, without description and `| None`."""
    info = msgspec.inspect.type_info(annotation)
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    if isinstance(info, msgspec.inspect.UnionType):
        info = next(kind for kind in info.types if not isinstance(kind, msgspec.inspect.NoneType))
    return info


def typed(value: object, annotation: Any) -> object:  # noqa: ANN401 - as above
    """Check a Python or NumPy value and return it as the annotated type.

    Raises
    ------
    msgspec.ValidationError
        If it is not one of the allowed values.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    return finite(msgspec.convert(plain, annotation))


def finite(value: object) -> object:
    """Return a value; refuse a number that is not finite.

    Raises
    ------
    msgspec.ValidationError
        If it is not.
    """
    if isinstance(value, float) and not math.isfinite(value):
        # msgspec lets inf through where no bound forbids it.
        raise msgspec.ValidationError("not finite")
    return value
