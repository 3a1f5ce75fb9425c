"""Learn a `TableEncoder` from a table, in one pass."""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from fm_algo.data.tables.arrow import columns as cells
from fm_algo.data.tables.arrow.counting import ValueCounter
from fm_algo.data.tables.arrow.encoding import ArrowEncoder, on_column
from fm_algo.data.tables.arrow.learnt import LabelWords, LearntColumn
from fm_algo.data.tables.arrow.schema import columns_of
from fm_algo.data.tables.arrow.table_reader import TableReader
from fm_algo.data.tables.blocks import Block, Table, number_blocks
from fm_algo.data.tables.cells import listed
from fm_algo.data.tables.columns import OTHERS, Column
from fm_algo.data.tables.dictionary import Dictionary
from fm_algo.data.tables.encoder import SideName, SideTable, TableEncoder
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Side:
    """A table to be joined to the rows.

    Attributes
    ----------
    name : {"users", "items"}
    table : pyarrow.Table
        All of it.
    """

    name: SideName
    table: pa.Table


class EncoderFit:
    """Learns an encoder: `add` takes the training table batch by batch, `finish` returns it.

    Parameters
    ----------
    columns : mapping of str to Column
        What is said of the columns of all tables.
    schema : pyarrow.Schema
        Of the training table.
    is_typed : bool
        Whether types of the schema mean something: then columns that are not named can be read
        off it.
    sides : sequence of Side, optional
    earlier : TableEncoder, optional
        Of a model to go on from: values keep their meaning, new ones are added.
    num_threads : int, optional
        The encoder does not depend on it.

    Raises
    ------
    UserError
        If the columns do not fit the tables; tells every problem.

    Attributes
    ----------
    columns : list of Column
        All columns of the training table, in its order.
    keys : dict of SideName to str
        The key of each side table.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        schema: pa.Schema,
        *,
        is_typed: bool,
        sides: Sequence[Side] = (),
        earlier: TableEncoder | None = None,
        num_threads: int = 1,
    ) -> None:
        self.columns = columns_of(columns, schema, is_typed=is_typed)
        self._sides = sides
        self._earlier = earlier
        self._side_columns = {
            side.name: columns_of(columns, side.table.schema, is_typed=is_typed) for side in sides
        }
        self.keys = {side.name: self._key_of(side) for side in sides}
        self._check_all_named(columns)
        self._learnt = [LearntColumn(column) for column in self.columns if column.is_learnt]
        self._labels = [
            LabelWords(column) for column in self.columns if column.positive is not None
        ]
        self._pool = ThreadPoolExecutor(num_threads)

    @property
    def needs_rows(self) -> bool:
        """Whether there is something to learn from the rows."""
        return bool(self._learnt or self._labels)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of the training table.

        Raises
        ------
        CellError
            If a cell is not what its column holds.
        """
        list(self._pool.map(lambda learnt: learnt.add(batch), [*self._learnt, *self._labels]))

    def finish(self) -> TableEncoder:
        """Return the encoder of the rows so far.

        Raises
        ------
        UserError
            If no column has features, no row has the positive label, or the keys of a side table
            are not all different.
        """
        before = {} if self._earlier is None else self._earlier.dictionaries
        labels = {
            words.column.name: words.finish(before.get(words.column.name)) for words in self._labels
        }
        blocks, dictionaries = self._blocks_of(self.columns, "rows", self._learnt)
        dictionaries |= labels
        for side in self._sides:
            own = [
                column
                for column in self._side_columns[side.name]
                if column.name != self.keys[side.name]
            ]
            learnt = [LearntColumn(column) for column in own if column.is_learnt]
            for each in learnt:
                _for_each_batch(side, each.add)
            more, their_dictionaries = self._blocks_of(own, side.name, learnt)
            blocks += more
            dictionaries |= their_dictionaries
        if not blocks:
            raise UserError("no column becomes features: label, weight and ignore are all there is")
        encoder = TableEncoder(tuple(self.columns), number_blocks(blocks), dictionaries)
        sides = tuple(self._join(side, encoder) for side in self._sides)
        return TableEncoder(encoder.columns, encoder.blocks, dictionaries, sides)

    def _blocks_of(
        self, columns: Sequence[Column], table: Table, learnt: Sequence[LearntColumn]
    ) -> tuple[list[Block], dict[str, Dictionary]]:
        blocks, dictionaries = [], {}
        known = {each.column.name: each for each in learnt}
        for column in columns:
            if not column.has_features:
                continue
            block, earlier = Block(column=column, table=table, first=0), None
            before = None if self._earlier is None else self._earlier.block_of.get(column.name)
            if before is not None and self._earlier is not None:
                _check_same_kind(before.column, column)
                earlier = self._earlier.dictionaries.get(column.name)
            if column.name in known:
                block, dictionary = known[column.name].finish(block, before, earlier)
                if dictionary is not None:
                    dictionaries[column.name] = dictionary
            blocks.append(block)
        return blocks, dictionaries

    def _key_of(self, side: Side) -> str:
        """Return the one column that a side table shares with the training table."""
        own = {column.name for column in self.columns}
        shared = [name for name in side.table.schema.names if name in own]
        if len(shared) != 1:
            found = "no column" if not shared else f"the columns {listed(shared)}"
            raise UserError(
                f"the {side.name} table shares {found} with the training table, expected one, "
                f"its key; it has {listed(side.table.schema.names)}"
            )
        return str(shared[0])

    def _check_all_named(self, columns: Mapping[str, Column]) -> None:
        names = {column.name for column in self.columns}
        for side in self._sides:
            for column in self._side_columns[side.name]:
                if column.name in names and column.name != self.keys[side.name]:
                    raise UserError(f"column {column.name} is in both side tables")
                names.add(column.name)
        absent = [name for name in columns if name not in names and name != OTHERS]
        if absent:
            raise UserError(
                f"columns names {listed(absent)}, which no table has; there are "
                f"{listed(sorted(names))}"
            )

    def _join(self, side: Side, encoder: TableEncoder) -> SideTable:
        """Encode a side table, with a last row for keys that are not in it."""
        key = self.keys[side.name]
        counter = ValueCounter()

        def count(batch: pa.RecordBatch) -> None:
            words, codes = on_column(batch, key, cells.to_words)
            counter.add(cells.text_per_row(words, codes))

        _for_each_batch(side, count)
        if counter.num_missing:
            raise UserError(
                f"the {side.name} table: column {key}: {counter.num_missing} keys are missing"
            )
        keys = counter.in_order()
        num_rows = side.table.num_rows
        if len(keys) != num_rows:
            again = counter.most_frequent().decode()[:100]
            raise UserError(
                f"the {side.name} table: column {key}: {again!r} stands in more than one row, "
                "expected each key once"
            )
        blocks = [block for block in encoder.blocks if block.table == side.name]
        own = ArrowEncoder(encoder, blocks=blocks)
        batches = _for_each_batch(side, functools.partial(own.encode, labelled=False))
        nothing = {block.name: pa.nulls(1) for block in blocks} or {key: pa.nulls(1)}
        batches.append(own.encode(pa.record_batch(nothing), labelled=False))
        rows = CSRBatch.join(batches)
        return SideTable(side.name, key, keys, rows.indptr, rows.indices, rows.values)


