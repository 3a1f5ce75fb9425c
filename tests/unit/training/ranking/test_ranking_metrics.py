"""Ranking metrics against formulas written out in plain Python."""

import math
import random

import numpy as np
import pytest

from fm_algo.training.ranking.metrics import ranking_metrics


def slow(ranked, relevant, k=10):
    rel = [1 if item in relevant else 0 for item in ranked[:k]]
    gain = sum(rel[r - 1] / math.log2(r + 1) for r in range(1, len(rel) + 1))
    best = sum(1 / math.log2(r + 1) for r in range(1, min(len(relevant), k) + 1))
    precisions = [sum(rel[:r]) / r for r in range(1, len(rel) + 1) if rel[r - 1]]
    return gain / best, sum(rel) / len(relevant), sum(precisions) / min(len(relevant), k)


def asked(*answers):
    metrics = ranking_metrics(
        (np.array(ranked, np.int32), np.array(relevant, np.int32)) for ranked, relevant in answers
    )
    return {metric.name: metric.value for metric in metrics}


def test_they_are_those_of_the_formulas_on_average_over_users():
    drawn = random.Random(1)  # noqa: S311
    answers = [
        (drawn.sample(range(40), drawn.choice([0, 3, 10, 14])), drawn.sample(range(40), size))
        for size in range(1, 31)
    ]

    found = asked(*answers)

    means = np.mean([slow(ranked, set(relevant)) for ranked, relevant in answers], axis=0)
    assert list(found) == ["ndcg@10", "recall@10", "map@10"]
    np.testing.assert_allclose(list(found.values()), means)


def test_the_best_order_has_1_and_none_of_the_relevant_items_0():
    assert asked((range(12), range(10))) == {"ndcg@10": 1, "recall@10": 1, "map@10": 1}
    assert asked((range(12), range(20)))["recall@10"] == 0.5
    assert asked(([3, 4], [5])) == {"ndcg@10": 0, "recall@10": 0, "map@10": 0}


def test_a_known_case():
    # Relevant at ranks 1 and 3, and one relevant item that is not found.
    found = asked(([7, 1, 8, 2], [7, 8, 9]))
    assert found["recall@10"] == pytest.approx(2 / 3)
    assert found["map@10"] == pytest.approx((1 + 2 / 3) / 3)
    assert found["ndcg@10"] == pytest.approx(1.5 / (1 + 1 / math.log2(3) + 0.5))


def test_no_user_has_no_metrics():
    assert ranking_metrics([]) == []
