"""Decode usual CSV lines for training; compiled.

`fm_algo.data.formats.csv` defines the format and reads all other lines. The compiled code reads
plain numbers, blanks around them, and LF or CR LF. It leaves quotes to the plain decoder.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.data.bulk.frame import UNUSUAL_ROW, Entries, Row, UInt8Array, row_decoder
from fm_algo.data.bulk.line import BulkLineDecoder
from fm_algo.data.bulk.number import LINE_FEED, read_float32, skip_blanks
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.formats.csv import CSVDecoder
from fm_algo.runtime.jit import njit

_COMMA, _ZERO = b",0"


class CSVForm(NamedTuple):
    """How to read a line of CSV.

    Attributes
    ----------
    feature_dim : int
        Number of feature columns.
    label_size : int
        Number of label columns before them, 0 or 1.
    labelled : bool
        Whether labels are wanted.
    """

    feature_dim: int
    label_size: int
    labelled: bool


class BulkCSVDecoder(BulkLineDecoder, CSVDecoder):
    """`CSVDecoder`, compiled for usual lines."""

    def _form(self) -> CSVForm:
        return CSVForm(self._feature_dim, self._label_size, self._labelled)

    def _collector(self, num_bytes: int) -> RowCollector:
        return RowCollector(
            max_rows=num_bytes // (len("1,") * self._width) + 1,
            max_entries=num_bytes // len("1,") + 1,
            feature_dim=self._feature_dim,
            labelled=self._labelled,
        )


@row_decoder(CSVForm)
@njit(nogil=True, cache=True)
def _decode_line(
    source: UInt8Array, at: int, size: int, form: CSVForm, entries: Entries, entry: int
) -> Row:
    if source[size - 1] != LINE_FEED:
        return UNUSUAL_ROW
    label = np.float32(0)
    if form.label_size:
        at, label = _read_field(source, at)
        if at < 0 or source[at] != _COMMA:
            return UNUSUAL_ROW
        at += 1
    at, entry = _decode_fields(source, at, form.feature_dim, entries, entry)
    return Row(at, entry, label)


@njit(nogil=True, cache=True)
def _decode_fields(
    text: UInt8Array, at: int, feature_dim: int, entries: Entries, entry: int
) -> tuple[int, int]:
    """Return where the line ends (below 0 if it is unusual), and where its entries end."""
    for feature in range(feature_dim - 1):
        if text[at] == _ZERO and text[at + 1] == _COMMA:  # most fields of a sparse row
            at += 2
            continue
        at, value = _read_field(text, at)
        if at < 0 or text[at] != _COMMA or entry >= entries.limit:
            return -1, 0
        at += 1
        entries.indices[entry] = feature
        entries.values[entry] = value
        entry += value != 0
    at, value = _read_field(text, at)
    if at < 0 or text[at] != LINE_FEED or entry >= entries.limit:
        return -1, 0
    entries.indices[entry] = feature_dim - 1
    entries.values[entry] = value
    return at + 1, entry + (value != 0)


@njit(nogil=True, cache=True)
def _read_field(text: UInt8Array, at: int) -> tuple[int, np.float32]:
    """Return where a number and the blanks around it end (below 0 without one), and the number."""
    at, number = read_float32(text, skip_blanks(text, at))
    return skip_blanks(text, at) if at >= 0 else at, number
