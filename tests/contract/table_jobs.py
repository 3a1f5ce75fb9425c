"""Tables for training jobs: ratings of items by users, and a table of the items."""

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from training_tree import TrainingTree

CSV_TABLE = "text/csv;header=present"
PARQUET = "application/x-parquet"
JSON_LINES = "application/jsonlines"

COLUMNS = {
    "rating": "label",
    "user": "category",
    "item": "category",
    "genres": {"set": "|"},
    "age": {"bins": 4},
    "price": "number",
}
HASHED = {"rating": "label", "user": {"hash": 6}, "item": {"hash": 6}, "age": "ignore"}

AGES = (None, 18, 25, 40, 41, 63)

Table = dict[str, list[object]]


def ratings(seed: int, num_rows: int) -> Table:
    """Draw ratings that depend on user and item; some ages are missing."""
    draw = np.random.default_rng(seed)
    users = draw.integers(0, 30, num_rows).tolist()
    items = draw.integers(0, 20, (num_rows, 2)).min(axis=1).tolist()
    noise = draw.random(num_rows).tolist()
    return {
        "rating": [
            round(1 + (user * item) % 4 + extra, 2)
            for user, item, extra in zip(users, items, noise, strict=True)
        ],
        "user": [f"u{user}" for user in users],
        "item": [f"i{item}" for item in items],
        "age": [AGES[n] for n in draw.integers(0, len(AGES), num_rows)],
    }


def items() -> Table:
    """Twenty-one items, one of which nobody has rated."""
    numbers = range(21)
    return {
        "item": [f"i{number}" for number in numbers],
        "genres": [("Drama", "War|Drama", None, "Comedy")[n % 4] for n in numbers],
        "price": [(None, 1.5, 3)[n % 3] for n in numbers],
    }


def part(table: Table, rows: slice) -> Table:
    return {name: cells[rows] for name, cells in table.items()}


def rows_of(table: Table) -> Iterable[Mapping[str, object]]:
    for cells in zip(*table.values(), strict=True):
        yield dict(zip(table, cells, strict=True))


def to_csv(table: Table) -> bytes:
    rows = [table.keys(), *(row.values() for row in rows_of(table))]
    lines = [",".join("" if cell is None else str(cell) for cell in row) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def to_json_lines(table: Table) -> bytes:
    """A missing cell is null, or no key at all."""
    return "".join(
        json.dumps({name: cell for name, cell in row.items() if cell is not None or number == 0})
        + "\n"
        for number, row in enumerate(rows_of(table))
    ).encode()


def to_parquet(table: Table) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(table), file, row_group_size=64)
    return file.getvalue()


WRITERS = {CSV_TABLE: to_csv, JSON_LINES: to_json_lines, PARQUET: to_parquet}


def describe(
    tree: TrainingTree,
    content_type: str = CSV_TABLE,
    columns: Mapping[str, object] = COLUMNS,
    *,
    with_items: bool = True,
    **changes: str | None,
) -> None:
    """Describe a job on 400 ratings, tested on 60, with a table of items."""
    write = WRITERS[content_type]
    given = {"feature_dim": None, "columns": json.dumps(columns), "num_threads": "2"}
    tree.hyperparameters(**given | changes)
    tree.channel("train", {"a": write(ratings(1, 400))}, content_type)
    tree.channel("test", {"a": write(ratings(2, 60))}, content_type)
    if with_items:
        tree.channel("items", {"items": write(items())}, content_type)


def model_bytes(tree: TrainingTree) -> bytes:
    path: Path = tree.model / "model.safetensors"
    return path.read_bytes()
