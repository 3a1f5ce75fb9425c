import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.gather import gather_rows


def batch_of(rows, labels=None, feature_dim=5):
    """A batch of rows, each a list of (feature, value)."""
    entries = [entry for row in rows for entry in row]
    return CSRBatch(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([feature for feature, _ in entries], np.int32),
        np.array([value for _, value in entries], np.float32),
        None if labels is None else np.array(labels, np.float32),
        feature_dim,
    )


def rows_of(batch):
    bounds = batch.indptr.tolist()
    return [
        list(zip(batch.indices[a:b].tolist(), batch.values[a:b].tolist(), strict=True))
        for a, b in pairwise(bounds)
    ]


ROWS = [[(3, 1.0), (0, 2.0)], [], [(4, 0.5)], [(1, -1.0), (2, 0.0)]]


@pytest.fixture
def batch():
    return batch_of(ROWS, [1, 2, 3, 4])


def test_counts_rows_and_entries(batch):
    assert (batch.num_rows, batch.num_entries) == (4, 5)


def test_keeps_the_types_of_its_arrays(batch):
    changed = [
        batch.rows(0, 2),
        batch.take(np.array([1, 0])),
        CSRBatch.join([batch, batch]),
        CSRBatch.empty(5, labelled=True),
        batch_of([[(1, 1.0), (1, 1.0)]], [0]).combine_duplicates(),
    ]
    for each in changed:
        arrays = (each.indptr, each.indices, each.values, each.labels)
        assert [array.dtype.name for array in arrays] == ["int64", "int32", "float32", "float32"]
        assert each.feature_dim == 5


@pytest.mark.parametrize("labelled", [True, False])
def test_an_empty_batch_has_no_rows(labelled):
    empty = CSRBatch.empty(5, labelled=labelled)

    assert (empty.num_rows, empty.num_entries) == (0, 0)
    assert (empty.labels is not None) == labelled


def test_rows_keeps_empty_rows_and_labels(batch):
    middle = batch.rows(1, 3)

    assert rows_of(middle) == ROWS[1:3]
    assert middle.labels.tolist() == [2, 3]
    assert middle.indptr[0] == 0


def test_rows_copies_no_entry(batch):
    middle = batch.rows(1, 3)

    assert np.shares_memory(middle.values, batch.values)
    assert np.shares_memory(middle.indices, batch.indices)
    assert np.shares_memory(middle.labels, batch.labels)


def test_take_gives_rows_in_the_order_asked_for(batch):
    taken = batch.take(np.array([3, 1, 0, 3]))

    assert rows_of(taken) == [ROWS[3], ROWS[1], ROWS[0], ROWS[3]]
    assert taken.labels.tolist() == [4, 2, 1, 4]


def test_take_of_nothing_is_empty(batch):
    assert rows_of(batch.take(np.array([], np.int64))) == []


def test_join_puts_rows_one_after_another(batch):
    joined = CSRBatch.join([batch, CSRBatch.empty(5, labelled=True), batch.rows(2, 4)])

    assert rows_of(joined) == [*ROWS, *ROWS[2:4]]
    assert joined.labels.tolist() == [1, 2, 3, 4, 3, 4]


def test_rows_without_labels_stay_without(batch):
    unlabelled = batch_of(ROWS)

    assert CSRBatch.join([unlabelled, unlabelled]).labels is None
    assert unlabelled.rows(0, 1).labels is None
    assert unlabelled.take(np.array([2])).labels is None


def test_values_of_a_feature_that_stands_twice_are_added_up():
    batch = batch_of([[(4, 1.0), (2, 2.0), (4, 0.5)], [], [(4, 8.0)]], [1, 2, 3])
    combined = batch.combine_duplicates()

    assert rows_of(combined) == [[(4, 1.5), (2, 2.0)], [], [(4, 8.0)]]
    assert combined.labels.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "rows",
    [ROWS, [[(0, 1.0), (1, 1.0)], [(1, 1.0)]], [[(1, 1.0)]], [[], []], []],
    ids=["unsorted", "sorted", "one entry", "empty rows", "no rows"],
)
def test_rows_without_duplicates_are_left_alone(rows):
    batch = batch_of(rows)

    assert batch.combine_duplicates() is batch


def test_a_sum_of_duplicates_that_float32_cannot_hold_is_refused():
    batch = batch_of([[(1, 1.0)], [(3, 3e38), (0, 1.0), (3, 3e38)]])

    with pytest.raises(UserError, match="feature 3, which stands more than once in a row"):
        batch.combine_duplicates()


def test_labels_can_be_required(batch):
    assert batch.require_labels() is batch.labels
    with pytest.raises(UserError, match="no labels"):
        batch_of(ROWS).require_labels()


def test_rows_of_another_feature_dim_are_refused(batch):
    batch.check_feature_dim(5)
    with pytest.raises(UserError, match=r"feature_dim 5 .* feature_dim 6"):
        batch.check_feature_dim(6)


def weighted(rows, weights):
    return dataclasses.replace(batch_of(rows, range(len(rows))), weights=np.float32(weights))


def test_weights_go_where_their_rows_go():
    batch = weighted(ROWS, [1, 2, 0, 0.5])

    assert batch.rows(1, 3).weights.tolist() == [2, 0]
    assert np.shares_memory(batch.rows(1, 3).weights, batch.weights)
    assert batch.take(np.array([3, 1, 3])).weights.tolist() == [0.5, 2, 0.5]
    assert gather_rows(batch, np.array([3, 1, 0]), 0, 2).weights.tolist() == [0.5, 2]
    assert gather_rows(batch, None, 1, 3).weights.tolist() == [2, 0]
    doubled = weighted([[(1, 1.0), (1, 1.0)], []], [3, 4])
    assert doubled.combine_duplicates().weights.tolist() == [3, 4]
    assert batch.num_bytes == batch_of(ROWS, range(4)).num_bytes + 16


def test_joined_with_weighted_rows_others_weigh_1():
    batch = weighted(ROWS[:2], [3, 0.5])
    joined = CSRBatch.join([batch_of(ROWS, range(4)), batch, CSRBatch.empty(5, labelled=True)])

    assert joined.weights.tolist() == [1, 1, 1, 1, 3, 0.5]
    assert joined.weights.dtype == np.float32


def test_rows_without_weights_stay_without(batch):
    assert CSRBatch.empty(5, labelled=True).weights is None
    assert CSRBatch.join([batch, batch]).weights is None
    assert batch.rows(0, 1).weights is None
    assert batch.take(np.array([2])).weights is None
    assert gather_rows(batch, np.array([2]), 0, 1).weights is None


def test_a_number_per_row_is_weighed(batch):
    numbers = np.float32([1, 2, 3, 4])

    assert weighted(ROWS, [1, 2, 0, 0.5]).weigh(numbers).tolist() == [1, 4, 0, 2]
    assert batch.weigh(numbers) is numbers


def test_rows_of_weight_0_are_dropped(batch):
    left = weighted(ROWS, [0, 2, 0, 0.5]).drop_weightless()

    assert rows_of(left) == [ROWS[1], ROWS[3]]
    assert left.labels.tolist() == [1, 3]
    assert left.weights.tolist() == [2, 0.5]
    for whole in (batch, weighted(ROWS, [1, 2, 3, 4])):
        assert whole.drop_weightless() is whole
