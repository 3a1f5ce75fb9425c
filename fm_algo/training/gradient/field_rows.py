"""`FieldRows`: a mini-batch whose entries stand by row and, within a row, by field.

A place is a pair of a row and a field that the row has entries of. Places are numbered row by row.
Pass 3 of the CPU kernel knows rows only by their factor sums; with weights of fields it takes a
place for a row, because entries of other fields meet other sums.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Int32Array, Int64Array
from fm_algo.sparse.feature_space import FeatureSpace

_NEAR_RUNS = 4
"""How many runs are looked at one by one before the run of a feature is searched for."""


@dataclass(frozen=True, slots=True, eq=False)
class FieldRows:
    """The entries of a mini-batch by place.

    Attributes
    ----------
    batch : CSRBatch
        The entries of each row in the order of their fields.
    row_starts : int64, shape (num_rows + 1,)
        Row r has the places ``row_starts[r]:row_starts[r + 1]``.
    starts : int64, shape (num_places + 1,)
        Place p has the entries ``starts[p]:starts[p + 1]``.
    fields : int32, shape (num_places,)
        The field of each place; ascending within a row.
    """

    batch: CSRBatch
    row_starts: Int64Array
    starts: Int64Array
    fields: Int32Array

    @property
    def num_places(self) -> int:
        """Number of pairs of a row and one of its fields."""
        return len(self.fields)

    def as_batch(self) -> CSRBatch:
        """Return the entries with places for rows; without labels."""
        batch = self.batch
        return CSRBatch(self.starts, batch.indices, batch.values, None, batch.feature_dim)


def by_field(batch: CSRBatch, space: FeatureSpace) -> FieldRows:
    """Put the entries of each row in the order of their fields."""
    entries = batch.num_entries
    fields, starts = np.empty(entries, np.int32), np.empty(entries + 1, np.int64)
    row_starts = np.empty(batch.num_rows + 1, np.int64)
    num_places, is_sorted = _find_places(
        batch.indptr, batch.indices, space.firsts, space.numbers, row_starts, starts, fields
    )
    if not is_sorted:
        batch = _sort_by_field(batch, space)
        num_places, _ = _find_places(
            batch.indptr, batch.indices, space.firsts, space.numbers, row_starts, starts, fields
        )
    return FieldRows(batch, row_starts, starts[: num_places + 1], fields[:num_places])


@njit(nogil=True, cache=True)
def fields_of_ascending(
    features: Int32Array, firsts: Int64Array, numbers: Int32Array
) -> Int32Array:
    """Return the field of each feature, (n,); they are ascending, so no run is searched for."""
    fields = np.empty(len(features), np.int32)
    run = 0
    for place in range(len(features)):
        while run + 1 < len(firsts) and features[place] >= firsts[run + 1]:
            run += 1
        fields[place] = numbers[run]
    return fields


def _sort_by_field(batch: CSRBatch, space: FeatureSpace) -> CSRBatch:
    rows = np.repeat(np.arange(batch.num_rows), np.diff(batch.indptr))
    order = np.lexsort((space.field_of(batch.indices), rows))  # stable
    return dataclasses.replace(batch, indices=batch.indices[order], values=batch.values[order])


@njit(nogil=True, cache=True)
def _find_places(
    indptr: Int64Array,
    indices: Int32Array,
    firsts: Int64Array,
    numbers: Int32Array,
    row_starts: Int64Array,
    starts: Int64Array,
    fields: Int32Array,
) -> tuple[int, bool]:
    """Find where the fields of each row begin; return how many there are, and if all are sorted.

    Where a row is sorted by features, the run of the next feature is the present one or a later
    one. So it is mostly found without a search.
    """
    num_places, is_sorted = 0, True
    row_starts[0] = starts[0] = 0
    for r in range(len(indptr) - 1):
        run, before = 0, np.int32(-1)
        for e in range(indptr[r], indptr[r + 1]):
            feature = indices[e]
            if feature < firsts[run]:
                run = np.searchsorted(firsts, feature, side="right") - 1
            for _ in range(_NEAR_RUNS):
                if run + 1 == len(firsts) or feature < firsts[run + 1]:
                    break
                run += 1
            else:
                run = np.searchsorted(firsts, feature, side="right") - 1
            field = numbers[run]
            is_sorted &= field >= before
            if field != before:
                fields[num_places] = field
                num_places += 1
            starts[num_places] = e + 1
            before = field
        row_starts[r + 1] = num_places
    return num_places, is_sorted
