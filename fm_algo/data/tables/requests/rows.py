"""`NamedRows`: rows of a request as features, and what is known and asked of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fm_algo.data.formats.request import RequestRows
from fm_algo.data.tables.cells import Cell
from fm_algo.data.tables.requests.asked import Asked
from fm_algo.data.tables.row_encoder import EncodedRows, RowEncoder
from fm_algo.errors import UserError

_MAX_ROWS_AT_ONCE = 1024
_CELLS_AT_ONCE = 1 << 17
"""What is encoded at a time: Python objects of so many cells are alive."""

MAX_CELLS = 1 << 28
"""Cells of a request, those of columns that rows lack among them: a minute of work."""


@dataclass(frozen=True, slots=True)
class NamedRows(RequestRows):
    """Some of the rows of a request, given by names.

    Attributes
    ----------
    asked : mapping of int to Asked
        By row number in this batch, those that ask for more than a score.
    unknown : mapping of int to list of str
        By row number, the columns with a value that the model does not know.
    """

    asked: Mapping[int, Asked] = field(default_factory=dict)
    unknown: Mapping[int, list[str]] = field(default_factory=dict)


class RowCounter:
    """How many rows of a request are encoded at a time, and in all.

    A row that lacks columns is encoded all the same: short bodies can mean much work.

    Parameters
    ----------
    rows : RowEncoder
    """

    def __init__(self, rows: RowEncoder) -> None:
        self._width = rows.width
        self._num_rows = 0
        self.at_once = max(1, min(_MAX_ROWS_AT_ONCE, _CELLS_AT_ONCE // self._width))

    def take(self, num_rows: int) -> None:
        """Count rows.

        Raises
        ------
        UserError
            If they are more than a request may have.
        """
        self._num_rows += num_rows
        allowed = MAX_CELLS // self._width
        if self._num_rows > allowed:
            raise UserError(
                f"the request has more than {allowed} rows, the most for a model whose rows "
                f"have {self._width} features; send several requests"
            )


def encode_rows(
    rows: RowEncoder, cells: Sequence[Mapping[str, Cell]], place: Callable[[int], str]
) -> EncodedRows:
    """Encode rows.

    Parameters
    ----------
    rows : RowEncoder
    cells : sequence of mapping of str to cell
        Row by row, by name of the column.
    place : callable
        Names a row of these, by its number, for a message.

    Raises
    ------
    UserError
        At the first row that is wrong; names its place, the column and the value.
    """
    try:
        return rows.encode(cells)
    except UserError:
        for number, row in enumerate(cells):
            try:
                rows.encode([row])
            except UserError as error:
                raise UserError(f"{place(number)}: {error.message}") from error
        raise
