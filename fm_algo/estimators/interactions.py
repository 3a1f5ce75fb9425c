"""Interactions in the library: data frames of who has which item, for `FMRanker`."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fm_algo.data.tables.arrow import columns as cells
from fm_algo.data.tables.arrow.counting import ValueCounter
from fm_algo.data.tables.arrow.encoding import ArrowEncoder, on_column
from fm_algo.data.tables.arrow.reading import read_frame
from fm_algo.data.tables.cells import listed
from fm_algo.data.tables.columns import OTHERS
from fm_algo.data.tables.dictionary import UInt64Array
from fm_algo.data.tables.encoder import SideName, SideTable, TableEncoder
from fm_algo.data.tables.tables import Seen, Tables
from fm_algo.errors import UserError
from fm_algo.estimators.frames import Frame, learn_tables, open_frame
from fm_algo.runtime.machine import usable_processors
from fm_algo.sparse import CSRBatch, Int64Array
from fm_algo.training.positives import PositiveCollector, Positives
from fm_algo.training.ranking.queries import Queries, QueryCollector, most_users

_log = logging.getLogger(__name__)

_ABOVE_0 = float(np.nextafter(np.float32(0), np.float32(1)))

_OWN_KINDS = ("label", "weight")
"""Columns of these names are of these kinds, unless `columns` says otherwise."""


def complete_columns(
    names: list[str], user: str, item: str, columns: Mapping[str, object] | None
) -> dict[str, object]:
    """Say of all columns of interactions what they are.

    Parameters
    ----------
    names : list of str
        The columns.
    user, item : str
        Those of users and items; they are categories unless `columns` says otherwise.
    columns : mapping of str to object, or None
        What is said of columns, those of side tables included.

    Raises
    ------
    UserError
        If there is no column of users or items, or nobody says what another one is.
    """
    for name, whose in ((user, "user"), (item, "item")):
        if name not in names:
            raise UserError(
                f"no column {name}, which {whose}={name!r} names; found are {listed(names)}"
            )
    given = dict(columns or {})
    kinds: dict[str, object] = {user: "category", item: "category"}
    kinds |= {kind: kind for kind in _OWN_KINDS if kind in names}
    if given.get(user) in ("ignore", {"kind": "ignore"}):
        raise UserError(
            f"column {user} is ignored, but items are drawn that its users do not have; make it a "
            "category, or hash it"
        )
    unsaid = [name for name in names if name not in kinds | given]
    if unsaid and OTHERS not in given:
        raise UserError(
            f"columns does not say what {listed(unsaid)} is: name it, as "
            '"label" (above 0: the user wants the item), "weight", "category" or "ignore", for '
            'example; or all others by "*": "ignore"'
        )
    return {name: kind for name, kind in kinds.items() if name not in given} | given


def learn_interactions(
    frame: pa.Table,
    users: Frame | None,
    items: Frame | None,
    columns: Mapping[str, object],
    pair: tuple[str, str],
    *,
    min_count: int,
    earlier: TableEncoder | None = None,
) -> Tables:
    """Learn what the columns and values of interactions are, and which items each user has.

    Parameters
    ----------
    frame : pyarrow.Table
        The interactions.
    users, items : data frame, or None
        The tables to join. Without a table of items, the items of the interactions are all there
        are, and with those of `earlier`.
    columns : mapping of str to object
        Of `complete_columns`.
    pair : (str, str)
        The columns of users and items.
    min_count : int
    earlier : TableEncoder, optional
        Of a model to go on from.

    Raises
    ------
    UserError
        As from `learn_tables`; or if a table has another key.
    """
    if items is None:
        items = _items_of(frame, pair[1], earlier)
    sides: dict[SideName, Frame | None] = {"users": users, "items": items}
    tables = learn_tables(
        frame, sides, columns, min_count, keep_seen=True, pair=pair, earlier=earlier
    )
    for side, key in zip(("users", "items"), pair, strict=True):
        joined = next((each for each in tables.encoder.sides if each.name == side), None)
        if joined is not None and joined.key != key:
            raise UserError(f"the {side} table is joined by {joined.key}, expected {key}")
    return tables


def _items_of(frame: pa.Table, item: str, earlier: TableEncoder | None) -> pa.Table:
    """Return a table of the items that interactions have, in the order of their first ones."""
    counter = ValueCounter()
    before = None if earlier is None else earlier.side("items")
    known = [] if before is None else [key.decode() for key in before.keys.values()]
    for table in (pa.table({item: known}), frame.select([item])):
        reader = read_frame(table)
        for batch in reader:
            with reader.naming_rows():
                counter.add(cells.text_per_row(*on_column(batch, item, cells.to_words)))
    found = [key.decode() for key in counter.in_order().values()]
    return pa.table({item: pa.array(found, pa.large_string())})


def positives_of(
    frame: pa.Table, tables: Tables, sample_weight: NDArray[Any] | None = None
) -> Positives:
    """Return what the users of interactions want.

    Parameters
    ----------
    frame : pyarrow.Table
    tables : Tables
        With the items that users have seen.
    sample_weight : numbers, shape (n,), optional
        By default the column of weights.

    Raises
    ------
    UserError
        If a cell is not what its column holds, or there is nothing to learn from.
    """
    collector = PositiveCollector(tables.encoder)
    first = 0
    for users, items, rows in read_interactions(frame, tables):
        last = first + len(items)
        own = None if sample_weight is None else sample_weight[first:last]
        collector.add(users, items, CSRBatch.of(rows, sample_weight=own))
        first = last
    positives = collector.finish()
    if collector.num_unknown:
        _log.warning(
            "%d interactions are not learnt from: their item is not in the items table",
            collector.num_unknown,
        )
    return positives


def queries_of(frame: Frame, tables: Tables, num_factors: int) -> Queries:
    """Return what the users of interactions are asked for, and what they should get.

    Parameters
    ----------
    frame : data frame
    tables : Tables
        With the items that users have seen.
    num_factors : int
        With many items and factors, fewer users are asked.

    Raises
    ------
    UserError
        If a column is lacking, or a cell is not what its column holds.
    """
    items, seen = _known(tables)
    most = most_users(len(items.keys), num_factors)
    collector = QueryCollector(tables.encoder, most, _ABOVE_0, seen)
    for block in read_interactions(frame, tables):
        collector.add(*block)
    return collector.finish()


def read_interactions(
    frame: Frame, tables: Tables
) -> Iterator[tuple[UInt64Array, Int64Array, CSRBatch]]:
    """Yield interactions, some at a time.

    Parameters
    ----------
    frame : data frame
    tables : Tables
        With the items that users have seen.

    Yields
    ------
    users : uint64, shape (n,)
        XXH64 of the users' texts.
    items : int64, shape (n,)
        Rows of the items table; their number for an item that is not in it.
    rows : CSRBatch
        With labels: 1 where there is no column of labels.

    Raises
    ------
    UserError
        If the tables do not say what users have seen, a column is lacking, or a cell is not what
        its column holds.
    """
    encoder, (items, seen) = tables.encoder, _known(tables)
    arrow = ArrowEncoder(encoder, usable_processors())
    reader = open_frame(frame, encoder, labelled=True)
    for batch in reader:
        with reader.naming_rows():
            users, keys = arrow.hash_words(batch, seen.user), arrow.encode_keys(batch, items)
            rows = arrow.encode(batch, labelled=True)
        if rows.labels is None:
            rows = dataclasses.replace(rows, labels=np.ones(rows.num_rows, np.float32))
        yield users, keys, rows


def _known(tables: Tables) -> tuple[SideTable, Seen]:
    """Return the table of items, and who has seen which."""
    items, seen = tables.encoder.side("items"), tables.seen
    if items is None or seen is None:
        raise UserError("rankings leave out what users have seen: they need keep_seen=True")
    return items, seen
