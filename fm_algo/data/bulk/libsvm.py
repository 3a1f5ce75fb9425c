"""Decode usual lines of libsvm text for training; compiled.

`fm_algo.data.formats.libsvm` defines the format and reads all other lines. The compiled code reads
a label if labels are wanted, features of digits alone, none twice in a row, plain numbers, blanks
between and after words, and LF or CR LF. It leaves comments to the plain decoder.
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
    """How to read a line of libsvm text.

    Attributes
    ----------
    feature_dim, index_base : int
        Number of features, and the number of the first feature.
    labelled : bool
        Whether labels are wanted.
    """

    feature_dim: int
    index_base: int
    labelled: bool


class BulkLibSVMDecoder(BulkLineDecoder, LibSVMDecoder):
    """`LibSVMDecoder`, compiled for usual lines."""

    def _form(self) -> LibSVMForm:
        return LibSVMForm(self._feature_dim, self._index_base, self._labelled)

    def _collector(self, num_bytes: int) -> RowCollector:
        return RowCollector(
            max_rows=num_bytes // len("1 0:1\n") + 1,  # shorter rows may take several rounds
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
    """Return where the line ends (below 0 if it is unusual), and where its entries end."""
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
    """Return whether an entry begins here: a feature of digits alone, then a colon."""
    at, _ = read_index(text, at)
    return at >= 0 and text[at] == _COLON


@njit(nogil=True, cache=True)
def _is_word_end(text: UInt8Array, at: int) -> bool:
    after = skip_blanks(text, at)
    return after > at or text[at] == LINE_FEED
