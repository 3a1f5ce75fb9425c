"""Translate the hyperparameter declaration to AWS's specifications and tuning ranges."""

from dataclasses import dataclass
from typing import Any

import msgspec

from fm_algo.hyperparameters import Hyperparameters, value_type

_FLOAT_MAX = "3.4028235e+38"
"""AWS needs both ends of a range; the numbers become float32 in the end."""


@dataclass(frozen=True, slots=True)
class Tunable:
    """A hyperparameter that a tuner may search.

    Attributes
    ----------
    low, high : float
        The range that a tuner should search.
    is_integer : bool
    """

    low: float
    high: float
    is_integer: bool


def specifications() -> list[dict[str, Any]]:
    """Return every hyperparameter as CreateAlgorithm takes it, in order of declaration."""
    return [_specification(field) for field in msgspec.structs.fields(Hyperparameters)]


def tunables() -> dict[str, Tunable]:
    """Return the hyperparameters that are declared tunable, by name."""
    found = {}
    for field in msgspec.structs.fields(Hyperparameters):
        given = _declared(field).extra or {}
        if given.get("tunable"):
            low, high = given["tunable"]
            is_integer = isinstance(value_type(field.type), msgspec.inspect.IntType)
            found[field.name] = Tunable(low, high, is_integer)
    return found


def _specification(field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    declared = _declared(field)
    type_, range_ = _type_and_range(value_type(field.type))
    specification = {
        "Name": field.name,
        "Description": (declared.extra_json_schema or {}).get("description", ""),
        "Type": type_,
        **({"Range": range_} if range_ else {}),
        "IsTunable": bool((declared.extra or {}).get("tunable")),
        # A job of tables must not have feature_dim. The job itself tells those who forget it.
        "IsRequired": field.required and field.name != "feature_dim",
    }
    if not field.required and field.default is not None:
        specification["DefaultValue"] = _spell(field.default)
    return specification


def _type_and_range(kind: msgspec.inspect.Type) -> tuple[str, dict[str, Any]]:
    if isinstance(kind, msgspec.inspect.LiteralType):
        return _categorical([str(value) for value in kind.values])
    if isinstance(kind, msgspec.inspect.BoolType):
        return _categorical(["true", "false"])
    if isinstance(kind, msgspec.inspect.IntType):
        # Inclusive ends suffice: no whole number here is declared with "> 0".
        ends = {"MinValue": str(kind.ge), "MaxValue": str(kind.le)}
        return "Integer", {"IntegerParameterRangeSpecification": ends}
    if isinstance(kind, msgspec.inspect.FloatType):
        low = next((end for end in (kind.ge, kind.gt) if end is not None), None)
        high = next((end for end in (kind.le, kind.lt) if end is not None), None)
        ends = {
            "MinValue": f"-{_FLOAT_MAX}" if low is None else _spell(low),
            "MaxValue": _FLOAT_MAX if high is None else _spell(high),
        }
        return "Continuous", {"ContinuousParameterRangeSpecification": ends}
    if isinstance(kind, msgspec.inspect.VarTupleType | msgspec.inspect.DictType):
        return "FreeText", {}
    raise TypeError(f"AWS has no word for {kind}")


def _categorical(values: list[str]) -> tuple[str, dict[str, Any]]:
    return "Categorical", {"CategoricalParameterRangeSpecification": {"Values": values}}


def _declared(field: msgspec.structs.FieldInfo) -> msgspec.inspect.Metadata:
    declared = msgspec.inspect.type_info(field.type)
    if not isinstance(declared, msgspec.inspect.Metadata):
        raise TypeError(f"{field.name} is declared without a text")
    return declared


def _spell(value: object) -> str:
    """Spell a value as people write it in hyperparameters.json."""
    return str(value).lower() if isinstance(value, bool) else str(value)
