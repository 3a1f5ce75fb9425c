"""Usual lines of libsvm text, compiled, for training: rows as `fm_algo.data.formats.libsvm` gives.

That module says what the format means, and reads all other lines. What is compiled: a label where
labels are wanted, features as digits alone, none twice in a row, plain numbers, blanks between and
after words, LF or CR LF. Comments are the plain decoder's.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.data.bulk.duplicates import has_duplicates
from fm_algo.data.bulk.frame import UNUSUAL_ROW, Entries, Row, UInt8Array, row_decoder
from fm_algo.data.bulk.line import BulkLineDecoder
from fm_algo.data.bulk.number import LINE_FEED, read_float32, read_index, skip_blanks
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.runtime.jit import njit

(_COLON,) = b":"


class LibSVMForm(NamedTuple):
    """What a line of libsvm text is to be read as.

    Attributes
    ----------
    feature_dim, index_base : int
        Number of features, number of the first of them.
    labelled : bool
        Whether labels are wanted.
    """

    feature_dim: int
    index_base: int
    labelled: bool


class BulkLibSVMDecoder(BulkLineDecoder, LibSVMDecoder):
    """`LibSVMDecoder`, compiled for lines as they mostly are."""

    def _form(self) -> LibSVMForm:
        return LibSVMForm(self._feature_dim, self._index_base, self._labelled)

    def _collector(self, num_bytes: int) -> RowCollector:
        return RowCollector(
            max_rows=num_bytes // len("1 0:1\n") + 1,  # shorter ones may take several rounds
            max_entries=num_bytes // len(" 1:1") + 1,
            feature_dim=self._feature_dim,
            labelled=self._labelled,
        )


@row_decoder(LibSVMForm)
@njit(nogil=True, cache=True)
def _decode_line(
    source: UInt8Array, at: int, size: int, form: LibSVMForm, entries: Entries, entry: int
) -> Row:
    if source[size - 1] != LINE_FEED:
        return UNUSUAL_ROW
    at = skip_blanks(source, at)
    label = np.float32(0)
    if form.labelled or not _is_entry(source, at):
        if form.labelled or source[at] != LINE_FEED:
            at, label = read_float32(source, at)
        if at < 0 or not _is_word_end(source, at):
            return UNUSUAL_ROW
        at = skip_blanks(source, at)
    at, entry = _decode_entries(source, at, form, entries, entry)
    return Row(at, entry, label)


@njit(nogil=True, cache=True)
def _decode_entries(
    text: UInt8Array, at: int, form: LibSVMForm, entries: Entries, entry: int
) -> tuple[int, int]:
    """Where the line ends, below 0 if there is anything unusual, and where its entries end."""
    first = entry
    last = -1
    is_ascending = True
    while text[at] != LINE_FEED:
        at, feature = read_index(text, at)
        feature -= form.index_base
        if at < 0 or text[at] != _COLON or not 0 <= feature < form.feature_dim:
            return -1, 0
        if entry >= entries.limit:
            return -1, 0
        at, value = read_float32(text, at + 1)
        if at < 0 or not _is_word_end(text, at):
            return -1, 0
        entries.indices[entry] = feature
        entries.values[entry] = value
        entry += 1
        is_ascending &= feature > last
        last = feature
        at = skip_blanks(text, at)
    if not is_ascending and has_duplicates(entries.indices, first, entry):
        return -1, 0
    return at + 1, entry


@njit(nogil=True, cache=True)
def _is_entry(text: UInt8Array, at: int) -> bool:
    """Tell whether an entry begins here: a feature of digits alone, and a colon."""
    at, _ = read_index(text, at)
    return at >= 0 and text[at] == _COLON


@njit(nogil=True, cache=True)
def _is_word_end(text: UInt8Array, at: int) -> bool:
    after = skip_blanks(text, at)
    return after > at or text[at] == LINE_FEED
