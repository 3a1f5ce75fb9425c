"""`Dictionary`: the values of a column and their numbers, found in either direction.

Look-up is by 64-bit hash, in arrays that can be mapped from a file: sorted hashes, and for each of
2^b equal parts of the hash range where it begins. A part holds about one hash, so a look-up reads
a few cache lines whatever the size, and no Python object per value exists.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.tables.hashing import hash_text
from fm_algo.errors import UserError
from fm_algo.sparse.matrix import Int32Array, Int64Array

UInt8Array = NDArray[np.uint8]
UInt32Array = NDArray[np.uint32]
UInt64Array = NDArray[np.uint64]

_COMPARED_AT_ONCE = 1 << 16
"""How many texts are compared at once."""

_AT_ONCE = 1 << 20

UNKNOWN = -1
"""The number of a value that is not in a dictionary."""


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """The n values of a column, numbered from 0.

    Attributes
    ----------
    hashes : uint64, shape (n,)
        XXH64 of the values, ascending.
    starts : uint32, shape (2^b + 1,)
        The hashes whose upper b bits are p stand at ``starts[p]:starts[p + 1]``.
    numbers : int32, shape (n,)
        The number of the value with each of the hashes.
    offsets : int64, shape (n + 1,)
        Value v is the text ``text[offsets[v]:offsets[v + 1]]``.
    text : uint8, shape (bytes,)
        UTF-8.
    """

    hashes: UInt64Array
    starts: UInt32Array
    numbers: Int32Array
    offsets: Int64Array
    text: UInt8Array

    @classmethod
    def of(cls, values: Sequence[bytes]) -> Self:
        """Return the dictionary of values, which are numbered in their order; each occurs once."""
        offsets = np.zeros(len(values) + 1, np.int64)
        np.cumsum([len(value) for value in values], out=offsets[1:])
        hashes = np.array([hash_text(value) for value in values], np.uint64)
        return cls.of_hashed(hashes, offsets, np.frombuffer(b"".join(values), np.uint8))

    @classmethod
    def of_hashed(cls, hashes: UInt64Array, offsets: Int64Array, text: UInt8Array) -> Self:
        """Return the dictionary of values whose hashes and texts are known.

        Parameters
        ----------
        hashes : uint64, shape (n,)
        offsets : int64, shape (n + 1,)
        text : uint8
        """
        order = np.argsort(hashes, kind="stable")
        return cls.of_sorted(hashes[order], order.astype(np.int32), offsets, text)

    @classmethod
    def of_sorted(
        cls, hashes: UInt64Array, numbers: Int32Array, offsets: Int64Array, text: UInt8Array
    ) -> Self:
        """Return the dictionary of all these arrays, which lacks only `starts`."""
        bits = max(len(hashes) - 1, 1).bit_length()
        starts = np.zeros((1 << bits) + 1, np.uint32)
        shift = np.uint64(64 - bits)
        for first in range(0, len(hashes), _AT_ONCE):
            parts = hashes[first : first + _AT_ONCE] >> shift
            parts, counts = np.unique(parts, return_counts=True)
            starts[parts + np.uint64(1)] += counts.astype(np.uint32)
        np.cumsum(starts, out=starts)
        return cls(hashes, starts, numbers, offsets, text)

    def __len__(self) -> int:
        return len(self.numbers)

    def find(self, value: bytes) -> int:
        """Return the number of a value, or UNKNOWN."""
        hashed = hash_text(value)
        part = hashed >> (64 - (len(self.starts) - 1).bit_length() + 1)
        for place in range(int(self.starts[part]), int(self.starts[part + 1])):
            if int(self.hashes[place]) == hashed:
                number = int(self.numbers[place])
                if self.value(number) == value:  # else another value has the same hash
                    return number
        return UNKNOWN

    def numbers_in(self, other: "Dictionary") -> Int32Array:
        """Return the number in another dictionary of each value, or UNKNOWN; int32, shape (n,)."""
        numbers = np.full(len(self), UNKNOWN, np.int32)
        if not len(other):
            return numbers
        places = np.minimum(np.searchsorted(other.hashes, self.hashes), len(other) - 1)
        matching = other.hashes[places] == self.hashes
        numbers[self.numbers[matching]] = other.numbers[places[matching]]
        for first in range(0, len(self), _COMPARED_AT_ONCE):
            own = first + np.flatnonzero(numbers[first : first + _COMPARED_AT_ONCE] != UNKNOWN)
            is_same = _are_same_texts(self, own, other, numbers[own])
            for number in own[~is_same].tolist():  # the same hash, by chance
                numbers[number] = other.find(self.value(number))
        return numbers

    def value(self, number: int) -> bytes:
        """Return a value by its number."""
        return self.text[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def values(self) -> Iterator[bytes]:
        """Yield all values in the order of their numbers."""
        text, offsets = self.text.tobytes(), self.offsets.tolist()
        for first, stop in itertools.pairwise(offsets):
            yield text[first:stop]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, for a file."""
        return {
            "hashes": self.hashes,
            "starts": self.starts,
            "numbers": self.numbers,
            "offsets": self.offsets,
            "text": self.text,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the dictionary with the arrays of a file.

        Raises
        ------
        UserError
            If they do not fit together.
        """
        found = cls(*(arrays[name] for name in ("hashes", "starts", "numbers", "offsets", "text")))
        number, parts = len(found.numbers), len(found.starts) - 1
        types = tuple(array.dtype.name for array in found.arrays().values())
        is_sound = (
            types == ("uint64", "uint32", "int32", "int64", "uint8")
            and all(array.ndim == 1 for array in found.arrays().values())
            and len(found.hashes) == number
            and len(found.offsets) == number + 1
            and parts >= 2
            and parts & (parts - 1) == 0
            and int(found.starts[-1]) == number
            and int(found.offsets[-1]) == len(found.text)
        )
        if not is_sound:
            sizes = {name: array.shape for name, array in found.arrays().items()}
            raise UserError(f"a dictionary is damaged: {sizes}, dtypes {', '.join(types)}")
        return found


def _are_same_texts(
    one: Dictionary, ones: Int64Array, other: Dictionary, others: Int32Array
) -> NDArray[np.bool_]:
    """Return whether values of two dictionaries are the same, pair by pair."""
    lengths = one.offsets[ones + 1] - one.offsets[ones]
    is_same: NDArray[np.bool_] = lengths == other.offsets[others + 1] - other.offsets[others]
    compared = np.flatnonzero(is_same & (lengths > 0))
    if not len(compared):
        return is_same
    lengths = lengths[compared]
    starts = np.cumsum(lengths) - lengths
    within = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    text = one.text[within + np.repeat(one.offsets[ones[compared]], lengths)]
    other_text = other.text[within + np.repeat(other.offsets[others[compared]], lengths)]
    is_same[compared] = np.logical_and.reduceat(text == other_text, starts)
    return is_same
