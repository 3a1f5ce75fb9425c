"""`FieldRows`: a mini-batch whose entries stand by row and, within a row, by field.

A place is a pair of a row and a field that the row has entries of. Places are numbered row by row.
Pass 3 of the CPU kernel knows rows only by their factor sums; with weights of fields it takes a
place for a row, because entries of other fields meet other sums.
"""

from dataclasses import dataclass

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array


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


def by_field(batch: CSRBatch, field_map: Int32Array, num_fields: int) -> FieldRows:
    """Put the entries of each row in the order of their fields.

    Parameters
    ----------
    batch : CSRBatch
    field_map : int32, shape (feature_dim,)
        The field of each feature.
    num_fields : int
    """
    entries = batch.num_entries
    fields, starts = np.empty(entries, np.int32), np.empty(entries + 1, np.int64)
    row_starts = np.empty(batch.num_rows + 1, np.int64)
    indices, values = np.empty(entries, np.int32), np.empty(entries, np.float32)
    num_places, is_as_it_was = _arrange(
        batch.indptr, batch.indices, batch.values,
        (field_map, num_fields), indices, values, (row_starts, starts, fields),
    )  # fmt: skip
    if not is_as_it_was:
        batch = CSRBatch(
            batch.indptr, indices, values, batch.labels, batch.feature_dim, batch.weights
        )
    return FieldRows(batch, row_starts, starts[: num_places + 1], fields[:num_places])


@njit(nogil=True, cache=True)
def _arrange(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    known_fields: tuple[Int32Array, int],
    to_indices: Int32Array,
    to_values: Float32Array,
    places: tuple[Int64Array, Int64Array, Int32Array],
) -> tuple[int, bool]:
    """Sort each row by counting; return the number of places, and whether all was sorted."""
    field_map, num_fields = known_fields
    row_starts, starts, fields = places
    counts = np.zeros(num_fields, np.int64)
    num_places, is_as_it_was = 0, True
    row_starts[0] = starts[0] = 0
    for r in range(len(indptr) - 1):
        first, last = indptr[r], indptr[r + 1]
        is_sorted, before = True, np.int32(-1)
        for e in range(first, last):
            field = field_map[indices[e]]
            is_sorted &= field >= before
            before = field
        if is_sorted:
            before = np.int32(-1)
            for e in range(first, last):
                to_indices[e], to_values[e] = indices[e], values[e]
                field = field_map[indices[e]]
                if field != before:
                    fields[num_places] = field
                    num_places += 1
                starts[num_places] = e + 1
                before = field
        else:
            is_as_it_was = False
            for e in range(first, last):
                counts[field_map[indices[e]]] += 1
            end = first
            for field in range(num_fields):
                if counts[field]:
                    fields[num_places] = field
                    num_places += 1
                    starts[num_places] = end + counts[field]
                    counts[field], end = end, end + counts[field]
            for e in range(first, last):
                field = field_map[indices[e]]
                to_indices[counts[field]], to_values[counts[field]] = indices[e], values[e]
                counts[field] += 1
            counts[:] = 0
        row_starts[r + 1] = num_places
    return num_places, is_as_it_was
