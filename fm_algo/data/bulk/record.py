"""RecordIO-protobuf as writers mostly write it, compiled: frames straight into CSR arrays.

What is read here, each length checked before a byte behind it is: whole frames (flag 0); one map
entry for the features, one for the label, key before value, one tensor in each; Float32, Float64
or Int32 tensors of packed fields, each field at most once, in any order; no feature twice; at most
one dimension; finite numbers. That is all that SageMaker's Python SDK and this library write, and
most of what the protobuf runtimes do.

Each function gives back a position or count below 0 where it meets anything else.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.bulk.duplicates import has_duplicates
from fm_algo.data.bulk.memory import bits_as_float32, int64, load, pointer
from fm_algo.data.formats.recordio import MAGIC
from fm_algo.runtime.jit import njit
from fm_algo.sparse import Float32Array, Int32Array, Int64Array

UInt8Array = NDArray[np.uint8]

LEAST_RECORD_BYTES = 24
"""Of a frame with features and key, though without label and entries."""

LEAST_VALUE_BYTES = 4
"""Of a float. Integers take less, so that a piece may fill the arrays before it ends."""

_HEADER_BYTES = 8
_LENGTH_WIRE = 2

# Tags of length-delimited fields 1, 2, 3 and 7.
_FIRST, _SECOND, _THIRD, _SEVENTH = 0x0A, 0x12, 0x1A, 0x3A
_FEATURES, _LABEL = _FIRST, _SECOND
_ENTRY_VALUE = _SECOND
_FLOAT32, _FLOAT64, _INT32 = _SECOND, _THIRD, _SEVENTH
_VALUES, _KEYS, _SHAPE = _FIRST, _SECOND, _THIRD

_KEY_FIELD = int.from_bytes(b"\x0a\x06values", "little")
_KEY_FIELD_BYTES = 8

_EXPONENT = 0x7F800000
"""Bits of a float32 that are all set in nan and inf."""


@njit(nogil=True, cache=True)
def decode_frames(
    data: UInt8Array,
    position: int,
    feature_dim: int,
    labelled: bool,
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    labels: Float32Array,
    num_rows: int,
) -> tuple[int, int]:
    """Append the rows of frames to CSR arrays, up to the first that is unusual or does not fit.

    Parameters
    ----------
    data : uint8, shape (num_bytes,)
        The source.
    position : int
        Where a frame begins in it.
    feature_dim : int
        Width of the rows.
    labelled : bool
        Whether every record must have a label.
    indptr, indices, values, labels : int64, int32, float32, float32
        As in `CSRBatch`, with room behind their rows. `labels` is written if labelled.
    num_rows : int
        How many rows they hold.

    Returns
    -------
    position : int
        Behind the last frame decoded.
    num_rows : int
        How many rows the arrays now hold.
    """
    size = len(data)
    max_rows = min(len(indptr) - 1, len(labels)) if labelled else len(indptr) - 1
    max_entries = min(len(indices), len(values))
    data, indices, values = pointer(data), pointer(indices), pointer(values)
    while size - position >= _HEADER_BYTES and num_rows < max_rows:
        word = load(data, position + 4, np.uint32)
        if load(data, position, np.uint32) != MAGIC or word >> 29:
            break
        start = position + _HEADER_BYTES
        length = int64(word)
        stop = start + (length + 3 & ~3)
        if stop > size:
            break
        end, label = _decode_record(
            data,
            start,
            start + length,
            size,
            feature_dim,
            labelled,
            indices,
            values,
            indptr[num_rows],
            max_entries,
        )
        if end < 0:
            break
        if labelled:
            labels[num_rows] = label
        num_rows += 1
        indptr[num_rows] = end
        position = stop
    return position, num_rows


@njit(nogil=True, cache=True)
def _decode_record(
    data: UInt8Array,
    at: int,
    end: int,
    size: int,
    feature_dim: int,
    labelled: bool,
    indices: Int32Array,
    values: Float32Array,
    entry: int,
    max_entries: int,
) -> tuple[int, np.float32]:
    """Where the row's entries end, and its label."""
    nothing = -1, np.float32(0)
    features_at, features_end, label_at, label_end = _find_entries(data, at, end)
    kind, at = _find_tensor(data, features_at, features_end)
    if at < 0:
        return nothing
    entry = _decode_row(
        data, at, features_end, size, kind, feature_dim, indices, values, entry, max_entries
    )
    if entry < 0 or not labelled:
        return entry, np.float32(0)
    kind, at = _find_tensor(data, label_at, label_end)
    if at < 0:
        return nothing
    label = _decode_label(data, at, label_end, kind)
    return (entry, label) if np.isfinite(label) else nothing


