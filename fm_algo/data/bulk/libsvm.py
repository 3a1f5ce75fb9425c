"""libsvm text in bulk.

What is compiled: a label where labels are wanted, features as digits alone, none twice in a row,
plain numbers, blanks between and after words, LF or CR LF. Comments are the plain decoder's.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.bulk.duplicates import has_duplicates
from fm_algo.data.bulk.line import BulkLineDecoder
from fm_algo.data.bulk.memory import pointer
from fm_algo.data.bulk.number import LINE_FEED, read_float32, read_index, skip_blanks
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.runtime.jit import njit
from fm_algo.sparse import Float32Array, Int32Array, Int64Array

UInt8Array = NDArray[np.uint8]

(_COLON,) = b":"


class BulkLibSVMDecoder(BulkLineDecoder, LibSVMDecoder):
    """`LibSVMDecoder`, compiled for lines as they mostly are."""

    def _collector(self, num_bytes: int) -> RowCollector:
        return RowCollector(
            max_rows=num_bytes // len("1 0:1\n") + 1,  # shorter ones may take several rounds
            max_entries=num_bytes // len(" 1:1") + 1,
            feature_dim=self._feature_dim,
            labelled=self._labelled,
        )

    def _decode_lines(self, text: UInt8Array, position: int, rows: RowCollector) -> int:
        position, rows.num_rows = decode_lines(
            text,
            position,
            self._feature_dim,
            self._index_base,
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
    index_base: int,
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
    feature_dim, index_base : int
        Number of features, number of the first of them.
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
        at = skip_blanks(text, position)
        label = np.float32(0)
        if labelled or not _is_entry(text, at):
            if labelled or text[at] != LINE_FEED:
                at, label = read_float32(text, at)
            if at < 0 or not _is_word_end(text, at):
                break
            at = skip_blanks(text, at)
        at, entry = _decode_entries(
            text, at, feature_dim, index_base, indices, values, indptr[num_rows], max_entries
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
def _decode_entries(
    text: UInt8Array,
    at: int,
    feature_dim: int,
    index_base: int,
    indices: Int32Array,
    values: Float32Array,
    entry: int,
    max_entries: int,
) -> tuple[int, int]:
    """Where the line's LF is, below 0 if there is anything unusual; where its entries end."""
    first = entry
    last = -1
    is_ascending = True
    while text[at] != LINE_FEED:
        at, feature = read_index(text, at)
        feature -= index_base
        if at < 0 or text[at] != _COLON or not 0 <= feature < feature_dim or entry >= max_entries:
            return -1, 0
        at, value = read_float32(text, at + 1)
        if at < 0 or not _is_word_end(text, at):
            return -1, 0
        indices[entry] = feature
        values[entry] = value
        entry += 1
        is_ascending &= feature > last
        last = feature
        at = skip_blanks(text, at)
    if not is_ascending and has_duplicates(indices, first, entry):
        return -1, 0
    return at, entry


@njit(nogil=True, cache=True)
def _is_entry(text: UInt8Array, at: int) -> bool:
    """Tell whether an entry begins here: a feature of digits alone, and a colon."""
    at, _ = read_index(text, at)
    return at >= 0 and text[at] == _COLON


@njit(nogil=True, cache=True)
def _is_word_end(text: UInt8Array, at: int) -> bool:
    after = skip_blanks(text, at)
    return after > at or text[at] == LINE_FEED
