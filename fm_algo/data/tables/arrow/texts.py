"""Compiled loops over texts: hash them, cut them, find them in a dictionary.

A text is a range ``start:stop`` of a buffer of UTF-8. An empty one is a missing cell.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.tables.dictionary import Dictionary, UInt8Array, UInt64Array
from fm_algo.runtime.jit import njit
from fm_algo.sparse.matrix import Int32Array, Int64Array

MISSING, UNKNOWN = -2, -1
"""What `find` returns in place of a value's number."""

_AT_ONCE = 256
"""Texts that are looked up together."""

_P1, _P2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
_P3, _P4 = np.uint64(0x165667B19E3779F9), np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)


class Texts(NamedTuple):
    """The n texts of a column.

    Attributes
    ----------
    data : uint8
    starts, stops : int64, shape (n,)
        Text i is ``data[starts[i]:stops[i]]``.
    """

    data: UInt8Array
    starts: Int64Array
    stops: Int64Array


@njit(nogil=True, cache=True, inline="always")
def _rotated(number: np.uint64, bits: int) -> np.uint64:
    return (number << np.uint64(bits)) | (number >> np.uint64(64 - bits))


@njit(nogil=True, cache=True, inline="always")
def _read(data: UInt8Array, place: int, num_bytes: int) -> np.uint64:
    word = np.uint64(0)
    for byte in range(num_bytes):
        word |= np.uint64(data[place + byte]) << np.uint64(8 * byte)
    return word


@njit(nogil=True, cache=True, inline="always")
def _round(lane: np.uint64, word: np.uint64) -> np.uint64:
    return _rotated(lane + word * _P2, 31) * _P1


