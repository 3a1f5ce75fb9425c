"""Tables in the library: data frames to rows, by an encoder that is learnt from the first one."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from fm_algo.data.tables.arrow.encoding import ArrowEncoder, encode_table
from fm_algo.data.tables.arrow.fitting import EncoderFit, Side
from fm_algo.data.tables.arrow.reading import read_frame
from fm_algo.data.tables.arrow.seen import SeenPairs, seen_columns
from fm_algo.data.tables.arrow.table_reader import TableReader
from fm_algo.data.tables.cells import Cell, listed
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.encoder import SideName, TableEncoder
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.runtime.machine import usable_processors
from fm_algo.sparse import CSRBatch

Frame = Any
"""A data frame of pandas, polars, Arrow or any library that offers ``__arrow_c_stream__``; or, to
score, a list of rows by name."""

_SIDES: tuple[SideName, ...] = ("users", "items")


def learn_tables(
    frame: Frame,
    sides: Mapping[SideName, Frame | None],
    columns: Mapping[str, object],
    min_count: int,
    *,
    keep_seen: bool,
    pair: tuple[str, str] | None = None,
    earlier: TableEncoder | None = None,
) -> Tables:
    """Learn what the columns and values of a data frame are.

    Parameters
    ----------
    frame : data frame
        The training rows.
    sides : mapping of {"users", "items"} to data frame or None
        The tables to join.
    columns, min_count, keep_seen
        The hyperparameters.
    pair : (str, str), optional
        The columns of users and items; by default as `seen_columns` finds them.
    earlier : TableEncoder, optional
        Of a model to go on from.

    Returns
    -------
    Tables

    Raises
    ------
    UserError
        If the columns do not fit the tables; names row, column and value of a wrong cell.
    """
    joined = [
        Side(name, to_table(side)) for name in _SIDES if (side := sides.get(name)) is not None
    ]
    reader = read_frame(frame)
    fit = EncoderFit(
        parse_columns(columns, min_count),
        reader.schema,
        is_typed=True,
        sides=joined,
        earlier=earlier,
        num_threads=usable_processors(),
    )
    seen = SeenPairs(*(pair or seen_columns(fit.columns, fit.keys))) if keep_seen else None
    for batch in reader:
        with reader.naming_rows():
            fit.add(batch)
            if seen is not None:
                seen.add(batch)
    encoder = fit.finish()
    return Tables(encoder, None if seen is None else seen.finish(encoder))


def to_table(frame: Frame) -> pa.Table:
    """Return a data frame as an Arrow table.

    Raises
    ------
    UserError
        If it is none.
    """
    reader = read_frame(frame)
    return pa.Table.from_batches(list(reader), reader.schema)


def encode_frame(frame: Frame, encoder: TableEncoder, *, labelled: bool) -> CSRBatch:
    """Turn a data frame, or a list of rows, into rows of features.

    Parameters
    ----------
    frame : data frame, or list of mapping of str to cell
    encoder : TableEncoder
    labelled : bool
        Whether labels and weights are wanted, as far as the encoder has such columns.

    Raises
    ------
    UserError
        If a column is lacking, or a cell is not what its column holds.
    """
    if isinstance(frame, Mapping):
        frame = [frame]
    if isinstance(frame, list | tuple) and all(isinstance(row, Mapping) for row in frame):
        if labelled:
            raise UserError("a list of rows can be scored, but not trained on: make a data frame")
        return RowEncoder(encoder).encode(frame).batch
    reader = open_frame(frame, encoder, labelled=labelled)
    batches = list(
        encode_table(reader, ArrowEncoder(encoder, usable_processors()), labelled=labelled)
    )
    if not batches:
        return CSRBatch.empty(encoder.feature_dim, labelled=False)
    return CSRBatch.join(batches)


def open_frame(frame: Frame, encoder: TableEncoder, *, labelled: bool) -> TableReader:
    """Open a data frame for reading once.

    Parameters
    ----------
    frame : data frame
    encoder : TableEncoder
    labelled : bool
        Whether labels and weights are wanted, as far as the encoder has such columns.

    Raises
    ------
    UserError
        If a column is lacking.
    """
    reader = read_frame(frame)
    needed = encoder.needed
    if labelled:
        needed += [each.name for each in encoder.columns if each.kind in {"label", "weight"}]
    absent = [name for name in needed if name not in reader.names]
    if absent:
        raise UserError(
            f"no column {listed(absent)}, which the training rows have; found are "
            f"{listed(reader.names)}"
        )
    return reader


def is_frame(rows: object) -> bool:
    """Return whether rows are a data frame."""
    return hasattr(rows, "__arrow_c_stream__")


def own_arrays(tables: Tables) -> Tables:
    """Return the same tables with arrays of their own in memory, not views of a file."""
    arrays = {name: np.array(array) for name, array in tables.arrays().items()}
    encoder = TableEncoder.of_arrays(tables.encoder.describe(), arrays)
    seen = tables.seen
    if seen is not None:
        seen = type(seen)(
            seen.user, seen.item, *(np.array(array) for array in seen.arrays().values())
        )
    return Tables(encoder, seen)


def one_row_of(frame: Frame) -> dict[str, Cell]:
    """Return the cells of a data frame of one row, or of a row by name."""
    if isinstance(frame, Mapping):
        return dict(frame)
    rows = frame if isinstance(frame, list | tuple) else to_table(frame).to_pylist()
    return dict(rows[0])
