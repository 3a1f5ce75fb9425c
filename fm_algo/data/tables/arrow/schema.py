"""Say of each column of a table what it is: as `columns` does, or its type where that tells."""

from collections.abc import Mapping

import msgspec
import pyarrow as pa

from fm_algo.data.tables.arrow import columns as cells
from fm_algo.data.tables.cells import listed
from fm_algo.data.tables.columns import OTHERS, Column, Kind
from fm_algo.errors import UserError


def columns_of(columns: Mapping[str, Column], schema: pa.Schema, *, is_typed: bool) -> list[Column]:
    """Say of each column of a table what it is, in the order of the table.

    Raises
    ------
    UserError
        If one is not named in `columns` and its type does not tell.
    """
    found: list[Column] = []
    unnamed: list[str] = []
    for field in schema:
        kind = _kind_of(field.type) if is_typed else None
        if field.name in columns:
            found.append(columns[field.name])
        elif OTHERS in columns:
            found.append(msgspec.structs.replace(columns[OTHERS], name=field.name))
        elif kind is not None:
            found.append(Column(name=field.name, kind=kind))
        else:
            unnamed.append(f"{field.name} ({field.type})" if is_typed else field.name)
    if unnamed:
        why = ", because a whole number can be a category or a number" if is_typed else ""
        raise UserError(
            f"columns does not say what {listed(unnamed)} is{why}: name it, "
            'as "category", "number" or "ignore", for example; or all others by "*": "ignore"'
        )
    return found


def _kind_of(kind: pa.DataType) -> Kind | None:
    """Return the kind of column that a type can only be, or None."""
    if cells.is_words(kind) or pa.types.is_boolean(kind) or pa.types.is_dictionary(kind):
        return "category"
    if pa.types.is_floating(kind):
        return "number"
    return "set" if cells.is_list(kind) else None