@njit(nogil=True, cache=True)
def _find_entries(data: UInt8Array, at: int, end: int) -> tuple[int, int, int, int]:
    """Begin and end of the features' entry and of the label's; both 0 for one that is not there.

    All 0 where either is there twice, or a field is not length-delimited.
    """
    features_at = features_end = label_at = label_end = 0
    while at < end:
        tag = data[at]
        at, length = _read_length(data, at + 1, end)
        if at < 0 or tag < 8 or tag >= 0x80 or tag & 7 != _LENGTH_WIRE:
            return 0, 0, 0, 0
        if tag == _FEATURES and not features_end:
            features_at, features_end = at, at + length
        elif tag == _LABEL and not label_end:
            label_at, label_end = at, at + length
        elif tag in (_FEATURES, _LABEL):
            return 0, 0, 0, 0
        at += length
    return features_at, features_end, label_at, label_end


@njit(nogil=True, cache=True)
def _read_length(data: UInt8Array, at: int, end: int) -> tuple[int, int]:
    """Where the content of a length-delimited field begins, and how long it is."""
    length = int64(0)
    for shift in range(0, 28, 7):
        if at >= end:
            break
        byte = int64(data[at])
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (at, length) if length <= end - at else (-1, 0)
    return -1, 0


@njit(nogil=True, cache=True)
def _find_tensor(data: UInt8Array, at: int, end: int) -> tuple[int, int]:
    """Tag and begin of the one tensor of a map entry; both end where the entry does."""
    if end - at < _KEY_FIELD_BYTES + 2 or load(data, at, np.uint64) != np.uint64(_KEY_FIELD):
        return 0, -1
    at += _KEY_FIELD_BYTES
    if data[at] != _ENTRY_VALUE:
        return 0, -1
    at, length = _read_length(data, at + 1, end)
    if at < 0 or at + length != end or at == end:
        return 0, -1
    kind = data[at]
    at, length = _read_length(data, at + 1, end)
    if at < 0 or at + length != end:
        return 0, -1
    return kind, at


@njit(nogil=True, cache=True)
def _decode_row(
    data: UInt8Array,
    at: int,
    end: int,
    size: int,
    kind: int,
    feature_dim: int,
    indices: Int32Array,
    values: Float32Array,
    entry: int,
    max_entries: int,
) -> int:
    """Where the entries of a tensor end that are written from `entry` on."""
    values_at, values_end, keys_at, keys_end, shape_at, shape_end = _find_fields(data, at, end)
    num_values = -1
    if values_at >= 0:
        room = max_entries - entry
        num_values = _read_values(data, values_at, values_end, kind, values, entry, room)
    if num_values < 0:
        return -1
    has_shape = shape_end > shape_at
    if has_shape and _read_varint(data, shape_at, shape_end)[0] != shape_end:
        return -1  # several dimensions, or damage
    if keys_end > keys_at:
        stop = entry + num_values
        return _read_keys(data, keys_at, keys_end, size, feature_dim, indices, entry, stop)
    if num_values == feature_dim:
        return _drop_zeros(indices, values, entry, num_values)
    return entry if num_values == 0 and has_shape else -1


@njit(nogil=True, cache=True)
def _find_fields(data: UInt8Array, at: int, end: int) -> tuple[int, int, int, int, int, int]:
    """Begin and end of a tensor's values, of its keys and its shape; -1 where any is unusual.

    Begin and end are the same for what is not there.
    """
    values_at = values_end = keys_at = keys_end = shape_at = shape_end = 0
    while at < end:
        tag = data[at]
        at, length = _read_length(data, at + 1, end)
        if at >= 0 and tag == _VALUES and not values_end:
            values_at, values_end = at, at + length
        elif at >= 0 and tag == _KEYS and not keys_end:
            keys_at, keys_end = at, at + length
        elif at >= 0 and tag == _SHAPE and not shape_end:
            shape_at, shape_end = at, at + length
        else:
            return -1, -1, -1, -1, -1, -1
        at += length
    return values_at, values_end, keys_at, keys_end, shape_at, shape_end


