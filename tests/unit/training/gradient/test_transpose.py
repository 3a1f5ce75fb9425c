"""`transpose` groups entries as a plain stable sort does."""

import numpy as np
import pytest

from fm_algo.sparse import MAX_FEATURE_DIM, CSRBatch
from fm_algo.training.gradient.transpose import transpose

ONES_OR_NOT = pytest.mark.parametrize("all_ones", [True, False], ids=["ones", "values"])


def make_batch(row_lengths, feature_dim, *, num_features=50, all_ones=True) -> CSRBatch:
    """Draw rows from so many features, the first and the last among them, in no order."""
    random = np.random.default_rng(0)
    features = random.integers(0, feature_dim, num_features)
    features[:2] = 0, feature_dim - 1
    indptr = np.concatenate([[0], np.cumsum(row_lengths)]).astype(np.int64)
    indices = random.choice(features, indptr[-1]).astype(np.int32)
    values = np.ones(len(indices), np.float32)
    if not all_ones:
        values[:] = random.normal(size=len(values))
    return CSRBatch(indptr, indices, values, None, feature_dim)


def assert_grouped(batch: CSRBatch) -> None:
    order = np.argsort(batch.indices, kind="stable")
    features, counts = np.unique(batch.indices, return_counts=True)
    row_of = np.repeat(np.arange(batch.num_rows, dtype=np.int32), np.diff(batch.indptr))
    columns = transpose(batch)
    for got, expected in [
        (columns.features, features),
        (columns.starts, np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)),
        (columns.rows, row_of[order]),
        (columns.values, batch.values[order]),
    ]:
        np.testing.assert_array_equal(got, expected, strict=True)


@ONES_OR_NOT
@pytest.mark.parametrize(
    "feature_dim",
    [1, 2, 100, 2048, 2049, 1_000_000, 1 << 22, (1 << 22) + 1, 100_000_000, MAX_FEATURE_DIM],
)
def test_features_of_one_digit_and_of_several_are_grouped(feature_dim, all_ones):
    row_lengths = np.random.default_rng(1).integers(0, 20, 200)
    assert_grouped(make_batch(row_lengths, feature_dim, all_ones=all_ones))


@ONES_OR_NOT
@pytest.mark.parametrize("feature_dim", [2048, 1_000_000, 1 << 22, MAX_FEATURE_DIM])
def test_so_many_entries_that_digits_are_smaller_are_grouped(feature_dim, all_ones):
    row_lengths = np.full(10_000, 15)
    assert_grouped(make_batch(row_lengths, feature_dim, num_features=100_000, all_ones=all_ones))


@ONES_OR_NOT
@pytest.mark.parametrize(
    "row_lengths", [[], [0], [0, 0, 0], [1], [0, 1, 0], [2], [1, 1, 1], [0, 4]]
)
def test_a_handful_of_entries_is_grouped(row_lengths, all_ones):
    assert_grouped(make_batch(row_lengths, 1_000_000, all_ones=all_ones))


@ONES_OR_NOT
@pytest.mark.parametrize("num_rows", [1000, 1001])
def test_rows_of_two_features_alone_stay_in_order(num_rows, all_ones):
    assert_grouped(
        make_batch(np.ones(num_rows, int), MAX_FEATURE_DIM, num_features=2, all_ones=all_ones)
    )


def test_one_value_other_than_1_is_found_among_ones():
    batch = make_batch(np.full(300, 7), 5000)
    batch.values[-1] = np.nextafter(np.float32(1), np.float32(2))
    assert_grouped(batch)


def test_values_that_are_not_numbers_are_carried_along():
    batch = make_batch(np.full(30, 7), 5000)
    batch.values[::3] = np.nan
    assert_grouped(batch)
