"""A model is judged by what it was trained for: weights of rows and of positives."""

import math

import numpy as np
import pytest

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.census import Census
from fm_algo.training.rows import Rows, weigh_positives
from fm_algo.training.verdict import Outcome, judge

LABELS = np.float32([1] * 10 + [0] * 90)
X = np.concatenate([LABELS[:, np.newaxis], 1 - LABELS[:, np.newaxis]], axis=1)


def judged(rows, margin, positive_weight=1):
    census = Census(2, 0)
    census.watch(Rows.in_memory(rows))
    hyperparameters = Hyperparameters(
        feature_dim=2, num_factors=1, predictor_type="binary_classifier",
        positive_weight=positive_weight,
    )  # fmt: skip
    scored = weigh_positives(rows, positive_weight)
    outcome = Outcome("training", np.float32(margin), scored.labels, [1], 1000, scored.weights)
    return judge(hyperparameters, census.facts(), outcome)


def test_a_model_that_weighs_positives_is_judged_on_weighed_rows():
    """Its probabilities are too high on purpose: by plain rows a constant would be better."""
    margin = np.where(LABELS == 1, 1.5, 0.5)
    rows = CSRBatch.of(X, LABELS)

    assert not judged(rows, margin).is_better
    assert judged(rows, margin, positive_weight=20).is_better
    assert judged(rows, margin, positive_weight=9).constant_loss == pytest.approx(math.log(2))


def test_a_row_of_weight_n_is_judged_as_n_rows():
    weights, margin = np.arange(1, 101), np.linspace(1, -1, 100)
    copies = np.repeat(np.arange(100), weights)

    weighted = judged(CSRBatch.of(X, LABELS, sample_weight=weights), margin)
    copied = judged(CSRBatch.of(X[copies], LABELS[copies]), margin[copies])

    assert weighted.loss == pytest.approx(copied.loss)
    assert weighted.constant_loss == pytest.approx(copied.constant_loss, rel=1e-2)
