"""Rows of comparisons: contexts with items, group by group."""

import numpy as np
import pytest
from drawn_positives import NUM_USERS, draw_positives

from fm_algo.training.ranking.comparisons import compare


def entries(rows, row):
    at = slice(rows.indptr[row], rows.indptr[row + 1])
    return dict(zip(rows.indices[at].tolist(), rows.values[at].tolist(), strict=True))


@pytest.mark.parametrize("weighed", [False, True])
def test_a_group_is_a_positive_and_its_negatives(weighed):
    positives = draw_positives(0, weighed=weighed)
    chosen = np.array([5, 140, 5])
    others = np.array([[1, 2], [3, 39], [0, 1]], np.int32)

    rows = compare(positives, chosen, others)

    assert rows.num_rows == 9
    assert rows.labels.tolist() == [1, 0, 0] * 3
    for group, positive in enumerate(chosen.tolist()):
        items = [positives.items[positive], *others[group]]
        for place, item in enumerate(items):
            context = entries(positives.contexts, positive)
            expected = context | entries(positives.item_rows, item)
            assert entries(rows, 3 * group + place) == expected
            assert NUM_USERS + 1 + item in expected
    if weighed:
        assert rows.weights.tolist() == np.repeat(positives.contexts.weights[chosen], 3).tolist()
    else:
        assert rows.weights is None


@pytest.mark.parametrize("weighed", [False, True])
def test_a_factor_weighs_whole_groups(weighed):
    positives = draw_positives(0, weighed=weighed)
    factor = np.array([0.5, 3], np.float32)
    rows = compare(positives, np.array([1, 2]), np.array([[1], [2]], np.int32), factor)
    own = positives.contexts.weights[1:3] if weighed else 1
    assert rows.weights.tolist() == np.repeat(factor * own, 2).tolist()
