"""Features in an order in which they can be updated side by side, and their groups."""

from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.bayes import columns as columns_module
from fm_algo.training.bayes.columns import arrange
from fm_algo.training.bayes.groups import (
    find_runs,
    groups_by_first,
    groups_of_fields,
    groups_of_runs,
)


def rows_of(lists, feature_dim):
    lengths = [len(features) for features in lists]
    return CSRBatch(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.array([feature for features in lists for feature in features], np.int32),
        np.arange(1, sum(lengths) + 1, dtype=np.float32),
        None,
        feature_dim,
    )


row_lists = st.lists(st.lists(st.integers(0, 11), max_size=6, unique=True), min_size=1, max_size=30)


@given(row_lists, st.sampled_from([0, 4, 8192]))
def test_every_entry_stands_once_and_classes_share_no_row(lists, wide_rows):
    rows = rows_of(lists, 12)
    with mock.patch.object(columns_module, "WIDE_ROWS", wide_rows):
        columns, schedule = arrange(rows, find_runs(rows))

    row_of = np.repeat(np.arange(rows.num_rows), np.diff(rows.indptr))
    found = zip(
        np.repeat(columns.features, np.diff(columns.starts)).tolist(),
        columns.rows.tolist(),
        columns.values.tolist(),
        strict=True,
    )
    assert sorted(found) == sorted(
        zip(rows.indices.tolist(), row_of.tolist(), rows.values.tolist(), strict=True)
    )
    updated = []
    for number in range(len(schedule.class_tasks) - 1):
        tasks = schedule.task_columns[
            schedule.class_tasks[number] : schedule.class_tasks[number + 1]
        ]
        wides = schedule.wide_columns[
            schedule.class_wides[number] : schedule.class_wides[number + 1]
        ]
        own = [column for first, last in tasks.tolist() for column in range(first, last)]
        own += wides.tolist()
        updated += own
        touched = [columns.rows[columns.starts[c] : columns.starts[c + 1]] for c in own]
        together = np.concatenate([np.empty(0, np.int32), *touched])
        assert len(np.unique(together)) == len(together)
    assert sorted(updated) == list(range(len(columns.features)))
    covered = [
        (column, entry)
        for first, last, column in schedule.piece_entries.tolist()
        for entry in range(first, last)
    ]
    assert covered == [
        (column, entry)
        for column in schedule.wide_columns.tolist()
        for entry in range(columns.starts[column], columns.starts[column + 1])
    ]


def test_what_finds_no_class_is_updated_one_after_another():
    rows = rows_of([list(range(70))] * 3, 70)

    _, schedule = arrange(rows, find_runs(rows))

    assert len(schedule.class_tasks) - 1 == 65
    (last,) = schedule.task_columns[schedule.class_tasks[-2] : schedule.class_tasks[-1]].tolist()
    assert last == [64, 70]


def test_columns_of_a_table_are_found():
    random = np.random.default_rng(0)
    columns = random.integers(0, [40, 50, 3], (500, 3)) + np.array([0, 40, 90])

    rows = rows_of(columns.tolist(), 100)

    assert find_runs(rows).tolist() == [0, 40, 90]
    groups = groups_of_runs(rows)
    assert groups.tolist() == [0] * 40 + [1] * 50 + [2] * 10
    assert groups_by_first([0, 40, 90], 100).tolist() == groups.tolist()


def test_groups_that_are_given_stay_apart():
    assert groups_by_first([2, 40, 41], 100).tolist() == [0] * 2 + [1] * 38 + [2] + [3] * 59


def test_short_columns_share_a_group():
    """The rows tell columns of 2, 38, 1 and 59 features: a feature of each stands in each row."""
    columns = np.split(np.arange(100), [2, 40, 41])
    indices = np.array([[own[row % len(own)] for own in columns] for row in range(200)], np.int32)
    indptr = np.arange(0, 801, 4, dtype=np.int64)
    rows = CSRBatch(indptr, indices.ravel(), np.ones(800, np.float32), None, 100)
    assert groups_of_runs(rows).tolist() == [2] * 2 + [0] * 38 + [2] + [1] * 59


def test_known_columns_are_groups_and_short_ones_share_one():
    firsts = np.array([0, 40, 41, 80], np.int64)
    space = FeatureSpace.of_columns(("user", "age", "item", "day"), firsts, 90)

    groups = groups_of_fields(space)

    assert groups.tolist() == [0] * 40 + [2] + [1] * 39 + [2] * 10
