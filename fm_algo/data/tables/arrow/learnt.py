"""`LearntColumn`: what one pass over a column learns of it."""

import msgspec
import numpy as np
import pyarrow as pa

from fm_algo.data.tables.arrow import columns as cells
from fm_algo.data.tables.arrow.counting import ValueCounter
from fm_algo.data.tables.arrow.encoding import listed_words, on_column
from fm_algo.data.tables.arrow.moments import NumberSketch
from fm_algo.data.tables.blocks import Block
from fm_algo.data.tables.cells import BLANKS
from fm_algo.data.tables.columns import Column
from fm_algo.data.tables.dictionary import UNKNOWN, Dictionary
from fm_algo.errors import UserError


class LearntColumn:
    """Takes a column batch by batch: counts its values, or measures its numbers.

    Parameters
    ----------
    column : Column
        Neither hashed nor without features.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self._counter = ValueCounter()
        self._numbers = NumberSketch()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the cells of the next rows.

        Raises
        ------
        CellError
            If one is not what the column holds.
        """
        on_column(batch, self.column.name, self._add)

    def _add(self, array: pa.Array) -> None:
        if self.column.kind in {"number", "bins"}:
            self._numbers.add(cells.to_numbers(array))
        elif self.column.kind == "set":
            _, members = cells.to_sets(array, self.column.separator)
            self._counter.add(members)
        else:
            words, codes = cells.to_words(array)
            times = (
                None if codes is None else np.bincount(codes + 1, minlength=len(words.starts) + 1)
            )
            if times is None:
                self._counter.add(words)
                return
            self._counter.add(words, times[1:])
            self._counter.num_missing += int(times[0])

    def finish(
        self, block: Block, before: Block | None, earlier: Dictionary | None
    ) -> tuple[Block, Dictionary | None]:
        """Return a block with what was learnt, and the dictionary of words.

        Parameters
        ----------
        block : Block
        before, earlier : Block, Dictionary or None
            Those of a model to go on from: its edges and moments stay, its values come first.
        """
        if self.column.kind == "number":
            mean, deviation = self._numbers.moments()
            if before is not None:
                mean, deviation = before.mean, before.deviation
            return msgspec.structs.replace(block, mean=mean, deviation=deviation), None
        if self.column.kind == "bins":
            edges = self._numbers.edges(self.column.bins) if before is None else before.edges
            return msgspec.structs.replace(block, edges=edges), None
        dictionary = self._counter.dictionary(self.column.min_count, earlier)
        has_missing = self.column.kind == "category" and (
            self._counter.num_missing > 0 or (before is not None and before.has_missing)
        )
        return (
            msgspec.structs.replace(block, num_values=len(dictionary), has_missing=has_missing),
            dictionary,
        )


class LabelWords:
    """Takes a column of labels that are words, and checks that the positive one is among them.

    Parameters
    ----------
    column : Column
        With `positive`.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self._counter = ValueCounter()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the cells of the next rows.

        Raises
        ------
        CellError
            If one is no single value.
        """
        words, codes = on_column(batch, self.column.name, cells.to_words)
        self._counter.add(cells.text_per_row(words, codes))

    def finish(self, earlier: Dictionary | None) -> Dictionary:
        """Return the words, those of an earlier model first.

        Raises
        ------
        UserError
            If no row has the positive label.
        """
        positive = (self.column.positive or "").strip(BLANKS)
        known = self._counter.dictionary(1, earlier)
        if len(known) and known.find(positive.encode()) == UNKNOWN:
            raise UserError(
                f"column {self.column.name}: no row has the label {positive!r}, which would be "
                f"label 1; found are {listed_words(known)}"
            )
        return known
