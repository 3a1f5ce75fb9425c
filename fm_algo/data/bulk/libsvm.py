"""Decode usual lines of libsvm and libffm text for training; compiled.

`fm_algo.data.formats.libsvm` and `libffm` define the formats and read all other lines. The compiled
code reads a label if labels are wanted, features and fields of digits alone, no feature twice in a
row, plain numbers, blanks between and after words, and LF or CR LF. It leaves comments to the plain
decoders, and features that are not in the field where they are known to be.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.data.bulk.duplicates import has_duplicates
from fm_algo.data.bulk.frame import UNUSUAL_ROW, Entries, Row, UInt8Array, row_decoder
from fm_algo.data.bulk.line import BulkLineDecoder
from fm_algo.data.bulk.memory import int32_pointer
from fm_algo.data.bulk.number import LINE_FEED, read_float32, read_index, skip_blanks
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.fields import MAX_FIELD
from fm_algo.data.formats.libffm import LibFFMDecoder
from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.runtime.jit import njit
from fm_algo.sparse import Int32Array

(_COLON,) = b":"


class LibSVMForm(NamedTuple):
    """How to read a line of libsvm or libffm text: one type, so that both share compiled code.

    Attributes
    ----------
    feature_dim, index_base : int
        Number of features, and the number of the first feature.
    labelled : bool
        Whether labels are wanted.
    has_fields : bool
        Whether a field stands before each feature.
    learns : bool
        Whether the table of fields is to be written to, where it has -1.
    table : int
        Address of the field of each feature, int32, shape (feature_dim,), -1 if it is not known.
        0 if fields do not matter. References to an array would be counted at each row.
    """

    feature_dim: int
    index_base: int
    labelled: bool
    has_fields: bool = False
    learns: bool = False
    table: int = 0


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


class BulkLibFFMDecoder(BulkLibSVMDecoder, LibFFMDecoder):
    """`LibFFMDecoder`, compiled for usual lines."""

    def _form(self) -> LibSVMForm:
        form = super()._form()._replace(has_fields=True)
        if self._fields is None:
            return form
        table = self._fields.table
        if table.shape != (self._feature_dim,):
            raise ValueError(f"{len(table)} features have fields, not {self._feature_dim}")
        return form._replace(learns=self._fields.learns, table=table.ctypes.data)


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
    if form.has_fields:
        at, entry = _decode_entries(source, at, form, entries, entry, int32_pointer(form.table))
    else:
        at, entry = _decode_entries(source, at, form, entries, entry, None)
    return Row(at, entry, label)


@njit(nogil=True, cache=True)
def _decode_entries(
    text: UInt8Array,
    at: int,
    form: LibSVMForm,
    entries: Entries,
    entry: int,
    table: Int32Array | None,
) -> tuple[int, int]:
    """Return where the line ends (below 0 if it is unusual), and where its entries end.

    It is compiled with and without a table of fields: to ask at each entry costs a tenth of the
    time.
    """
    first = entry
    last = -1
    is_ascending = True
    field = 0
    has_table = form.table != 0
    while text[at] != LINE_FEED:
        if table is not None:
            at, field = read_index(text, at)
            if at < 0 or text[at] != _COLON or field > MAX_FIELD:
                return -1, 0
            at += 1
        at, feature = read_index(text, at)
        feature -= form.index_base
        if at < 0 or text[at] != _COLON or not 0 <= feature < form.feature_dim:
            return -1, 0
        at, value = read_float32(text, at + 1)
        if at < 0 or not _is_word_end(text, at) or entry >= entries.limit:
            return -1, 0
        if table is not None and has_table and not _is_in_field(table, feature, field, form.learns):
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
def _is_in_field(table: Int32Array, feature: int, field: int, learns: bool) -> bool:
    known = table[feature]
    if known < 0 and learns:
        table[feature] = field
    return bool(known < 0 or known == field)


@njit(nogil=True, cache=True)
def _is_entry(text: UInt8Array, at: int) -> bool:
    """Return whether an entry begins here: digits alone, then a colon."""
    at, _ = read_index(text, at)
    return at >= 0 and text[at] == _COLON


@njit(nogil=True, cache=True)
def _is_word_end(text: UInt8Array, at: int) -> bool:
    after = skip_blanks(text, at)
    return after > at or text[at] == LINE_FEED
