"""CSV in bulk.

What is compiled: plain numbers, blanks around them, LF or CR LF. Quotes are the plain decoder's.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.bulk.line import BulkLineDecoder
from fm_algo.data.bulk.memory import pointer
from fm_algo.data.bulk.number import LINE_FEED, read_float32, skip_blanks
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.formats.csv import CSVDecoder
from fm_algo.runtime.jit import njit
from fm_algo.sparse import Float32Array, Int32Array, Int64Array

UInt8Array = NDArray[np.uint8]

_COMMA, _ZERO = b",0"


class BulkCSVDecoder(BulkLineDecoder, CSVDecoder):
    """`CSVDecoder`, compiled for lines as they mostly are."""

    def _collector(self, num_bytes: int) -> RowCollector:
        return RowCollector(
            max_rows=num_bytes // (len("1,") * self._width) + 1,
            max_entries=num_bytes // len("1,") + 1,
            feature_dim=self._feature_dim,
            labelled=self._labelled,
        )

    def _decode_lines(self, text: UInt8Array, position: int, rows: RowCollector) -> int:
        position, rows.num_rows = decode_lines(
            text,
            position,
            self._feature_dim,
            self._label_size,
            self._labelled,
            *rows.arrays,
            rows.num_rows,
        )
        return position


@njit(nogil=True, cache=True)
def decode_lines(
    text: UInt8Array,
    position: int,
    feature_dim: int,
    label_size: int,
    labelled: bool,
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    labels: Float32Array,
    num_rows: int,
) -> tuple[int, int]:
    """Append the rows of lines to CSR arrays, up to the first that is unusual or does not fit.

    Parameters
    ----------
    text : uint8, shape (num_bytes,)
        Whole lines, each with its LF.
    position : int
        Where a line begins in it.
    feature_dim : int
        Number of feature columns.
    label_size : int
        Number of label columns before them, 0 or 1.
    labelled : bool
        Whether labels are wanted.
    indptr, indices, values, labels : int64, int32, float32, float32
        As in `CSRBatch`, with room behind their rows. `labels` is written if labelled.
    num_rows : int
        How many rows they hold.

    Returns
    -------
    position : int
        Behind the last line decoded.
    num_rows : int
        How many rows the arrays now hold.
    """
    size = len(text)
    if size == 0 or text[size - 1] != LINE_FEED:
        return position, num_rows
    max_rows = min(len(indptr) - 1, len(labels)) if labelled else len(indptr) - 1
    max_entries = min(len(indices), len(values))
    text, indices, values = pointer(text), pointer(indices), pointer(values)
    while position < size and num_rows < max_rows:
        at = position
        label = np.float32(0)
        if label_size:
            at, label = _read_field(text, at)
            if at < 0 or text[at] != _COMMA:
                break
            at += 1
        at, entry = _decode_fields(
            text, at, feature_dim, indices, values, indptr[num_rows], max_entries
        )
        if at < 0:
            break
        if labelled:
            labels[num_rows] = label
        num_rows += 1
        indptr[num_rows] = entry
        position = at + 1
    return position, num_rows


@njit(nogil=True, cache=True)
def _decode_fields(
    text: UInt8Array,
    at: int,
    feature_dim: int,
    indices: Int32Array,
    values: Float32Array,
    entry: int,
    max_entries: int,
) -> tuple[int, int]:
    """Where the line's LF is, below 0 if there is anything unusual; where its entries end."""
    for feature in range(feature_dim - 1):
        if text[at] == _ZERO and text[at + 1] == _COMMA:  # most fields, where rows are sparse
            at += 2
            continue
        at, value = _read_field(text, at)
        if at < 0 or text[at] != _COMMA or entry >= max_entries:
            return -1, 0
        at += 1
        indices[entry] = feature
        values[entry] = value
        entry += value != 0
    at, value = _read_field(text, at)
    if at < 0 or text[at] != LINE_FEED or entry >= max_entries:
        return -1, 0
    indices[entry] = feature_dim - 1
    values[entry] = value
    return at, entry + (value != 0)


@njit(nogil=True, cache=True)
def _read_field(text: UInt8Array, at: int) -> tuple[int, np.float32]:
    """Where a number with blanks around it ends, below 0 if there is none, and the number."""
    at, number = read_float32(text, skip_blanks(text, at))
    return skip_blanks(text, at) if at >= 0 else at, number