@njit(nogil=True, cache=True)
def _decode_label(data: UInt8Array, at: int, end: int, kind: int) -> np.float32:
    """Return the number of a tensor that has values alone, namely one; nan if it has not."""
    if end - at >= 2 and data[at] == _VALUES:
        at, length = _read_length(data, at + 1, end)
        if at >= 0 and at + length == end:
            if kind == _FLOAT32 and length == 4:
                return np.float32(load(data, at, np.float32))
            if kind == _FLOAT64 and length == 8:
                return np.float32(load(data, at, np.float64))
            at, number = _read_varint(data, at, end)
            if kind == _INT32 and at == end:
                return np.float32(np.int32(number))
    return np.float32(np.nan)


@njit(nogil=True, cache=True)
def _read_values(
    data: UInt8Array,
    at: int,
    end: int,
    kind: int,
    values: Float32Array,
    entry: int,
    room: int,
) -> int:
    """How many values were written."""
    if kind == _FLOAT32:
        return _read_float32s(data, at, end, values, entry, room)
    if kind == _FLOAT64:
        return _read_float64s(data, at, end, values, entry, room)
    if kind == _INT32:
        return _read_int32s(data, at, end, values, entry, room)
    return -1


@njit(nogil=True, cache=True)
def _read_float32s(
    data: UInt8Array, at: int, end: int, values: Float32Array, entry: int, room: int
) -> int:
    """How many values were written."""
    count = (end - at) >> 2
    if (end - at) & 3 or count > room:
        return -1
    are_bad = False
    for i in range(count):
        bits = load(data, at + 4 * i, np.uint32)
        are_bad |= (bits & _EXPONENT) == _EXPONENT
        values[entry + i] = bits_as_float32(bits)
    return -1 if are_bad else count


@njit(nogil=True, cache=True)
def _read_float64s(
    data: UInt8Array, at: int, end: int, values: Float32Array, entry: int, room: int
) -> int:
    """How many values were written."""
    count = (end - at) >> 3
    if (end - at) & 7 or count > room:
        return -1
    are_bad = False
    for i in range(count):
        value = np.float32(load(data, at + 8 * i, np.float64))
        are_bad |= not np.isfinite(value)
        values[entry + i] = value
    return -1 if are_bad else count


@njit(nogil=True, cache=True)
def _read_int32s(
    data: UInt8Array, at: int, end: int, values: Float32Array, entry: int, room: int
) -> int:
    """How many values were written."""
    count = 0
    while at < end:
        at, number = _read_varint(data, at, end)
        if at < 0 or count == room:
            return -1
        values[entry + count] = np.int32(number)
        count += 1
    return count


@njit(nogil=True, cache=True)
def _read_varint(data: UInt8Array, at: int, end: int) -> tuple[int, np.uint64]:
    """Where a varint of at most 10 bytes ends, and its lower 64 bits."""
    number = np.uint64(0)
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = np.uint64(data[at])
        at += 1
        number |= (byte & np.uint64(0x7F)) << np.uint64(shift)
        if byte < 0x80:
            return at, number
    return -1, np.uint64(0)


@njit(nogil=True, cache=True)
def _read_keys(
    data: UInt8Array,
    at: int,
    end: int,
    size: int,
    feature_dim: int,
    indices: Int32Array,
    entry: int,
    stop: int,
) -> int:
    """`stop`, once all keys are written: as many as there is place, none twice."""
    first = entry
    last = int64(-1)
    is_ascending, are_bad = True, False
    last_word = size - 4  # behind it, four bytes are not there
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
                at, number = _read_varint(data, at, end)
                key = int64(number)
        else:
            at, number = _read_varint(data, at, end)
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
def _drop_zeros(indices: Int32Array, values: Float32Array, entry: int, num_values: int) -> int:
    """Where the entries of a dense row end, once its zeros are dropped and the rest numbered."""
    kept = entry
    for feature in range(num_values):
        value = values[entry + feature]
        indices[kept] = feature
        values[kept] = value
        kept += value != 0
    return kept
