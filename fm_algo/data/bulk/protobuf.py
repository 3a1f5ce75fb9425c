"""Read Protobuf's wire format one number at a time; compiled.

`fm_algo.data.formats.protobuf` reads the same format for many messages at once, and reports what
is wrong with bytes. Here, a position or count below 0 means that something is unusual.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.data.bulk.frame import UInt8Array
from fm_algo.data.bulk.memory import bits_as_float32, int64, load
from fm_algo.runtime.jit import njit
from fm_algo.sparse import Float32Array

LENGTH_WIRE = 2

_EXPONENT = 0x7F800000
"""The bits of a float32 that are all set in nan and inf."""


class Span(NamedTuple):
    """Where something lies in a source; start and end are equal if it is missing."""

    start: int
    end: int


NOWHERE = Span(0, 0)


@njit(nogil=True, cache=True)
def read_length(data: UInt8Array, at: int, end: int) -> tuple[int, int]:
    """Return where the content of a length-delimited field begins, and its length."""
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
def read_varint(data: UInt8Array, at: int, end: int) -> tuple[int, np.uint64]:
    """Return where a varint of at most 10 bytes ends, and its lower 64 bits."""
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
def read_float32s(data: UInt8Array, span: Span, values: Float32Array, entry: int, room: int) -> int:
    """Write finite float32 from values[entry] on; return how many."""
    count = (span.end - span.start) >> 2
    if (span.end - span.start) & 3 or count > room:
        return -1
    are_bad = False
    for i in range(count):
        bits = load(data, span.start + 4 * i, np.uint32)
        are_bad |= (bits & _EXPONENT) == _EXPONENT
        values[entry + i] = bits_as_float32(bits)
    return -1 if are_bad else count


@njit(nogil=True, cache=True)
def read_float64s(data: UInt8Array, span: Span, values: Float32Array, entry: int, room: int) -> int:
    """Write float64, finite as float32, from values[entry] on; return how many."""
    count = (span.end - span.start) >> 3
    if (span.end - span.start) & 7 or count > room:
        return -1
    are_bad = False
    for i in range(count):
        value = np.float32(load(data, span.start + 8 * i, np.float64))
        are_bad |= not np.isfinite(value)
        values[entry + i] = value
    return -1 if are_bad else count


@njit(nogil=True, cache=True)
def read_int32s(data: UInt8Array, span: Span, values: Float32Array, entry: int, room: int) -> int:
    """Write varints, each an int32, from values[entry] on; return how many."""
    at = span.start
    count = 0
    while at < span.end:
        at, number = read_varint(data, at, span.end)
        if at < 0 or count == room:
            return -1
        values[entry + count] = np.int32(number)
        count += 1
    return count
