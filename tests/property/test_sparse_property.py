"""Rows of any shape come out of every operation as they went in."""

from itertools import pairwise

import numpy as np
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.sparse import CSRBatch

FEATURE_DIM = 6

# Quarters: their sums are exact whatever the order.
values = st.integers(-40, 40).map(lambda number: number / 4)
entries = st.tuples(st.integers(0, FEATURE_DIM - 1), values)
rows_with_duplicates = st.lists(st.lists(entries, max_size=8), max_size=8)
rows_without = st.lists(st.lists(entries, max_size=6, unique_by=lambda entry: entry[0]), max_size=8)


def batch_of(rows, *, labelled=True):
    flat = [entry for row in rows for entry in row]
    return CSRBatch(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([feature for feature, _ in flat], np.int32),
        np.array([value for _, value in flat], np.float32),
        np.arange(len(rows), dtype=np.float32) if labelled else None,
        FEATURE_DIM,
    )


def rows_of(batch):
    assert batch.indptr[0] == 0
    assert batch.indptr[-1] == len(batch.indices) == len(batch.values)
    bounds = batch.indptr.tolist()
    return [
        list(zip(batch.indices[a:b].tolist(), batch.values[a:b].tolist(), strict=True))
        for a, b in pairwise(bounds)
    ]


@given(rows_without, st.lists(st.integers(0, 8), max_size=4))
def test_a_batch_cut_in_pieces_and_joined_is_the_batch(rows, cuts):
    batch = batch_of(rows)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    joined = CSRBatch.join([batch.rows(start, stop) for start, stop in pairwise(bounds)])

    assert rows_of(joined) == rows
    assert joined.labels.tolist() == list(range(len(rows)))


@given(rows_without, st.data())
def test_taken_rows_are_those_asked_for(rows, data):
    numbers = st.lists(st.integers(0, len(rows) - 1)) if rows else st.just([])
    order = data.draw(numbers)
    taken = batch_of(rows).take(np.array(order, np.int64))

    assert rows_of(taken) == [rows[number] for number in order]
    assert taken.labels.tolist() == order


@given(rows_without, st.data())
def test_rows_of_rows_are_rows(rows, data):
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    part = batch_of(rows).rows(start, stop)

    assert rows_of(part) == rows[start:stop]
    assert rows_of(part.take(np.arange(stop - start)[::-1])) == rows[start:stop][::-1]


@given(rows_with_duplicates, st.booleans())
def test_combined_duplicates_are_sums_in_order_of_appearance(rows, labelled):
    combined = batch_of(rows, labelled=labelled).combine_duplicates()
    expected = []
    for row in rows:
        sums = {}
        for feature, value in row:
            sums[feature] = sums.get(feature, 0) + value
        expected.append(list(sums.items()))

    assert rows_of(combined) == expected
    assert (combined.labels is not None) == labelled
    assert combined.combine_duplicates() is combined


@given(rows_with_duplicates, st.sampled_from(["csr", "csc", "coo"]), st.booleans())
def test_a_matrix_in_any_layout_is_the_sum_of_its_entries(rows, layout, dense):
    stored = batch_of(rows)
    shape = (len(rows), FEATURE_DIM)
    matrix = scipy.sparse.csr_array((stored.values, stored.indices, stored.indptr), shape=shape)
    expected = matrix.toarray()

    made = CSRBatch.of(expected if dense else matrix.asformat(layout), stored.labels)

    assert np.array_equal(made.combine_duplicates().indices, made.indices)
    arrays = (made.values, made.indices, made.indptr)
    assert np.array_equal(scipy.sparse.csr_array(arrays, shape=shape).toarray(), expected)
    assert made.labels.tolist() == list(range(len(rows)))
