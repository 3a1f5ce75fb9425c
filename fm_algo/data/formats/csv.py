"""Decode CSV (``text/csv``): one dense row per line, with its label in the first column or without.

This module defines the format and reports what is wrong with a line. `fm_algo.data.bulk.csv` reads
usual lines with compiled code, for training.

``text/csv;label_size=N`` says how many label columns there are, 0 or 1. There is no header: line 1
is a row. A number may stand between blanks and in double quotes. Zeros are not stored.
"""

import re
from typing import Literal

import numpy as np

from fm_algo.data.formats.lines import BLANKS, LineDecoder
from fm_algo.data.formats.number import NUMBER_BYTES, parse_number, parse_numbers, shown
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, Float32Array, to_float32

_HEADER_HINT = "; if line 1 is a header, drop it: tail -n +2 file.csv"
_EMPTY_HINT = "; an empty field is not 0: write 0 if it is meant"
_NAME = re.compile(rb"[A-Za-z_\xc3-\xf4]")
_NO_NAMES = (b"nan", b"inf", b"infinity")


class CSVDecoder(LineDecoder):
    """CSV to rows; a `RowDecoder`.

    A blank line is not a row: even with feature_dim 1, a row has a number. It may only stand after
    the last row.

    Parameters
    ----------
    feature_dim : int
        Number of feature columns.
    labelled : bool
        True: labels are wanted. False: a label column is read and dropped.
    label_size : {0, 1}
        Number of label columns, before the feature columns.

    Raises
    ------
    UserError
        If labels are wanted but label_size says that there are none.
    """

    def __init__(self, *, feature_dim: int, labelled: bool, label_size: Literal[0, 1]) -> None:
        super().__init__(feature_dim=feature_dim, labelled=labelled)
        if labelled and not label_size:
            raise UserError("text/csv;label_size=0 has no labels; training needs label_size=1")
        self._label_size = label_size
        self._width = label_size + feature_dim

    def _decode_quickly(self, text: bytes) -> CSRBatch | None:
        # Without the numbers, the rest tells at once whether every line has all columns.
        separators = text.translate(None, NUMBER_BYTES + BLANKS)
        num_rows, rest = divmod(len(separators), self._width)
        if rest or separators != (b"," * (self._width - 1) + b"\n") * num_rows:
            return None
        numbers = parse_numbers(text[:-1].replace(b"\n", b","))
        if numbers is None:
            return None
        table = to_float32(numbers).reshape(num_rows, self._width)
        return self._rows(table) if np.isfinite(table).all() else None

    def _decode_line(self, line: bytes, number: int) -> CSRBatch:
        fields = line.split(b",")
        if len(fields) != self._width:
            raise UserError(
                f"{len(fields)} columns, expected {self._width}: {self._label_size} label "
                f"(label_size) and {self._feature_dim} features (feature_dim)"
            )
        numbers = []
        for column, field in enumerate(fields):
            text = _unquoted(field.strip(BLANKS))
            try:
                numbers.append(parse_number(text))
            except ValueError as error:
                feature = column - self._label_size
                what = f"value {shown(text)} of feature {feature}"
                if feature < 0:
                    what = f"label {shown(text)}"
                hint = _hint(text, number)
                raise UserError(f"column {column + 1}: {what} {error}{hint}") from error
        return self._rows(np.array([numbers], np.float32))

    def _rows(self, table: Float32Array) -> CSRBatch:
        values = table[:, self._label_size :]
        rows, columns = np.nonzero(values)
        indptr = np.zeros(len(table) + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=len(table)), out=indptr[1:])
        return CSRBatch(
            indptr,
            columns.astype(np.int32),
            values[rows, columns],
            table[:, 0].copy() if self._labelled else None,
            self._feature_dim,
        )


def _hint(text: bytes, number: int) -> str:
    """Say what to do about text that is no number, in a line of this number."""
    if not text:
        return _EMPTY_HINT
    is_name = _NAME.match(text) and text.lower() not in _NO_NAMES
    return _HEADER_HINT if number == 1 and is_name else ""


def _unquoted(field: bytes) -> bytes:
    is_quoted = len(field) >= 2 and field[:1] == field[-1:] == b'"'
    return field[1:-1].strip(BLANKS) if is_quoted else field