@njit(nogil=True, cache=True)
def xxh64(data: UInt8Array, start: int, stop: int) -> np.uint64:
    """Return the XXH64 of a text with seed 0, as `hashing.hash_text` does.

    Notes
    -----
    Yann Collet, "xxHash fast digest algorithm", section "XXH64 Algorithm Description".
    """
    place = start
    if stop - start >= 32:
        one, two = _P1 + _P2, _P2
        three, four = np.uint64(0), np.uint64(0) - _P1
        while place + 32 <= stop:
            one = _round(one, _read(data, place, 8))
            two = _round(two, _read(data, place + 8, 8))
            three = _round(three, _read(data, place + 16, 8))
            four = _round(four, _read(data, place + 24, 8))
            place += 32
        mixed = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
        for lane in (one, two, three, four):
            mixed = (mixed ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        mixed = _P5
    mixed += np.uint64(stop - start)
    while place + 8 <= stop:
        mixed = _rotated(mixed ^ _round(np.uint64(0), _read(data, place, 8)), 27) * _P1 + _P4
        place += 8
    if place + 4 <= stop:
        mixed = _rotated(mixed ^ (_read(data, place, 4) * _P1), 23) * _P2 + _P3
        place += 4
    while place < stop:
        mixed = _rotated(mixed ^ (np.uint64(data[place]) * _P5), 11) * _P1
        place += 1
    mixed = (mixed ^ (mixed >> np.uint64(33))) * _P2
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _P3
    return mixed ^ (mixed >> np.uint64(32))


@njit(nogil=True, cache=True, inline="always")
def is_same(one: UInt8Array, start: int, stop: int, other: UInt8Array, at: int, end: int) -> bool:
    """Return whether two texts are the same."""
    if stop - start != end - at:
        return False
    for byte in range(stop - start):  # noqa: SIM110 - compiled code knows no generators
        if one[start + byte] != other[at + byte]:
            return False
    return True


def hash_all(texts: Texts) -> UInt64Array:
    """Return the XXH64 of each text, uint64, shape (n,)."""
    hashes = np.empty(len(texts.starts), np.uint64)
    _hash_all(texts.data, texts.starts, texts.stops, hashes)
    return hashes


@njit(nogil=True, cache=True)
def _hash_all(data: UInt8Array, starts: Int64Array, stops: Int64Array, out: UInt64Array) -> None:
    for number in range(len(starts)):
        out[number] = xxh64(data, starts[number], stops[number])


def find(texts: Texts, dictionary: Dictionary) -> Int32Array:
    """Return the number of each text in a dictionary, int32, shape (n,); MISSING or UNKNOWN."""
    found = np.empty(len(texts.starts), np.int32)
    _find(texts, _arrays_of(dictionary), found)
    return found


class _Arrays(NamedTuple):
    """A `Dictionary`, as compiled code takes it."""

    hashes: UInt64Array
    starts: NDArray[np.uint32]
    numbers: Int32Array
    offsets: Int64Array
    text: UInt8Array


def _arrays_of(dictionary: Dictionary) -> _Arrays:
    return _Arrays(
        np.asarray(dictionary.hashes),
        np.asarray(dictionary.starts),
        np.asarray(dictionary.numbers),
        np.asarray(dictionary.offsets),
        np.asarray(dictionary.text),
    )


@njit(nogil=True, cache=True)
def _find(texts: Texts, known: _Arrays, found: Int32Array) -> None:
    bits = 0
    while (1 << bits) < len(known.starts) - 1:
        bits += 1
    hashes = np.empty(_AT_ONCE, np.uint64)
    for begin in range(0, len(found), _AT_ONCE):
        number = min(_AT_ONCE, len(found) - begin)
        for i in range(number):
            hashes[i] = xxh64(texts.data, texts.starts[begin + i], texts.stops[begin + i])
        places, ends = _places_of(hashes[:number], known, np.uint64(64 - bits))
        for i in range(number):
            found[begin + i] = known.numbers[places[i]] if places[i] < ends[i] else UNKNOWN
        for i in range(number):
            start, stop = texts.starts[begin + i], texts.stops[begin + i]
            value = found[begin + i]
            if start == stop:
                found[begin + i] = MISSING
            elif value != UNKNOWN and not _is_value(texts, start, stop, known, value):
                found[begin + i] = _search(texts, start, stop, known, places[i] + 1, ends[i])


@njit(nogil=True, cache=True)
def _places_of(
    hashes: UInt64Array, known: _Arrays, shift: np.uint64
) -> tuple[Int64Array, Int64Array]:
    """Find the first place of each hash, and where its part ends, which is the place of none.

    Step by step for many texts: their reads from memory then overlap, four times as fast.
    """
    places = np.empty(len(hashes), np.int64)
    ends = np.empty(len(hashes), np.int64)
    for i in range(len(hashes)):
        part = np.int64(hashes[i] >> shift)
        places[i] = known.starts[part]
        ends[i] = known.starts[part + 1]
    for i in range(len(hashes)):
        while places[i] < ends[i] and known.hashes[places[i]] != hashes[i]:
            places[i] += 1
    return places, ends


@njit(nogil=True, cache=True, inline="always")
def _is_value(texts: Texts, start: int, stop: int, known: _Arrays, value: int) -> bool:
    at, end = known.offsets[value], known.offsets[value + 1]
    return is_same(texts.data, start, stop, known.text, at, end)


@njit(nogil=True, cache=True)
def _search(texts: Texts, start: int, stop: int, known: _Arrays, first: int, last: int) -> int:
    """Look on behind a value that has the same hash as a text by chance."""
    for place in range(first, last):
        if known.hashes[place] == known.hashes[first - 1]:
            value = known.numbers[place]
            if _is_value(texts, start, stop, known, value):
                return int(value)
    return UNKNOWN


@njit(nogil=True, cache=True)
def trim(data: UInt8Array, starts: Int64Array, stops: Int64Array) -> None:
    """Leave out blanks around texts, in place: those of `cells.BLANKS`."""
    for row in range(len(starts)):
        while starts[row] < stops[row] and _is_blank(data[starts[row]]):
            starts[row] += 1
        while starts[row] < stops[row] and _is_blank(data[stops[row] - 1]):
            stops[row] -= 1


@njit(nogil=True, cache=True, inline="always")
def _is_blank(byte: int) -> bool:
    return byte == 32 or byte == 9 or byte == 10 or byte == 13  # noqa: PLR1714 - compiled


def gather_texts(texts: Texts, order: Int32Array) -> tuple[Int64Array, UInt8Array]:
    """Return the texts numbered `order` as offsets, int64 (n + 1,), and one buffer."""
    offsets = np.zeros(len(order) + 1, np.int64)
    _measure(texts, order, offsets)
    gathered = np.empty(offsets[-1], np.uint8)
    _gather(texts, order, offsets, gathered)
    return offsets, gathered


@njit(nogil=True, cache=True)
def _measure(texts: Texts, order: Int32Array, offsets: Int64Array) -> None:
    for place in range(len(order)):
        length = texts.stops[order[place]] - texts.starts[order[place]]
        offsets[place + 1] = offsets[place] + length


@njit(nogil=True, cache=True)
def _gather(texts: Texts, order: Int32Array, offsets: Int64Array, out: UInt8Array) -> None:
    for place in range(len(order)):
        start = texts.starts[order[place]]
        for byte in range(offsets[place + 1] - offsets[place]):
            out[offsets[place] + byte] = texts.data[start + byte]
