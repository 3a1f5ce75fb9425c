"""A mini-batch by columns: for each feature present, its (row, value) pairs.

It depends on the data alone, so that it can be done ahead of the step.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.jit import njit
from fm_algo.kernels import Columns
from fm_algo.sparse import CSRBatch, Int32Array, Int64Array

_RADIX_BITS = 11  # a digit's counts fit the first-level cache

_UInt32Array = NDArray[np.uint32]


def transpose(batch: CSRBatch) -> Columns:
    """Group the entries by feature, features and each one's rows in ascending order."""
    entries = batch.num_entries
    features, starts = np.empty(entries, np.int32), np.zeros(entries + 1, np.int32)
    rows, values = np.empty(entries, np.int32), np.empty(entries, np.float32)
    num_columns = _sort_by_feature(
        batch.indptr,
        batch.indices,
        batch.values.view(np.uint32),
        max(batch.feature_dim - 1, 1).bit_length(),
        np.empty((2, entries, 3), np.uint32),
        features,
        starts,
        rows,
        values.view(np.uint32),
    )
    return Columns(features[:num_columns], starts[: num_columns + 1], rows, values)


@njit(nogil=True, cache=True)
def _digit_places(indices: Int32Array, feature_bits: int) -> tuple[_UInt32Array, int]:
    """Where the first feature of each digit's value goes, (num_digits, 2^bits); bits of a digit."""
    num_digits = (feature_bits + _RADIX_BITS - 1) // _RADIX_BITS
    digit_bits = (feature_bits + num_digits - 1) // num_digits
    mask = (1 << digit_bits) - 1
    places = np.zeros((num_digits, mask + 1), np.uint32)
    for feature in indices:
        for digit in range(num_digits):
            places[digit, (feature >> (digit * digit_bits)) & mask] += np.uint32(1)
    for digit in range(num_digits):
        place = np.uint32(0)
        for value in range(mask + 1):
            count = places[digit, value]
            places[digit, value] = place
            place += count
    return places, digit_bits


@njit(nogil=True, cache=True)
def _sort_by_feature(
    indptr: Int64Array,
    indices: Int32Array,
    value_bits: _UInt32Array,
    feature_bits: int,
    triples: _UInt32Array,
    features: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    sorted_value_bits: _UInt32Array,
) -> int:
    """Radix sort of (feature, row, value), lowest digit first: stable, so rows stay in order.

    The three stand side by side, a value as its bits: one place to write to, not three. `triples`
    has room for all entries twice. Unsigned numbers spare Numba's test for a negative index.

    Returns the number of columns.
    """
    places, digit_bits = _digit_places(indices, feature_bits)
    mask = np.uint32((1 << digit_bits) - 1)
    source, target = triples[0], triples[1]
    for r in range(len(indptr) - 1):
        for e in range(indptr[r], indptr[r + 1]):
            feature = np.uint32(indices[e])
            value = feature & mask
            place = places[0, value]
            places[0, value] = place + np.uint32(1)
            source[place, 0] = feature
            source[place, 1] = r
            source[place, 2] = value_bits[e]
    for digit in range(1, len(places)):
        digit_places, shift = places[digit], np.uint32(digit * digit_bits)
        for e in range(len(indices)):
            value = (source[e, 0] >> shift) & mask
            place = digit_places[value]
            digit_places[value] = place + np.uint32(1)
            target[place, 0] = source[e, 0]
            target[place, 1] = source[e, 1]
            target[place, 2] = source[e, 2]
        source, target = target, source

    # Written again and again until the next column begins: no branch to be guessed wrong.
    num_columns = 0
    for e in range(len(indices)):
        num_columns += e > 0 and source[e, 0] != source[e - 1, 0]
        features[num_columns] = source[e, 0]
        starts[num_columns + 1] = e + 1
        rows[e] = source[e, 1]
        sorted_value_bits[e] = source[e, 2]
    return num_columns + (len(indices) > 0)
