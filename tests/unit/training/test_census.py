import dataclasses

import numpy as np
import pytest

from fm_algo.sparse import CSRBatch
from fm_algo.training import census as counted
from fm_algo.training.census import Census
from fm_algo.training.rows import Rows

TABLE = np.array(
    [
        # 0 never; 1 always 2; 2 is in the thousands; 3 varies; 4 is 1 where it is
        [0, 2, 1500, 0.5, 1],
        [0, 2, -4000, 0, 0],
        [0, 2, 0, 1.5, 1],
        [0, 2, 1500, 0.5, 1],
    ],
    np.float32,
)
LABELS = np.array([20, 30, 26, 20], np.float32)


def facts_of(table, labels, **changes):
    census = Census(changes.pop("feature_dim", table.shape[1]), 0)
    census.watch(Rows.in_memory(CSRBatch.of(table, labels)))
    assert census.is_complete
    return census.facts()


def test_columns_labels_and_duplicates_are_counted():
    facts = facts_of(TABLE, LABELS)

    assert (facts.num_rows, facts.num_entries, facts.feature_dim) == (4, 13, 5)
    assert facts.density == pytest.approx(13 / 20)
    assert facts.label_mean == pytest.approx(LABELS.mean())
    assert facts.label_deviation == pytest.approx(LABELS.std())
    assert (facts.label_min, facts.label_max) == (20, 30)
    assert (facts.num_unseen, facts.num_counted) == (1, 4)
    assert (facts.num_constant, facts.constant) == (1, (1,))
    assert (facts.num_large, facts.large) == (1, ((2, 4000.0),))
    assert (facts.num_duplicates, facts.num_compared) == (1, 4)
    assert not facts.has_one_label


def test_a_duplicate_has_the_same_label_and_its_features_in_any_order():
    def facts(indices, labels):
        rows = CSRBatch(
            np.array([0, 2, 4], np.int64),
            np.array(indices, np.int32),
            np.array([1, 2, 1, 2] if indices[0] == indices[2] else [1, 2, 2, 1], np.float32),
            np.array(labels, np.float32),
            3,
        )
        census = Census(3, 0)
        census.watch(Rows.in_memory(rows))
        return census.facts().num_duplicates

    assert facts([0, 2, 0, 2], [1, 1]) == 1
    assert facts([0, 2, 2, 0], [1, 1]) == 1
    assert facts([0, 2, 0, 2], [1, 0]) == 0
    assert facts([0, 2, 0, 1], [1, 1]) == 0


def test_the_spread_of_large_labels_is_not_lost():
    labels = np.float32(1e6) + np.arange(1000, dtype=np.float32) % 2

    facts = facts_of(np.ones((1000, 1), np.float32), labels)

    assert facts.label_deviation == pytest.approx(0.5)
    assert facts.label_mean == pytest.approx(1e6 + 0.5)


def test_one_label_is_told():
    assert facts_of(TABLE, np.ones(4, np.float32)).has_one_label


def test_no_rows_are_no_facts():
    facts = facts_of(TABLE[:0], LABELS[:0])

    assert (facts.num_rows, facts.num_duplicates, facts.num_unseen) == (0, 0, 5)
    assert (facts.label_mean, facts.label_min, facts.density) == (0, 0, 0)
    assert not facts.has_one_label


def test_rows_that_are_read_again_are_counted_once():
    blocks = [CSRBatch.of(TABLE[:3], LABELS[:3]), CSRBatch.of(TABLE[3:], LABELS[3:])]
    census = Census(5, 0)
    rows = census.watch(Rows(lambda _epoch: iter(blocks)))

    assert not census.is_complete
    passes = [[block.num_rows for block in rows.blocks(epoch)] for epoch in range(3)]

    assert passes == [[3, 1]] * 3
    assert census.is_complete
    assert census.facts() == facts_of(TABLE, LABELS)
    assert census.sample.rows().num_rows == 4


def test_a_pass_that_is_cut_short_is_not_complete():
    blocks = [CSRBatch.of(TABLE[:3], LABELS[:3]), CSRBatch.of(TABLE[3:], LABELS[3:])]
    census = Census(5, 0)
    next(census.watch(Rows(lambda _epoch: iter(blocks))).blocks(0))

    assert not census.is_complete
    assert census.facts().num_rows == 3


def test_what_would_cost_too_much_is_left_out_and_said(monkeypatch):
    monkeypatch.setattr(counted, "_MOST_FEATURES", 4)
    assert facts_of(TABLE, LABELS).num_unseen is None

    monkeypatch.undo()
    monkeypatch.setattr(counted, "_MOST_ENTRIES", 6)
    monkeypatch.setattr(counted, "_MOST_COMPARED", 1)
    facts = facts_of(TABLE, LABELS)

    assert (facts.num_rows, facts.num_counted, facts.num_compared) == (4, 2, 1)
    assert facts.num_constant == 1
    assert facts.label_mean == pytest.approx(LABELS.mean())


def test_facts_stay_when_their_memory_is_given_back():
    census = Census(5, 0)
    census.watch(Rows.in_memory(CSRBatch.of(TABLE, LABELS)))

    assert census.facts() == census.facts() == facts_of(TABLE, LABELS)


def test_facts_are_plain_values():
    facts = dataclasses.asdict(facts_of(TABLE, LABELS))

    assert {type(value) for value in facts.values()} <= {int, float, tuple}


def test_labels_are_weighted():
    weights = np.array([3, 1, 2, 5])
    census = Census(5, 0)
    census.watch(Rows.in_memory(CSRBatch.of(TABLE, LABELS, sample_weight=weights)))
    facts, copied = census.facts(), np.repeat(LABELS, weights)

    assert facts.label_mean == pytest.approx(copied.mean())
    assert facts.label_deviation == pytest.approx(copied.std())
    assert facts.num_rows == 4
    assert census.sample.rows().weights.tolist() == weights.tolist()
