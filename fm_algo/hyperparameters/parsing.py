"""Read hyperparameters.json: values as any of the SDKs writes them, all mistakes told at once."""

import ast
import contextlib
import difflib
import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from fm_algo.hyperparameters.checks import (
    INIT_GROUPS,
    WITHOUT_GRADIENTS,
    check_all,
    find_conflicts,
    mentioned,
)
from fm_algo.hyperparameters.declaration import Hyperparameters
from fm_algo.hyperparameters.ranges import describe_range, finite, value_type

_ALIASES = {"epoch": "epochs"}  # the spelling of the built-in's tuning page
_UNSET = ("", "null", "None")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_hyperparameters(raw: Mapping[str, object]) -> Hyperparameters:
    """Check the content of hyperparameters.json and turn it into typed values.

    Values are strings as any of the SDKs encodes them: plain or in JSON quotes, booleans as `True`
    or `true`. An empty string, `null` and `None` mean not set. Names that begin with `_` or
    `sagemaker_` belong to the platform and are ignored.

    Parameters
    ----------
    raw : mapping of str to object
        Name to value; strings, or JSON numbers, booleans, lists and objects.

    Returns
    -------
    Hyperparameters
        With `columns`, feature_dim is not known before the tables are read: it is 1 here.

    Raises
    ------
    UserError
        Lists every problem at once: name, value and what is allowed.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Hyperparameters)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for given_name, given in raw.items():
        if given_name.startswith(("_", "sagemaker_")):
            continue
        name = _ALIASES.get(given_name, given_name)
        text = _unwrap(given)
        if name not in fields:
            problems.append(_unknown(given_name, fields))
        elif text in _UNSET:
            continue
        elif name in values:
            problems.append(f"{name} is given twice, once as {_spellings(name)}")
        else:
            try:
                values[name] = _convert(text, fields[name].type)
            except msgspec.ValidationError:
                problems.append(f"{given_name}={text!r} is not {describe_range(fields[name].type)}")
    has_columns = "columns" in values or mentioned("columns", problems)
    if has_columns and not mentioned("feature_dim", problems):
        if "feature_dim" in values:
            given = values["feature_dim"]
            problems.append(f"feature_dim={given} must not be given: it follows from columns")
        values["feature_dim"] = 1
    problems += [
        f"{field.name} is required: {describe_range(field.type)}"
        for field in fields.values()
        if field.required and field.name not in values and not mentioned(field.name, problems)
    ]
    check_all(problems + find_conflicts(values, problems))
    return Hyperparameters(**(_own_defaults(values) | values))


def has_own_default(name: str) -> bool:
    """Return whether als or mcmc has a default of its own for a hyperparameter."""
    return any(name in _own_defaults({"optimizer": each}) for each in WITHOUT_GRADIENTS)


def _unwrap(value: object) -> str:
    """Strip what an SDK puts around a value: blanks, then one pair of JSON quotes."""
    text = (json.dumps(value) if isinstance(value, dict | list) else str(value)).strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    return text


def _convert(text: str, annotation: Any) -> object:  # noqa: ANN401 - as above
    """Turn text into a value of the annotated type; msgspec checks the bounds.

    Raises
    ------
    msgspec.ValidationError
        If it is not one of the allowed values.
    """
    if isinstance(value_type(annotation), msgspec.inspect.DictType):
        return msgspec.convert(_object(text), annotation)
    if isinstance(value_type(annotation), msgspec.inspect.VarTupleType):
        in_brackets = text if text.startswith("[") else f"[{text}]"
        try:
            return msgspec.json.decode(in_brackets.encode(), type=annotation)
        except msgspec.DecodeError as error:
            raise msgspec.ValidationError(str(error)) from error
    return finite(msgspec.convert(_plain_number(text), annotation, strict=False))


def _object(text: str) -> object:
    """Read a JSON object: as it is, encoded once more, or as Python writes it."""
    for read in (
        json.loads,
        lambda text: json.loads(json.loads(f'"{text}"')),  # the quotes are off already
        ast.literal_eval,
    ):
        with contextlib.suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return text


def _plain_number(text: str) -> str:
    """Rewrite numbers as people and tuners write them: 1e3 and 1000.0 become 1000, .5 is 0.5."""
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if not number.is_integer():  # nor is inf
        return repr(number)
    return str(int(number)) if abs(number) < 2**53 else text


def _unknown(name: str, known: Mapping[str, object]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{name} is not a hyperparameter{hint}"


def _spellings(name: str) -> str:
    return " and once as ".join([name, *(alias for alias, of in _ALIASES.items() if of == name)])


def _own_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that als and mcmc have for themselves.

    Their initial factors come from the labels' scale unless a sigma is given: hence 0. Measured on
    MovieLens-100k: the mean of a chain is hardly better after more sweeps than these, and als fits
    noise after ten. For als, decay is λ of the weights and the factors where labels have deviation
    1, and is not learnt: the posterior mode of λ and the factors together is at factors of 0.
    """
    optimizer = values.get("optimizer")
    if optimizer not in WITHOUT_GRADIENTS:
        return {}
    start = {f"{group}_init_sigma": 0.0 for group in INIT_GROUPS}
    if optimizer == "als":
        return start | {"epochs": 10, "linear_wd": 2.0, "factors_wd": 10.0}
    is_classifier = values.get("predictor_type") == "binary_classifier"
    return start | {"epochs": 300 if is_classifier else 150}
