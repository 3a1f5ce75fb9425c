"""What a single cell says, whatever language or file it comes from.

The same value must be the same feature from CSV, JSON, Parquet and a data frame. So a word is its
text, and a whole number is the word that writes it without a point: 7, 7.0 and "7" are one user.
Blanks around a word do not count, since CSV is often written with a blank after each comma. An
empty text is a missing cell, because CSV cannot tell the two apart.
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

from fm_algo.data.formats.number import parse_number, shown
from fm_algo.errors import UserError

Scalar: TypeAlias = "str | int | float | bool | None"
Cell: TypeAlias = "Scalar | Sequence[Scalar]"
"""A value of a table; a sequence only in a column of sets."""

BLANKS = " \t\r\n"
"""What does not count around a word or a number."""

_LISTED_NAMES, _SHOWN_NAME = 40, 100
"""How many names of columns a message lists, and how many characters of each."""

_WHOLE_BELOW = 2.0**63


def text_of(cell: Cell) -> bytes | None:
    """Return the UTF-8 text of a word; None if the cell is missing.

    Raises
    ------
    UserError
        If the cell is no single value, is infinite or cannot be written as UTF-8.
    """
    if isinstance(cell, str):
        try:
            return cell.strip(BLANKS).encode() or None
        except UnicodeEncodeError as error:
            raise UserError(f"{cell[:40]!a} is no Unicode text") from error
    if cell is None:
        return None
    if isinstance(cell, bool):
        return b"true" if cell else b"false"
    if isinstance(cell, int):
        return b"%d" % cell
    if isinstance(cell, float):
        return _text_of_float(cell)
    raise UserError(f"{describe(cell)}, expected one text or number")


def _text_of_float(number: float) -> bytes | None:
    if math.isnan(number):
        return None
    if math.isinf(number):
        raise UserError(f"{number} is neither a text nor a finite number")
    if number.is_integer() and abs(number) < _WHOLE_BELOW:
        return b"%d" % int(number)
    return repr(number).encode()


def number_of(cell: Cell) -> float:
    """Return the number in a cell, float64; nan if the cell is missing.

    Raises
    ------
    UserError
        If it is not a number that a float32 can hold.
    """
    if isinstance(cell, str):
        cell = cell.strip(BLANKS)
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        return math.nan
    if not isinstance(cell, str | int | float):
        raise UserError(f"{describe(cell)}, expected a number")
    text = cell.encode("utf-8", "replace") if isinstance(cell, str) else repr(cell).encode()
    if isinstance(cell, bool):
        return float(cell)
    try:
        return parse_number(text)
    except ValueError as error:
        hint = "; empty means missing" if isinstance(cell, str) else ""
        raise UserError(f"{shown(text)} {error}{hint}") from error


def members_of(cell: Cell, separator: str | None) -> list[bytes]:
    """Return the members of a set: of a list, or of a text cut at the separator.

    Missing members count for nothing.

    Raises
    ------
    UserError
        If a member is not a single value.
    """
    if isinstance(cell, str) and separator is not None:
        members: Sequence[Scalar] = cell.split(separator)
    elif isinstance(cell, list | tuple):
        members = cell
    else:
        members = [cell]  # type: ignore[list-item] # `text_of` refuses what is no single value
    return [text for member in members if (text := text_of(member)) is not None]


def describe(cell: object) -> str:
    """Say what kind of thing an unexpected cell is."""
    if isinstance(cell, dict):
        return "an object"
    return "a list" if isinstance(cell, list | tuple) else f"a {type(cell).__name__}"


def listed(names: Sequence[str]) -> str:
    """Write names in one line, the first of very many."""
    first = ", ".join(map(_in_one_line, names[:_LISTED_NAMES])) or "none"
    others = len(names) - _LISTED_NAMES
    return f"{first} and {others} more" if others > 0 else first


def _in_one_line(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME and name.isprintable() else repr(name[:_SHOWN_NAME])
