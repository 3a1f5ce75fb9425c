import dataclasses
import math

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.census import Census
from fm_algo.training.rows import Rows
from fm_algo.training.verdict import Outcome, judge

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.normal(25, 5, 500).astype(np.float32)
CLASSES = (RANDOM.random(500) < 0.2).astype(np.float32)


def facts_of(labels=LABELS, value=1.0):
    census = Census(2, 0)
    census.watch(Rows.in_memory(CSRBatch.of(np.full((len(labels), 2), value), labels)))
    return census.facts()


def judged(margin, labels=LABELS, *, facts=None, place="training", losses=(), steps=2000, **chosen):
    is_classifier = set(labels.tolist()) <= {0, 1}
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": 2,
            "num_factors": 1,
            "predictor_type": "binary_classifier" if is_classifier else "regressor",
            **chosen,
        }
    )
    margin = np.broadcast_to(np.asarray(margin, np.float32), labels.shape).copy()
    outcome = Outcome(place, margin, labels, losses, steps)
    return judge(hyperparameters, facts or facts_of(labels), outcome)


def test_a_model_that_beats_the_mean_is_good():
    verdict = judged(LABELS + 1, place="validation")

    assert verdict.is_better
    assert verdict.loss == pytest.approx(1)
    assert verdict.constant_loss == pytest.approx(LABELS.std(), rel=1e-4)
    assert str(verdict) == (
        "the model is better than a constant: rmse 1 on 500 validation rows, against "
        f"{verdict.constant_loss:.4g} of the labels' mean"
    )


def test_a_classifier_is_compared_with_the_base_rate():
    p = float(CLASSES.mean())
    verdict = judged(np.where(CLASSES == 1, 1, -2), CLASSES)

    assert verdict.is_better
    assert verdict.metric == "binary_classification_cross_entropy"
    assert verdict.constant_loss == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p))


def test_the_constant_is_that_of_the_training_rows():
    verdict = judged(LABELS, facts=facts_of(LABELS + 3))

    assert verdict.constant_loss == pytest.approx(math.hypot(LABELS.std(), 3), rel=0.01)


def test_weights_decide_as_they_do_in_training():
    """A model that is right about the rows that weigh, and wrong about many that do not."""
    margin, weights = LABELS.copy(), np.ones(500, np.float32)
    margin[:400] += 20
    weights[:400] = 0.001
    hyperparameters = parse_hyperparameters(
        {"feature_dim": 2, "num_factors": 1, "predictor_type": "regressor"}
    )

    def verdict(weights):
        outcome = Outcome("training", margin, LABELS, [], 2000, weights)
        return judge(hyperparameters, facts_of(), outcome)

    assert verdict(weights).is_better
    assert not verdict(None).is_better


def test_weighed_positives_are_told():
    verdict = judged(np.where(CLASSES == 1, 1, -2), CLASSES, positive_weight="2")

    assert " on 500 training rows with positive_weight=2, against " in str(verdict)


REASONS = {
    "the bias is far from the labels' mean: scores average 4, labels 24.": (
        "set bias_init_method=mean",
        {"margin": 4, "optimizer": "rowwise_adagrad"},
    ),
    "labels 24.87, after only 20 steps": (
        "set bias_init_method=mean, and raise epochs",
        {"margin": 4, "steps": 20},
    ),
    "the bias is far from the labels' mean": (
        "set use_bias=true, bias_init_method=mean",
        {"margin": 0, "use_bias": "false"},
    ),
    "the rates are too low (linear_lr=1e-07, factors_lr=1e-07): after 2000 steps": (
        "raise linear_lr and factors_lr tenfold or more",
        {"margin": 25.3, "linear_lr": 1e-7, "factors_lr": 1e-7},
    ),
    "training was too short: 160 steps in 2 epochs": (
        "raise epochs, or linear_lr and factors_lr, or lower mini_batch_size",
        {"margin": 25.3, "steps": 160, "epochs": 2},
    ),
    "the rates are too high: scores spread more than labels, and the loss has risen": (
        "lower bias_lr, linear_lr and factors_lr tenfold, or set clip_gradient",
        {"margin": 25 + 9 * RANDOM.normal(size=500), "losses": [5.1, 9.2]},
    ),
    "it has learnt its training rows by heart (rmse 2 there)": (
        "raise linear_wd and factors_wd, lower num_factors, or set early_stopping_patience",
        {"margin": 25 + 4 * RANDOM.normal(size=500), "place": "test", "losses": [4, 2]},
    ),
    "columns are not scaled, 2 with values beyond 100: feature 0 (4000), feature 1 (4000)": (
        "divide each by its largest value or its deviation",
        {"margin": 4, "facts": facts_of(value=4000)},
    ),
    "the features say little about the labels": (
        "try optimizer=mcmc, which needs no rates",
        {"margin": 25 + 3 * RANDOM.normal(size=500)},
    ),
    "the features say little": ("look for other features", {"margin": 26, "optimizer": "mcmc"}),
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_likeliest_reason_is_told_with_what_to_do(reason):
    advice, given = REASONS[reason]
    verdict = judged(**given)

    assert not verdict.is_better
    assert reason in verdict.reason
    assert verdict.advice == advice
    assert str(verdict).startswith("the model is no better than a constant: rmse ")
    assert str(verdict).endswith(f"; most likely {verdict.reason}: {verdict.advice}")
    assert "\n" not in str(verdict)


def test_a_start_at_the_mean_is_not_blamed():
    assert "bias" not in judged(4, bias_init_method="mean").reason


def test_labels_of_one_class_are_the_reason():
    verdict = judged(1, np.ones(9, np.float32))

    assert verdict.reason.startswith("all 9 training labels are 1")


def test_a_classifier_that_is_too_sure_has_rates_too_high():
    wrong = judged(6 * RANDOM.normal(size=500), CLASSES)

    assert "the rates are too high" in wrong.reason


@pytest.mark.parametrize("margin", [np.nan, np.inf, 3e38])
def test_a_model_out_of_bounds_is_no_better(margin):
    verdict = judged(margin)

    assert not verdict.is_better
    assert verdict.reason


def test_every_verdict_is_plain_values():
    verdict = dataclasses.asdict(judged(4))

    assert {type(value) for value in verdict.values()} <= {str, int, float}
