"""A mini-batch by columns: for each feature present, its (row, value) pairs.

It depends on the data alone, so that it can be done ahead of the step.
"""

import numpy as np
from numba import njit

from fm_algo.kernels import Columns
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array

_RADIX_BITS = 11  # a digit's counts fit the first-level cache
_Triples = tuple[Int32Array, Int32Array, Float32Array]  # feature, row, value


def transpose(batch: CSRBatch) -> Columns:
    """Group the entries by feature, features and each one's rows in ascending order."""
    entries = batch.num_entries
    features, starts = np.empty(entries, np.int32), np.empty(entries + 1, np.int32)
    source = (
        np.empty(entries, np.int32),
        np.empty(entries, np.int32),
        np.empty(entries, np.float32),
    )
    target = (
        np.empty(entries, np.int32),
        np.empty(entries, np.int32),
        np.empty(entries, np.float32),
    )
    num_columns, rows, values = _sort_by_feature(
        batch.indptr,
        batch.indices,
        batch.values,
        max(batch.feature_dim - 1, 1).bit_length(),
        source,
        target,
        features,
        starts,
    )
    return Columns(features[:num_columns], starts[: num_columns + 1], rows, values)


@njit(nogil=True, cache=True)
def _digit_places(indices: Int32Array, feature_bits: int) -> tuple[Int32Array, int]:
    """Where the first feature of each digit's value goes, (num_digits, 2^bits); bits of a digit."""
    num_digits = (feature_bits + _RADIX_BITS - 1) // _RADIX_BITS
    digit_bits = (feature_bits + num_digits - 1) // num_digits
    mask = (1 << digit_bits) - 1
    places = np.zeros((num_digits, mask + 1), np.int32)
    for feature in indices:
        for digit in range(num_digits):
            places[digit, (feature >> (digit * digit_bits)) & mask] += 1
    for digit in range(num_digits):
        place = np.int32(0)
        for value in range(mask + 1):
            count = places[digit, value]
            places[digit, value] = place
            place += count
    return places, digit_bits


@njit(nogil=True, cache=True)
def _sort_by_feature(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    feature_bits: int,
    source: _Triples,
    target: _Triples,
    features: Int32Array,
    starts: Int32Array,
) -> tuple[int, Int32Array, Float32Array]:
    """Radix sort of (feature, row, value), lowest digit first: stable, so rows stay in order.

    Returns the number of columns, and rows and values by column.
    """
    places, digit_bits = _digit_places(indices, feature_bits)
    mask = (1 << digit_bits) - 1
    sorted_features, rows, sorted_values = source
    for r in range(len(indptr) - 1):
        for e in range(indptr[r], indptr[r + 1]):
            place = places[0, indices[e] & mask]
            places[0, indices[e] & mask] += 1
            sorted_features[place] = indices[e]
            rows[place] = r
            sorted_values[place] = values[e]
    for digit in range(1, len(places)):
        next_features, next_rows, next_values = target
        for e in range(len(indices)):
            value = (sorted_features[e] >> (digit * digit_bits)) & mask
            place = places[digit, value]
            places[digit, value] += 1
            next_features[place] = sorted_features[e]
            next_rows[place] = rows[e]
            next_values[place] = sorted_values[e]
        target = (sorted_features, rows, sorted_values)
        sorted_features, rows, sorted_values = next_features, next_rows, next_values

    num_columns = 0
    for e in range(len(indices)):
        if e == 0 or sorted_features[e] != sorted_features[e - 1]:
            features[num_columns] = sorted_features[e]
            starts[num_columns] = e
            num_columns += 1
    starts[num_columns] = len(indices)
    return num_columns, rows, sorted_values
