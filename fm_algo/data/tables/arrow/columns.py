"""What the cells of an Arrow column say: words, sets of words, numbers.

The same rules as `fm_algo.data.tables.cells`, for whole columns.
"""

import math
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fm_algo.data.tables.arrow.sets import split
from fm_algo.data.tables.arrow.texts import Texts, trim
from fm_algo.data.tables.cells import BLANKS, Cell, number_of, text_of
from fm_algo.errors import UserError
from fm_algo.sparse.matrix import Int64Array

Array: TypeAlias = pa.Array

_FLOAT32_LIMIT = 2.0**128 - 2.0**103


class CellError(UserError):
    """A cell is not what its column holds.

    Parameters
    ----------
    message : str
        Names the column, not the row.
    row : int
        Row of the batch, from 0.
    """

    def __init__(self, message: str, row: int) -> None:
        super().__init__(message)
        self.row = row


def is_words(kind: pa.DataType) -> bool:
    """Return whether a type holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type holds lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def is_single(kind: pa.DataType) -> bool:
    """Return whether a type holds single values that a column can consist of."""
    if pa.types.is_dictionary(kind):
        return is_words(kind.value_type)
    return bool(
        is_words(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def plain(array: Array) -> Array:
    """Return a column with times, dates and decimals written as text, and views as plain texts."""
    kind = array.type
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pc.cast(array, pa.string())
    if pa.types.is_string_view(kind):
        return pc.cast(array, pa.large_string())
    if pa.types.is_dictionary(kind) and not is_words(kind.value_type):
        return plain(array.dictionary_decode())
    if pa.types.is_list_view(kind) or pa.types.is_fixed_size_list(kind):
        return pc.cast(array, pa.large_list(kind.value_type))
    return array


def _check_single(kind: pa.DataType) -> None:
    if not is_single(kind):
        raise CellError(f"{kind} holds no single values, which this kind of column needs", 0)


def to_words(array: Array) -> tuple[Texts, NDArray[np.int64] | None]:
    """Return the words of a column of single values.

    Returns
    -------
    texts : Texts
    codes : int64, shape (n,), or None
        The text of each row, or -1 for a missing one; None if texts are the rows' own.
    """
    kind = array.type
    _check_single(kind)
    if pa.types.is_dictionary(kind):
        codes = pc.fill_null(pc.cast(array.indices, pa.int64()), -1).to_numpy(zero_copy_only=False)
        return _texts(array.dictionary), codes
    if is_words(kind):
        return _texts(array), None
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return _texts(pc.cast(array, pa.large_string())), None
    encoded = pc.dictionary_encode(array, null_encoding="mask")
    words = _each(encoded.dictionary.to_pylist(), array)
    codes = pc.fill_null(pc.cast(encoded.indices, pa.int64()), -1).to_numpy(zero_copy_only=False)
    return _texts(pa.array(words, pa.large_string())), codes


def _each(cells: list[Cell], array: Array) -> list[str | None]:
    """Return the words of different numbers; an error names the first row of a wrong one."""
    words: list[str | None] = []
    for cell in cells:
        try:
            text = text_of(cell)
        except UserError as error:
            row = pc.index(array, pa.scalar(cell, array.type)).as_py()
            raise CellError(error.message, row) from error
        words.append(None if text is None else text.decode())
    return words


def to_sets(array: Array, separator: str | None) -> tuple[Int64Array, Texts]:
    """Return the members of a column of sets.

    Returns
    -------
    indptr : int64, shape (n + 1,)
        The members of row r stand at ``indptr[r]:indptr[r + 1]``; empty ones do not count.
    members : Texts
    """
    kind = array.type
    if is_list(kind):
        texts, codes = to_words(plain(array.values))
        return _bounds(array), text_per_row(texts, codes)
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
    texts, codes = to_words(array)
    texts = text_per_row(texts, codes)
    if separator is None or not is_words(array.type):
        return np.arange(len(texts.starts) + 1), texts
    return split(texts, separator.encode())


def _bounds(array: Array) -> Int64Array:
    """Return where each list of a column begins among all members; a missing list is empty."""
    offsets = np.asarray(array.offsets).astype(np.int64)
    if array.null_count == 0:
        return offsets
    # Members of missing lists are rare, but may be there: cut out what is between.
    lengths = np.diff(offsets) * np.asarray(pc.is_valid(array))
    if (lengths == np.diff(offsets)).all():
        return offsets
    raise CellError("a missing list has members", int(np.argmax(lengths != np.diff(offsets))))


def text_per_row(texts: Texts, codes: NDArray[np.int64] | None) -> Texts:
    """Return the text of each row from what `to_words` returns; a missing one is empty."""
    if codes is None:
        return texts
    starts, stops = np.append(texts.starts, 0), np.append(texts.stops, 0)
    return Texts(texts.data, starts[codes], stops[codes])


def _texts(array: Array) -> Texts:
    """Look into the buffers of a column of texts, without a copy and without blanks around them."""
    wide = pa.types.is_large_string(array.type)
    _, offsets_buffer, data_buffer = array.buffers()
    if len(array) == 0 or offsets_buffer is None:
        nothing = np.zeros(len(array), np.int64)
        return Texts(np.empty(0, np.uint8), nothing, nothing)
    offsets = np.frombuffer(offsets_buffer, np.int64 if wide else np.int32)
    bounds = offsets[array.offset : array.offset + len(array) + 1].astype(np.int64)
    data = np.empty(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    starts, stops = bounds[:-1].copy(), bounds[1:].copy()
    if array.null_count:
        stops = np.where(np.asarray(pc.is_valid(array)), stops, starts)
    trim(data, starts, stops)
    return Texts(data, starts, stops)


def to_numbers(array: Array) -> NDArray[np.float64]:
    """Return the numbers of a column, float64, shape (n,); nan where one is missing.

    Raises
    ------
    CellError
        At the first cell that is not a number that a float32 can hold; does not name the column.
    """
    kind = array.type
    _check_single(kind)
    if pa.types.is_dictionary(kind):
        array = array.dictionary_decode()
        kind = array.type
    if is_words(kind):
        return _parsed(array)
    if pa.types.is_boolean(kind):
        array = pc.cast(array, pa.uint8())
    numbers = _float64(pc.cast(array, pa.float64(), safe=False))
    return _checked(numbers, array)


def _float64(array: Array) -> NDArray[np.float64]:
    if array.null_count:
        array = pc.fill_null(array, math.nan)
    return np.asarray(array.to_numpy(zero_copy_only=False), np.float64)


def _parsed(array: Array) -> NDArray[np.float64]:
    try:
        numbers = _float64(pc.cast(array, pa.float64()))
    except pa.ArrowInvalid:
        numbers = _parsed_trimmed(array)
    doubtful = ~(np.abs(numbers) < _FLOAT32_LIMIT)
    if array.null_count:
        doubtful &= np.asarray(pc.is_valid(array))
    if doubtful.any():
        numbers = numbers.copy()  # it may be Arrow's own
    for row in np.flatnonzero(doubtful).tolist():
        numbers[row] = _number(array[row].as_py(), row)
    return numbers


def _parsed_trimmed(array: Array) -> NDArray[np.float64]:
    """Return the numbers in texts that may have blanks around them, all nan if one is no number."""
    text = pc.utf8_trim(array, BLANKS)
    try:
        return _float64(pc.cast(pc.if_else(pc.equal(text, ""), None, text), pa.float64()))
    except pa.ArrowInvalid:
        return np.full(len(array), math.nan)


def _checked(numbers: NDArray[np.float64], array: Array) -> NDArray[np.float64]:
    wrong = np.flatnonzero(~np.isnan(numbers) & ~(np.abs(numbers) < _FLOAT32_LIMIT))
    for row in wrong[:1].tolist():
        _number(array[row].as_py(), row)
    return numbers


def _number(cell: Cell, row: int) -> float:
    try:
        return number_of(cell)
    except UserError as error:
        raise CellError(error.message, row) from error
