"""`ValueCounter`: how often each value of a column occurs, in one pass over it."""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.tables.arrow.texts import Texts, find, gather_texts, is_same, xxh64
from fm_algo.data.tables.dictionary import Dictionary, UInt8Array, UInt32Array, UInt64Array
from fm_algo.runtime.jit import njit
from fm_algo.sparse.matrix import Int32Array, Int64Array

_Number = TypeVar("_Number", bound=np.generic)

_NO_VALUE = -1
_FIRST_SLOTS = 1 << 10
_FULLEST = 0.75
"""Part of the slots that may be in use."""

_GROWTH = 1.125
_MOST = 2**32 - 1
"""Where counts stop."""

_AT_ONCE = 256
"""Texts that are looked up together."""


class _Table(NamedTuple):
    """An open-addressing hash table of values, as compiled code takes it."""

    slots: Int32Array
    hashes: UInt64Array
    counts: UInt32Array
    offsets: Int64Array
    text: UInt8Array


class ValueCounter:
    """Counts values; its memory is 25 to 30 bytes per different value, and the texts.

    Attributes
    ----------
    num_missing : int
        Cells without a value.
    """

    def __init__(self) -> None:
        self.num_missing = 0
        self._clear()

    def _clear(self) -> None:
        self._num_values = 0
        self._slots = np.full(_FIRST_SLOTS, _NO_VALUE, np.int32)
        self._hashes = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.uint32)
        self._offsets = np.zeros(1, np.int64)
        self._text = np.empty(0, np.uint8)

    def __len__(self) -> int:
        return self._num_values

    def add(self, texts: Texts, times: Int64Array | None = None) -> None:
        """Count texts: each once, or as often as `times` says, int64, shape (n,)."""
        counts = np.ones(1, np.int64) if times is None else times
        self._make_room(len(texts.starts), int((texts.stops - texts.starts).sum()))
        table = _Table(self._slots, self._hashes, self._counts, self._offsets, self._text)
        self._num_values, num_missing, _ = _count(texts, counts, table, self._num_values)
        self.num_missing += num_missing

    def most_frequent(self) -> bytes:
        """Return a value that occurs as often as any; there must be one."""
        value = int(self._counts[: self._num_values].argmax())
        return self._text[self._offsets[value] : self._offsets[value + 1]].tobytes()

    def dictionary(self, min_count: int, earlier: Dictionary | None = None) -> Dictionary:
        """Return the values that occur often enough, numbered by frequency, the highest first.

        The counter is empty afterwards: its memory is given back bit by bit on the way.

        Parameters
        ----------
        min_count : int
        earlier : Dictionary, optional
            Its values come first, in their order, however often they occur.

        Returns
        -------
        Dictionary
            It does not depend on the order in which values were counted.
        """
        number = self._num_values
        hashes, counts, offsets = self._hashes[:number], self._counts[:number], self._offsets
        texts = Texts(self._text, offsets[:number], offsets[1 : number + 1])
        self._clear()
        is_kept = counts >= min_count
        if earlier is not None:
            is_kept &= find(texts, earlier) < 0
        kept = np.flatnonzero(is_kept).astype(np.int32)
        hashes, counts = hashes[kept], counts[kept]  # the arrays of all values are given back here
        order = np.argsort(hashes).astype(np.int32)
        by_hash, hashes, counts = kept[order], hashes[order], counts[order]
        del kept, order
        by_count = np.argsort(~counts, kind="stable").astype(np.int32)
        del counts
        numbers = np.empty(len(by_count), np.int32)
        numbers[by_count] = np.arange(len(by_count), dtype=np.int32)
        new_offsets, text = gather_texts(texts, by_hash[by_count])
        if earlier is None:
            return Dictionary.of_sorted(hashes, numbers, new_offsets, text)
        # The hashes of an earlier dictionary are in another order than its values.
        old_hashes = np.empty(len(earlier), np.uint64)
        old_hashes[earlier.numbers] = earlier.hashes
        return Dictionary.of_hashed(
            np.concatenate([old_hashes, hashes[by_count]]),
            np.concatenate([earlier.offsets, earlier.offsets[-1] + new_offsets[1:]]),
            np.concatenate([earlier.text, text]),
        )

    def in_order(self) -> Dictionary:
        """Return all values, numbered in the order in which they first occurred."""
        number = self._num_values
        offsets = self._offsets[: number + 1].copy()
        text = self._text[: offsets[-1]].copy()
        return Dictionary.of_hashed(self._hashes[:number].copy(), offsets, text)

    def _make_room(self, num_texts: int, num_bytes: int) -> None:
        most, used = self._num_values + num_texts, int(self._offsets[self._num_values])
        self._hashes = _grown(self._hashes, most)
        self._counts = _grown(self._counts, most)
        self._offsets = _grown(self._offsets, most + 1)
        self._text = _grown(self._text, used + num_bytes)
        if most > _FULLEST * len(self._slots):
            size = 1 << int(most / _FULLEST).bit_length()
            self._slots = np.full(size, _NO_VALUE, np.int32)
            _rehash(self._slots, self._hashes, self._num_values)