def _for_each_batch(side: Side, work: Callable[[pa.RecordBatch], _Result]) -> list[_Result]:
    """Do something with each batch of a side table; its errors then name the table and the row."""
    reader, results = TableReader(side.table.schema, iter(side.table.to_batches())), []
    try:
        for batch in reader:
            with reader.naming_rows():
                results.append(work(batch))
    except UserError as error:
        raise error.within(f"the {side.name} table") from error
    return results


def fit_encoder(
    columns: Mapping[str, Column],
    reader: TableReader,
    *,
    sides: Sequence[Side] = (),
    earlier: TableEncoder | None = None,
    num_threads: int = 1,
) -> TableEncoder:
    """Learn an encoder from a table; see `EncoderFit`.

    Raises
    ------
    UserError
        As from `EncoderFit` and the reader; names line or row of a wrong cell.
    """
    fit = EncoderFit(
        columns,
        reader.schema,
        is_typed=reader.is_typed,
        sides=sides,
        earlier=earlier,
        num_threads=num_threads,
    )
    for batch in reader:
        with reader.naming_rows():
            fit.add(batch)
    return fit.finish()


def _check_same_kind(before: Column, now: Column) -> None:
    same = ("kind", "separator", "bits", "scale")
    if any(getattr(before, name) != getattr(now, name) for name in same):
        raise UserError(
            f"column {now.name} is a {now.kind}, but in the earlier model it is a {before.kind}; "
            "expected the same kind and options"
        )
