"""`inspect`: tell what a model is."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
import numpy as np

from fm_algo.artifacts.artifact import StoredModel
from fm_algo.artifacts.location import read_from
from fm_algo.cli.console import printable, write, write_table
from fm_algo.data.tables.blocks import Block
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.model import FieldWeights, FMModel

ABOUT = """\
Tell what a model is: its kind, sizes and hyperparameters, its largest weights, and of a model of
tables the columns with their most frequent values.
"""

_MOST = 10
"""Weights that are told."""

_LINES = (
    "predictor_type",
    "feature_dim",
    "num_fields",
    "num_factors",
    "num_samples",
    "bias",
    "labels",
)
"""What is told first, where there is any."""

_MOST_VALUES = 5
"""Values that are told of a column."""

_SHOWN = 40
"""Characters of a value that are shown in text."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = describe(read_from(options.source))
    if options.json:
        write(msgspec.json.encode(found) + b"\n")
    else:
        write_table([*_lines(found)])


def describe(read: StoredModel) -> dict[str, Any]:
    """Tell what a model is, as JSON types."""
    model, tables = read.model, read.tables
    found: dict[str, Any] = {
        "predictor_type": model.predictor_type,
        "feature_dim": model.feature_dim,
        "num_factors": model.num_factors,
        "num_samples": len(model.samples),
        "bias": float(model.w0[0]),
        "labels": read.labels,
        "hyperparameters": read.hyperparameters,
    }
    if tables is not None:
        found |= _of_tables(tables)
    name = int if tables is None else tables.encoder.feature_name
    if model.field_weights is not None:
        found |= _of_fields(model.field_weights)
    return found | {"largest_weights": _largest_weights(model, name)}


def _of_fields(weights: FieldWeights) -> dict[str, Any]:
    """Tell the largest weights of pairs of fields, without those of a field that has no pairs."""
    fields = weights.space.fields
    first, second = np.triu_indices(len(fields))
    told = (first != second) | (weights.R[first, second] != 1)
    first, second = first[told], second[told]
    of_pairs = weights.R[first, second]
    largest = np.argsort(-np.abs(of_pairs), kind="stable")[:_MOST]
    return {
        "num_fields": len(fields),
        "largest_field_weights": [
            {"fields": [fields[first[at]], fields[second[at]]], "weight": float(of_pairs[at])}
            for at in largest
        ],
    }


def _of_tables(tables: Tables) -> dict[str, Any]:
    encoder, seen = tables.encoder, tables.seen
    kinds = {column.name: column.kind for column in encoder.columns if not column.has_features}
    return {
        "columns": [_of_column(block, encoder) for block in encoder.blocks],
        "columns_without_features": kinds,
        "tables": {
            side.name: {"key": side.key, "num_rows": len(side.keys)} for side in encoder.sides
        },
        "seen": None
        if seen is None
        else {
            "user": seen.user,
            "item": seen.item,
            "num_users": len(seen.users),
            "num_pairs": len(seen.items),
        },
    }


def _of_column(block: Block, encoder: TableEncoder) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": block.name,
        "kind": block.column.kind,
        "table": block.table,
        "num_features": block.num_features,
    }
    dictionary = encoder.dictionaries.get(block.name)
    if dictionary is not None:
        values = islice(dictionary.values(), _MOST_VALUES)
        found["num_values"] = len(dictionary)
        found["most_frequent"] = [value.decode() for value in values]
    elif block.column.kind == "number":
        found |= {"mean": block.mean, "deviation": block.deviation}
    elif block.column.kind == "bins":
        found["edges"] = block.edges
    return found


def _largest_weights(
    model: FMModel, name: Callable[[int], int | str]
) -> list[dict[str, int | str | float]]:
    size = np.abs(model.w)
    most = min(_MOST, len(size))
    largest = np.argpartition(-size, most - 1)[:most]
    order = largest[np.lexsort((largest, -size[largest]))]
    return [{"feature": name(int(feature)), "weight": float(model.w[feature])} for feature in order]


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _LINES:
        if found.get(name) not in (None, 0):
            yield name, _shown(found[name])
    for name, value in found["hyperparameters"].items():
        yield f"hyperparameter {name}", _shown(value)
    for column in found.get("columns", ()):
        yield f"column {column['name']}", _column_line(column)
    for name, kind in found.get("columns_without_features", {}).items():
        yield f"column {name}", kind
    for name, side in found.get("tables", {}).items():
        yield f"table {name}", f"{side['num_rows']} rows, joined by {side['key']}"
    if found.get("seen"):
        seen = found["seen"]
        pairs = f"{seen['num_pairs']} pairs, {seen['num_users']} values of {seen['user']}"
        yield f"seen {seen['item']} by {seen['user']}", pairs
    for weight in found.get("largest_field_weights", ()):
        pair = " × ".join(map(_shown, weight["fields"]))
        yield f"weight of {pair}", f"{weight['weight']:+.4g}"
    for weight in found["largest_weights"]:
        yield f"weight {_shown(weight['feature'])}", f"{weight['weight']:+.4g}"


def _column_line(column: Mapping[str, Any]) -> str:
    told = [column["kind"]]
    if column["table"] != "rows":
        told.append(f"of the table {column['table']}")
    if "most_frequent" in column:
        told.append(f"{column['num_values']} values, most often")
        return f"{', '.join(told)} {', '.join(map(_shown, column['most_frequent'])) or 'none'}"
    if "mean" in column:
        told.append(f"mean {column['mean']:.4g}, standard deviation {column['deviation']:.4g}")
    else:
        told.append(f"{column['num_features']} features")
    return ", ".join(told)


def _shown(value: object) -> str:
    """Write a value in one line of text."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict | list | tuple):
        return msgspec.json.encode(value).decode()
    text = printable(str(value))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