def _grown(array: NDArray[_Number], size: int) -> NDArray[_Number]:
    """Make an array at least `size` long, in place; the system moves large ones without a copy."""
    if size > len(array):
        array.resize(max(size, int(len(array) * _GROWTH)), refcheck=False)
    return array


@njit(nogil=True, cache=True)
def _rehash(slots: Int32Array, hashes: UInt64Array, num_values: int) -> None:
    mask = np.uint64(len(slots) - 1)
    for value in range(num_values):
        slot = hashes[value] & mask
        while slots[slot] != _NO_VALUE:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = value


@njit(nogil=True, cache=True)
def _count(
    texts: Texts, times: Int64Array, table: _Table, num_values: int
) -> tuple[int, int, np.uint64]:
    """Count texts; return the number of values and of missing texts.

    The third number means nothing: it is there so that no read ahead is left out as useless.
    """
    hashes = np.empty(_AT_ONCE, np.uint64)
    touched = np.uint64(0)
    num_missing = 0
    for begin in range(0, len(texts.starts), _AT_ONCE):
        number = min(_AT_ONCE, len(texts.starts) - begin)
        for i in range(number):
            hashes[i] = xxh64(texts.data, texts.starts[begin + i], texts.stops[begin + i])
        touched ^= _read_ahead(hashes[:number], table)
        for i in range(number):
            start, stop = texts.starts[begin + i], texts.stops[begin + i]
            count = times[0] if len(times) == 1 else times[begin + i]
            if start == stop:
                num_missing += count
            elif count > 0:
                num_values = _add(texts.data, start, stop, hashes[i], count, table, num_values)
    return num_values, num_missing, touched


@njit(nogil=True, cache=True)
def _read_ahead(hashes: UInt64Array, table: _Table) -> np.uint64:
    """Read what `_add` will read, step by step for many texts, so that reads overlap."""
    mask = np.uint64(len(table.slots) - 1)
    likely = np.empty(len(hashes), np.int32)
    touched = np.uint64(0)
    for i in range(len(hashes)):
        likely[i] = table.slots[hashes[i] & mask]
    for i in range(len(hashes)):
        if likely[i] != _NO_VALUE:
            touched ^= table.hashes[likely[i]] ^ np.uint64(table.counts[likely[i]])
    for i in range(len(hashes)):
        if likely[i] != _NO_VALUE:
            touched ^= np.uint64(table.text[table.offsets[likely[i]]])
    return touched


@njit(nogil=True, cache=True, inline="always")
def _add(
    data: UInt8Array,
    start: int,
    stop: int,
    hashed: np.uint64,
    count: int,
    table: _Table,
    num_values: int,
) -> int:
    """Count one text; return the number of values."""
    mask = np.uint64(len(table.slots) - 1)
    slot = hashed & mask
    while True:
        value = table.slots[slot]
        if value == _NO_VALUE:
            break
        first, end = table.offsets[value], table.offsets[value + 1]
        if table.hashes[value] == hashed and is_same(data, start, stop, table.text, first, end):
            table.counts[value] = np.uint32(min(table.counts[value] + count, _MOST))
            return num_values
        slot = (slot + np.uint64(1)) & mask
    table.slots[slot] = num_values
    table.hashes[num_values] = hashed
    table.counts[num_values] = np.uint32(min(count, _MOST))
    first = table.offsets[num_values]
    for byte in range(stop - start):
        table.text[first + byte] = data[start + byte]
    table.offsets[num_values + 1] = first + stop - start
    return num_values + 1
