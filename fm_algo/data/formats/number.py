"""Read numbers written as text, and word the errors about them.

Every text format uses this module. `fm_algo.data.bulk.number` is the compiled reader of usual
numbers, and must round in the same way.
"""

import math
import re

import msgspec
import numpy as np
from numpy.typing import NDArray

NUMBER_BYTES = b"0123456789+-.eE"
"""The bytes that a finite number consists of."""

TOO_LARGE = "is too large for float32"

_FLOAT32_LIMIT = 2.0**128 - 2.0**103
"""From here on a double rounds to an infinite float32 (IEEE 754, ties to even)."""

_SHOWN_CHARACTERS = 40

_list_decoder = msgspec.json.Decoder(list[float])


def parse_numbers(text: bytes) -> NDArray[np.float64] | None:
    """Read numbers separated by commas, all at once.

    Parameters
    ----------
    text : bytes
        Numbers as JSON writes them, with or without blanks around them.

    Returns
    -------
    float64, shape (number of commas + 1,), or None
        None if one is not a number, or is written in a way that JSON does not know, such as ``+1``
        or ``.5``; `parse_number` tells which case it is.
    """
    try:
        numbers = _list_decoder.decode(b"[%b]" % text)
    except msgspec.MsgspecError:
        return None
    return np.fromiter(numbers, np.float64, len(numbers))


def parse_number(text: bytes) -> float:
    """Read one number.

    Raises
    ------
    ValueError
        If it is not a number that a float32 can hold. The message continues the text, e.g. "is
        not a number".
    """
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError("is not a number") from error
    if b"_" in text:  # Python would accept 1_000
        raise ValueError("is not a number")
    if not math.isfinite(number):
        raise ValueError("is not a finite number")
    if abs(number) >= _FLOAT32_LIMIT:
        raise ValueError(TOO_LARGE)
    return number


def parse_whole_number(text: bytes) -> int:
    """Read one whole number, perhaps written with a point or an exponent.

    Raises
    ------
    ValueError
        If it is none; the message is as from `parse_number`.
    """
    number = parse_number(text)
    if not number.is_integer():
        raise ValueError("is not a whole number")
    return int(number)


def shown(text: bytes) -> str:
    """Return text from outside in a form that fits into a one-line message."""
    word = text.decode("utf-8", "replace")
    if len(word) > _SHOWN_CHARACTERS:
        word = word[:_SHOWN_CHARACTERS] + "…"
    return word if re.fullmatch(r"[\w.+:-]+", word, re.ASCII) else repr(word)
