"""Decode RecordIO frames of the usual form, one row per frame; compiled.

This module reads whole frames (flag 0) with one map entry for the features and one for the label.
In an entry, the key stands before the value, and the value is one tensor that
`fm_algo.data.bulk.tensor` reads. SageMaker's Python SDK and this library always write this form,
and the protobuf runtimes mostly do. Each length is checked before the bytes after it are read.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.data.bulk.frame import UNUSUAL_ROW, Entries, Row, UInt8Array, row_decoder
from fm_algo.data.bulk.memory import int64, load
from fm_algo.data.bulk.protobuf import LENGTH_WIRE, NOWHERE, Span, read_length
from fm_algo.data.bulk.tensor import decode_label, decode_tensor
from fm_algo.data.formats.recordio import MAGIC
from fm_algo.runtime.jit import njit

LEAST_RECORD_BYTES = 24
"""Bytes of a frame with features and key, but without label and entries."""

LEAST_VALUE_BYTES = 4
"""Bytes per float. Integers take less, so a piece may fill the arrays before it ends."""

_HEADER_BYTES = 8

# Tags of length-delimited fields 1 and 2.
_FEATURES, _LABEL = 0x0A, 0x12
_ENTRY_VALUE = 0x12

_KEY_FIELD = int.from_bytes(b"\x0a\x06values", "little")
_KEY_FIELD_BYTES = 8


class RecordForm(NamedTuple):
    """How to read a record.

    Attributes
    ----------
    feature_dim : int
        Width of the row.
    labelled : bool
        Whether every record must have a label.
    """

    feature_dim: int
    labelled: bool


@row_decoder(RecordForm)
@njit(nogil=True, cache=True)
def _decode_frame(
    source: UInt8Array, at: int, size: int, form: RecordForm, entries: Entries, entry: int
) -> Row:
    if size - at < _HEADER_BYTES:
        return UNUSUAL_ROW
    word = load(source, at + 4, np.uint32)
    if load(source, at, np.uint32) != MAGIC or word >> 29:
        return UNUSUAL_ROW
    start = at + _HEADER_BYTES
    length = int64(word)
    stop = start + (length + 3 & ~3)
    if stop > size:
        return UNUSUAL_ROW
    record = Span(start, start + length)
    entry, label = _decode_record(source, record, size, form, entries, entry)
    return Row(stop, entry, label) if entry >= 0 else UNUSUAL_ROW


@njit(nogil=True, cache=True)
def _decode_record(
    data: UInt8Array, record: Span, size: int, form: RecordForm, entries: Entries, entry: int
) -> tuple[int, np.float32]:
    """Return where the row's entries end, and its label."""
    nothing = -1, np.float32(0)
    features, label = _find_entries(data, record)
    kind, at = _find_tensor(data, features)
    if at < 0:
        return nothing
    tensor = Span(at, features.end)
    entry = decode_tensor(data, tensor, kind, size, form.feature_dim, entries, entry)
    if entry < 0 or not form.labelled:
        return entry, np.float32(0)
    kind, at = _find_tensor(data, label)
    if at < 0:
        return nothing
    number = decode_label(data, Span(at, label.end), kind)
    return (entry, number) if np.isfinite(number) else nothing


@njit(nogil=True, cache=True)
def _find_entries(data: UInt8Array, record: Span) -> tuple[Span, Span]:
    """Return where the map entries of the features and the label lie.

    Return NOWHERE for both if one stands twice or a field is not length-delimited.
    """
    features, label = NOWHERE, NOWHERE
    at, end = record
    while at < end:
        tag = data[at]
        at, length = read_length(data, at + 1, end)
        if at < 0 or tag < 8 or tag >= 0x80 or tag & 7 != LENGTH_WIRE:
            return NOWHERE, NOWHERE
        if tag == _FEATURES and not features.end:
            features = Span(at, at + length)
        elif tag == _LABEL and not label.end:
            label = Span(at, at + length)
        elif tag in (_FEATURES, _LABEL):
            return NOWHERE, NOWHERE
        at += length
    return features, label


@njit(nogil=True, cache=True)
def _find_tensor(data: UInt8Array, map_entry: Span) -> tuple[int, int]:
    """Return tag and start of the only tensor of a map entry; it ends where the entry ends."""
    at, end = map_entry
    if end - at < _KEY_FIELD_BYTES + 2 or load(data, at, np.uint64) != np.uint64(_KEY_FIELD):
        return 0, -1
    at += _KEY_FIELD_BYTES
    if data[at] != _ENTRY_VALUE:
        return 0, -1
    at, length = read_length(data, at + 1, end)
    if at < 0 or at + length != end or at == end:
        return 0, -1
    kind = data[at]
    at, length = read_length(data, at + 1, end)
    if at < 0 or at + length != end:
        return 0, -1
    return kind, at
