"""Read the tensors of a Record in their usual form, as entries of a row or as a label; compiled.

This module reads Float32, Float64 and Int32 tensors of packed fields, each field at most once, in
any order. No feature stands twice, there is at most one dimension, and numbers are finite.
`fm_algo.data.formats.tensor_rows` defines what a tensor means.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.data.bulk.duplicates import has_duplicates
from fm_algo.data.bulk.frame import Entries, UInt8Array
from fm_algo.data.bulk.memory import int64, load
from fm_algo.data.bulk.protobuf import (
    NOWHERE,
    Span,
    read_float32s,
    read_float64s,
    read_int32s,
    read_length,
    read_varint,
)
from fm_algo.runtime.jit import njit
from fm_algo.sparse import Float32Array, Int32Array

# Tags of length-delimited fields 1, 2, 3 and 7.
_VALUES, _KEYS, _SHAPE = 0x0A, 0x12, 0x1A
_FLOAT32, _FLOAT64, _INT32 = 0x12, 0x1A, 0x3A


class _Fields(NamedTuple):
    values: Span
    keys: Span
    shape: Span
    are_usual: bool


@njit(nogil=True, cache=True)
def decode_tensor(
    data: UInt8Array,
    span: Span,
    kind: int,
    size: int,
    feature_dim: int,
    entries: Entries,
    entry: int,
) -> int:
    """Write a row's entries from `entry` on, return where they end; `kind` is the tensor's tag."""
    fields = _find_fields(data, span)
    if not fields.are_usual:
        return -1
    room = entries.limit - entry
    num_values = _read_values(data, fields.values, kind, entries.values, entry, room)
    if num_values < 0:
        return -1
    shape = fields.shape
    has_shape = shape.end > shape.start
    if has_shape and read_varint(data, shape.start, shape.end)[0] != shape.end:
        return -1  # several dimensions, or damage
    if fields.keys.end > fields.keys.start:
        stop = entry + num_values
        return _read_keys(data, fields.keys, size, feature_dim, entries.indices, entry, stop)
    if num_values == feature_dim:
        return _drop_zeros(entries, entry, num_values)
    return entry if num_values == 0 and has_shape else -1


@njit(nogil=True, cache=True)
def decode_label(data: UInt8Array, span: Span, kind: int) -> np.float32:
    """Return the number of a tensor that holds one value and nothing else; nan for any other."""
    at, end = span
    if end - at >= 2 and data[at] == _VALUES:
        at, length = read_length(data, at + 1, end)
        if at >= 0 and at + length == end:
            if kind == _FLOAT32 and length == 4:
                return np.float32(load(data, at, np.float32))
            if kind == _FLOAT64 and length == 8:
                return np.float32(load(data, at, np.float64))
            at, number = read_varint(data, at, end)
            if kind == _INT32 and at == end:
                return np.float32(np.int32(number))
    return np.float32(np.nan)


@njit(nogil=True, cache=True)
def _find_fields(data: UInt8Array, span: Span) -> _Fields:
    values, keys, shape = NOWHERE, NOWHERE, NOWHERE
    at, end = span
    while at < end:
        tag = data[at]
        at, length = read_length(data, at + 1, end)
        if at >= 0 and tag == _VALUES and not values.end:
            values = Span(at, at + length)
        elif at >= 0 and tag == _KEYS and not keys.end:
            keys = Span(at, at + length)
        elif at >= 0 and tag == _SHAPE and not shape.end:
            shape = Span(at, at + length)
        else:
            return _Fields(NOWHERE, NOWHERE, NOWHERE, False)
        at += length
    return _Fields(values, keys, shape, True)


@njit(nogil=True, cache=True)
def _read_values(
    data: UInt8Array, span: Span, kind: int, values: Float32Array, entry: int, room: int
) -> int:
    """Write the values; return how many."""
    if kind == _FLOAT32:
        return read_float32s(data, span, values, entry, room)
    if kind == _FLOAT64:
        return read_float64s(data, span, values, entry, room)
    if kind == _INT32:
        return read_int32s(data, span, values, entry, room)
    return -1


@njit(nogil=True, cache=True)
def _read_keys(
    data: UInt8Array,
    span: Span,
    size: int,
    feature_dim: int,
    indices: Int32Array,
    entry: int,
    stop: int,
) -> int:
    """Write the keys and return `stop` if they fill the room exactly and none stands twice."""
    at, end = span
    first = entry
    last = int64(-1)
    is_ascending, are_bad = True, False
    last_word = size - 4  # after it, fewer than four bytes are left
    while entry < stop:
        if at <= last_word:
            word = int64(load(data, at, np.uint32))
            if word & 0x808080 == 0x008080:
                key = word & 0x7F | word >> 1 & 0x3F80 | word >> 2 & 0x1FC000
                at += 3
            elif word & 0x8080 == 0x0080:
                key = word & 0x7F | word >> 1 & 0x3F80
                at += 2
            elif word & 0x80 == 0:
                key = word & 0x7F
                at += 1
            else:
                at, number = read_varint(data, at, end)
                key = int64(number)
        else:
            at, number = read_varint(data, at, end)
            key = int64(number)
        if at < 0:
            return -1
        are_bad |= (key < 0) | (key >= feature_dim)
        is_ascending &= key > last
        indices[entry] = key
        last = key
        entry += 1
    if at != end or are_bad:
        return -1
    if not is_ascending and has_duplicates(indices, first, stop):
        return -1
    return stop


@njit(nogil=True, cache=True)
def _drop_zeros(entries: Entries, entry: int, num_values: int) -> int:
    """Drop the zeros of a dense row and number the rest; return where its entries end."""
    kept = entry
    for feature in range(num_values):
        value = entries.values[entry + feature]
        entries.indices[kept] = feature
        entries.values[kept] = value
        kept += value != 0
    return kept
