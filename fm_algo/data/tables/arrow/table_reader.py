"""`TableReader`: a table in record batches, and where a row stands in its file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import pyarrow as pa

from fm_algo.data.tables.arrow.columns import CellError
from fm_algo.data.tables.columns import RESERVED
from fm_algo.errors import UserError

ROWS_AT_ONCE = 1 << 16
"""Rows of a batch, at most or about."""


class Quotable(Protocol):
    """A text in which quotes can hold line breaks."""

    has_quotes: bool


class TableReader:
    """A table, read once from start to end in record batches.

    Parameters
    ----------
    schema : pyarrow.Schema
        Columns and, where the format knows them, types.
    batches : iterator of pyarrow.RecordBatch
        May lack columns of the schema that are not wanted.
    first_line : int or None
        The line of row 0, if each row is a line; else rows are counted from 0.
    text : Quotable, optional
        The text that is read. Once it has quotes, lines are no longer known.

    Attributes
    ----------
    num_rows : int
        Rows of the batches that have been yielded before the present one.

    Raises
    ------
    UserError
        If two columns have one name.
    """

    def __init__(
        self,
        schema: pa.Schema,
        batches: Iterator[pa.RecordBatch],
        first_line: int | None = None,
        text: Quotable | None = None,
    ) -> None:
        self._batches = batches
        self._first_line = first_line
        self._text = text
        self.schema = schema
        self.num_rows = 0
        self._size = 0
        check_names(schema.names)

    @property
    def names(self) -> list[str]:
        """Names of the columns in their order."""
        return list(self.schema.names)

    @property
    def is_typed(self) -> bool:
        """Whether the format knows the types of its columns."""
        return self._first_line is None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.num_rows += self._size
            self._size = batch.num_rows
            yield batch

    @contextmanager
    def naming_rows(self) -> Iterator[None]:
        """Put the place in the table before an error in a row of the present batch."""
        try:
            yield
        except CellError as error:
            raise UserError(f"{self.place_of(error.row)}: {error.message}") from error

    def place_of(self, row: int) -> str:
        """Name a row of the present batch."""
        number = self.num_rows + row
        if self._first_line is None or (self._text is not None and self._text.has_quotes):
            return f"row {number} (from 0)"
        return f"line {self._first_line + number}"


def check_names(names: Sequence[str]) -> None:
    """Check the names of a table's columns.

    Raises
    ------
    UserError
        If one occurs twice or is not allowed.
    """
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise UserError(f"two columns are named {twice!r}, expected different names")
    wrong = next((name for name in names if name in RESERVED), None)
    if wrong is not None:
        raise UserError(f"a column cannot be named {wrong}: not allowed are {', '.join(RESERVED)}")
