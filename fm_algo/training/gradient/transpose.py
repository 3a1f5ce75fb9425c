"""Group a mini-batch by columns: for each feature present, its (row, value) pairs.

This needs only the data, so it can be done ahead of the step.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.gradient import Columns

# The most bits per digit, measured. A pass writes to one place per value of a digit. Caches keep up
# with 2^11 places if the entries fit into them too, else with 2^10. But one pass beats two.
_RADIX_BITS, _RADIX_BITS_OF_MANY = 11, 10
_MANY = 1 << 17

# An entry while it is sorted. Its numbers lie together, so that each write goes to one place.
_PAIR = np.dtype([("feature", np.uint32), ("row", np.uint32)])
_TRIPLE = np.dtype([*_PAIR.descr, ("value", np.float32)])

_UInt32Array = NDArray[np.uint32]
_Records = NDArray[Any]  # of _PAIR or _TRIPLE


def transpose(batch: CSRBatch) -> Columns:
    """Group the entries by feature; features, and the rows of each, are in ascending order."""
    entries = batch.num_entries
    features, starts = np.empty(entries, np.int32), np.empty(entries + 1, np.int32)
    # Values that are all 1, as for categories, need no sorting.
    rows, values = np.empty(entries, np.int32), batch.values.copy()
    has_values = np.count_nonzero(batch.values != 1) > 0
    num_columns = _sort_by_feature(
        batch.indptr,
        batch.indices,
        batch.values if has_values else None,
        max(batch.feature_dim - 1, 1).bit_length(),
        np.empty(entries, _TRIPLE if has_values else _PAIR),
        np.empty(entries, _TRIPLE if has_values else _PAIR),
        features,
        starts,
        rows,
        values if has_values else None,
    )
    return Columns(features[:num_columns], starts[: num_columns + 1], rows, values)


@njit(nogil=True, cache=True)
def _digit_places(indices: Int32Array, feature_bits: int) -> tuple[_UInt32Array, int]:
    """Find where each value of a digit begins, (num_digits, 2^bits), and the bits per digit."""
    is_small = len(indices) < _MANY or feature_bits <= _RADIX_BITS
    most_bits = _RADIX_BITS if is_small else _RADIX_BITS_OF_MANY
    num_digits = (feature_bits + most_bits - 1) // most_bits
    digit_bits = (feature_bits + num_digits - 1) // num_digits
    mask = np.uint32((1 << digit_bits) - 1)
    places = np.zeros((num_digits, 1 << digit_bits), np.uint32)
    for digit in range(num_digits):
        digit_places, shift = places[digit], np.uint32(digit * digit_bits)
        for feature in indices:
            digit_places[(np.uint32(feature) >> shift) & mask] += np.uint32(1)
        place = np.uint32(0)
        for value in range(len(digit_places)):
            count = digit_places[value]
            digit_places[value] = place
            place += count
    return places, digit_bits


@njit(nogil=True, cache=True)
def _sort_by_feature(
    indptr: Int64Array,
    indices: Int32Array,
    batch_values: Float32Array | None,
    feature_bits: int,
    source: _Records,
    target: _Records,
    features: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    values: Float32Array | None,
) -> int:
    """Sort the entries by radix, lowest digit first; the sort is stable, so rows stay in order.

    `source` and `target` are working memory. `batch_values` are sorted along into `values`, if
    both are given. Unsigned numbers save Numba's test for negative indices.

    Returns the number of columns.
    """
    places, digit_bits = _digit_places(indices, feature_bits)
    mask = np.uint32((1 << digit_bits) - 1)
    _sort_entries(indptr, indices, batch_values, places[0], mask, source)
    for digit in range(1, len(places)):
        _sort_by_digit(source, places[digit], np.uint32(digit * digit_bits), mask, target)
        source, target = target, source
    return _write_columns(source, features, starts, rows, values)


@njit(nogil=True, cache=True)
def _sort_entries(
    indptr: Int64Array,
    indices: Int32Array,
    batch_values: Float32Array | None,
    places: _UInt32Array,
    mask: np.uint32,
    target: _Records,
) -> None:
    """Write the entries as records, in the order of their lowest digit."""
    one = np.uint32(1)
    for r in range(len(indptr) - 1):
        for e in range(np.uint64(indptr[r]), np.uint64(indptr[r + 1])):
            feature = np.uint32(indices[e])
            value = feature & mask
            place = places[value]
            places[value] = place + one
            target[place]["feature"] = feature
            target[place]["row"] = r
            if batch_values is not None:
                target[place]["value"] = batch_values[e]


@njit(nogil=True, cache=True)
def _sort_by_digit(
    source: _Records, places: _UInt32Array, shift: np.uint32, mask: np.uint32, target: _Records
) -> None:
    """Copy the records to `target` in the order of one digit."""
    one = np.uint32(1)
    # Two at a time: entries of a frequent feature stand side by side by now. One at a time, each
    # would wait until the one before has written where the next goes.
    for e in range(np.uint64(1), np.uint64(len(source)), np.uint64(2)):
        before = e - np.uint64(1)
        value0 = (source[before]["feature"] >> shift) & mask
        value1 = (source[e]["feature"] >> shift) & mask
        place0 = places[value0]
        place1 = places[value1] + np.uint32(value0 == value1)
        places[value0] = place0 + one
        places[value1] = place1 + one
        target[place0] = source[before]
        target[place1] = source[e]
    if len(source) % 2:
        target[places[(source[-1]["feature"] >> shift) & mask]] = source[-1]


@njit(nogil=True, cache=True)
def _write_columns(
    source: _Records,
    features: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    values: Float32Array | None,
) -> int:
    """Write the sorted records as columns; return the number of columns."""
    # Overwritten until the next column begins, so that there is no branch to predict wrongly.
    starts[0] = 0
    if len(source) == 0:
        return 0
    column, last = np.uint64(0), source[0]["feature"]
    for e in range(np.uint64(len(source))):
        feature = source[e]["feature"]
        column += np.uint64(feature != last)
        last = feature
        features[column] = feature
        starts[column + np.uint64(1)] = e + np.uint64(1)
        rows[e] = source[e]["row"]
        if values is not None:
            values[e] = source[e]["value"]
    return int(column) + 1
