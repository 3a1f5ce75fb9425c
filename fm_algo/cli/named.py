"""What the commands share that ask a model of tables for one row, given by names."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fm_algo.artifacts.location import read_from
from fm_algo.cli.arguments import cell, count
from fm_algo.cli.console import note, printable, write, write_table
from fm_algo.data.tables.named_model import Names
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row and the model that is asked for it.

    Attributes
    ----------
    model : FMModel
    names : Names
        Of the model.
    cells : dict of str to str
    row : CSRBatch
        The cells as features.
    """

    model: FMModel
    names: Names
    cells: dict[str, str]
    row: CSRBatch


def add_row(parser: argparse.ArgumentParser, *kinds: str) -> None:
    """Add the cells of a row; `kinds` are user and item, as far as they have a flag."""
    for kind in kinds:
        parser.add_argument(f"--{kind}", metavar="NAME", help=f"the {kind}")
    parser.add_argument(
        "--column",
        type=cell,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a further cell of the row; without it, the cell is missing",
    )


def add_candidates(parser: argparse.ArgumentParser) -> None:
    """Add how many of what is wanted."""
    parser.add_argument(
        "--top", type=count, default=10, metavar="COUNT", help="how many; default: %(default)s"
    )
    parser.add_argument(
        "--candidates",
        metavar="COLUMN",
        help="the column whose values are meant; default: the rows of the items table",
    )


def add_form(parser: argparse.ArgumentParser) -> None:
    """Add the form of the answer."""
    parser.add_argument("--json", action="store_true", help="JSON Lines instead of a table")


def read_named(source: str) -> tuple[FMModel, Tables]:
    """Read a model of tables.

    Raises
    ------
    UserError
        If it is none.
    """
    read = read_from(source)
    if read.tables is None:
        raise UserError(
            f"{source} is a model of numbered features, expected one that was trained on tables: "
            "with the hyperparameter columns"
        )
    return read.model, read.tables


def read_row(options: argparse.Namespace, *kinds: str) -> NamedRow:
    """Read the model and the row; say which of its values the model does not know.

    Raises
    ------
    UserError
        If it is no model of tables, or the row does not fit it.
    """
    model, tables = read_named(options.source)
    names, cells = Names(model, tables), dict(options.column)
    for kind in kinds:
        given = getattr(options, kind)
        if given is not None:
            cells[_column_of(kind, tables)] = given
    encoded = names.rows.encode([cells])
    for column in encoded.unknown.get(0, ()):
        note(f"the model does not know this {column}; what it learnt of rare values counts")
    return NamedRow(model, names, cells, encoded.batch)


def _column_of(kind: str, tables: Tables) -> str:
    """Return the column of users or of items."""
    side = tables.encoder.side("users" if kind == "user" else "items")
    if side is not None:
        return side.key
    return kind if tables.seen is None else str(getattr(tables.seen, kind))


def write_answer(rows: Sequence[dict[str, object]], *, as_json: bool) -> None:
    """Write objects with the same keys, as JSON Lines or aligned without the keys."""
    if as_json:
        write(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    else:
        write_table([[_shown(value) for value in row.values()] for row in rows])


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else printable(str(value))
