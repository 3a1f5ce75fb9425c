"""Which columns a table of a request has: as its header says, or by their number."""

from collections.abc import Sequence

from fm_algo.data.formats.number import shown
from fm_algo.data.tables.cells import listed
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.errors import UserError

_WITHOUT = ("label", "weight")
"""Kinds of columns that a table to score may lack, as the others need not be there by name."""


def check_header(names: Sequence[str], rows: RowEncoder) -> None:
    """Check the names of a table's columns.

    Columns of the side tables may be there, and those without features; all others must.

    Raises
    ------
    UserError
        If a name stands twice or is no column of the model, or if a column is not there.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            found = shown(name.encode())
            raise UserError(f"two columns are named {found}, expected different names")
        seen.add(name)
    rows.check_names(names)
    needed = rows.encoder.needed
    missing = [name for name in needed if name not in seen]
    if missing:
        raise UserError(
            f"no column {listed(missing)}; expected are {listed(needed)}, whose cells may be empty"
        )


def columns_by_number(cells: Sequence[str], rows: RowEncoder) -> tuple[str, ...]:
    """Return the columns of a table without a header, by the number of cells in its first row.

    These are the columns of the training table in their order, with or without label and weight.

    Raises
    ------
    UserError
        If there are other numbers of them, or if the row is a header.
    """
    columns = rows.encoder.columns
    every = tuple(column.name for column in columns)
    unlabelled = tuple(column.name for column in columns if column.kind not in _WITHOUT)
    if len(cells) > 1 and set(cells) <= rows.names:
        raise UserError(
            "the names of the columns; if it is a header, the content type is "
            "text/csv;header=present"
        )
    for names in (every, unlabelled):
        if len(cells) == len(names):
            return names
    allowed = f"{len(every)}: {listed(every)}"
    if every != unlabelled:
        without = [name for name in every if name not in unlabelled]
        allowed += f"; or {len(unlabelled)}, without {' and '.join(without)}"
    raise UserError(f"{len(cells)} columns, expected {allowed}")
