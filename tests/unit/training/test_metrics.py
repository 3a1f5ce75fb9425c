import math

import numpy as np
import pytest

from fm_algo.training.metrics import AUCHistogram, metrics_for

RANDOM = np.random.default_rng(6)
MARGIN = RANDOM.normal(0, 3, 500).astype(np.float32)
LABELS = RANDOM.normal(0, 3, 500).astype(np.float32)
CLASSES = (RANDOM.random(500) < 1 / (1 + np.exp(-MARGIN))).astype(np.float32)


def values_of(sums):
    return {metric.name: metric.value for metric in sums.results()}


def fed(predictor_type, margin, labels, *, pieces=1, **options):
    sums = metrics_for(predictor_type, **options)
    for part in zip(
        np.array_split(np.asarray(margin, np.float32), pieces),
        np.array_split(np.asarray(labels, np.float32), pieces),
        strict=True,
    ):
        sums.update(*part)
    return sums


def area_by_definition(margin, is_positive):
    """Share of (positive, negative) pairs in the right order, ties half."""
    positives, negatives = margin[is_positive][:, np.newaxis], margin[~is_positive]
    return np.mean((positives > negatives) + 0.5 * (positives == negatives))


def test_regression_metrics_are_those_of_all_rows():
    found = values_of(fed("regressor", MARGIN, LABELS))
    error = MARGIN.astype(np.float64) - LABELS

    assert found["mse"] == pytest.approx(np.mean(error**2), rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)
    assert found["absolute_loss"] == pytest.approx(np.mean(np.abs(error)), rel=1e-12)


def test_classification_metrics_are_those_of_all_rows():
    found = values_of(fed("binary_classifier", MARGIN, CLASSES))
    probability = 1 / (1 + np.exp(-MARGIN.astype(np.float64)))
    chosen, actual = probability >= 0.5, CLASSES == 1
    precision = np.mean(actual[chosen])
    recall = np.mean(chosen[actual])

    assert found["binary_classification_accuracy"] == np.mean(chosen == actual)
    assert found["binary_classification_cross_entropy"] == pytest.approx(
        -np.mean(np.log(np.where(actual, probability, 1 - probability))), rel=1e-9
    )
    assert found["binary_f_1.000"] == pytest.approx(
        2 * precision * recall / (precision + recall), rel=1e-12
    )


@pytest.mark.parametrize("pieces", [2, 7, 500])
@pytest.mark.parametrize(
    ("predictor_type", "labels"), [("regressor", LABELS), ("binary_classifier", CLASSES)]
)
def test_batches_do_not_change_the_metrics(predictor_type, labels, pieces):
    whole = fed(predictor_type, MARGIN, labels, with_auc=True)
    parts = fed(predictor_type, MARGIN, labels, pieces=pieces, with_auc=True)

    assert parts.num_rows == 500
    assert values_of(parts) == pytest.approx(values_of(whole), rel=1e-12)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-12)


def test_names_and_kinds_are_the_built_ins():
    regression = fed("regressor", [1], [1]).results()
    classification = fed("binary_classifier", [1], [1]).results()

    assert [(metric.name, metric.kind) for metric in regression] == [
        ("rmse", "loss"),
        ("mse", "loss"),
        ("absolute_loss", "loss"),
    ]
    assert [(metric.name, metric.kind) for metric in classification] == [
        ("binary_classification_accuracy", "score"),
        ("binary_classification_cross_entropy", "loss"),
        ("binary_f_1.000", "score"),
    ]


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_no_rows_have_no_metrics(predictor_type):
    sums = metrics_for(predictor_type, with_auc=True)

    assert sums.results() == []
    assert sums.loss == 0


def test_f1_without_any_positive_is_0():
    assert values_of(fed("binary_classifier", [-1, -2], [0, 0]))["binary_f_1.000"] == 0


def test_a_margin_of_0_is_label_1():
    found = values_of(fed("binary_classifier", [0], [1]))

    assert found["binary_classification_accuracy"] == 1
    assert found["binary_classification_cross_entropy"] == pytest.approx(math.log(2))


def test_the_cross_entropy_of_a_certain_mistake_is_finite():
    found = values_of(fed("binary_classifier", [1000, -1000], [0, 1]))

    assert found["binary_classification_cross_entropy"] == pytest.approx(1000)


@pytest.mark.parametrize("margin", [math.inf, math.nan])
@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_a_loss_that_diverged_shows(predictor_type, margin):
    assert not math.isfinite(fed(predictor_type, [0, margin], [0, 0]).loss)


def test_the_area_under_the_curve_is_the_share_of_ordered_pairs():
    found = values_of(fed("binary_classifier", MARGIN, CLASSES, with_auc=True))["roc_auc_score"]

    assert found == pytest.approx(area_by_definition(MARGIN, CLASSES == 1), abs=1e-4)


@pytest.mark.parametrize(
    ("margin", "classes", "area"),
    [
        ([-2, -1, 1, 2], [0, 0, 1, 1], 1),
        ([-2, -1, 1, 2], [1, 1, 0, 0], 0),
        ([3, 3, 3], [0, 1, 1], 0.5),
        ([0.0, -0.0], [1, 0], 0.5),
        ([-1e30, -1e-30, 1e-30, 1e30], [0, 1, 0, 1], 0.75),
        ([-np.inf, np.inf], [0, 1], 1),
    ],
)
def test_the_area_of_a_few_rows(margin, classes, area):
    assert values_of(fed("binary_classifier", margin, classes, with_auc=True))[
        "roc_auc_score"
    ] == pytest.approx(area)


@pytest.mark.parametrize("classes", [[0, 0], [1, 1]])
def test_one_class_alone_has_no_area(classes):
    found = values_of(fed("binary_classifier", [1, 2], classes, with_auc=True))

    assert "roc_auc_score" not in found
    assert AUCHistogram().area() is None


WEIGHTS = RANDOM.choice([0, 1, 2, 5], 500).astype(np.float32)


def weighted(predictor_type, margin, labels, weights):
    sums = metrics_for(predictor_type, with_auc=True)
    sums.update(margin, labels, np.asarray(weights, np.float32))
    return sums


@pytest.mark.parametrize(
    ("predictor_type", "labels"), [("regressor", LABELS), ("binary_classifier", CLASSES)]
)
def test_a_row_of_weight_n_counts_as_n_rows(predictor_type, labels):
    found = weighted(predictor_type, MARGIN, labels, WEIGHTS)
    copies = np.repeat(np.arange(500), WEIGHTS.astype(int))
    expected = fed(predictor_type, MARGIN[copies], labels[copies], with_auc=True)

    assert found.num_rows == 500
    assert found.weight == len(copies)
    assert found.loss == pytest.approx(expected.loss, rel=1e-12)
    assert values_of(found) == pytest.approx(values_of(expected), rel=1e-12)


@pytest.mark.parametrize(
    ("predictor_type", "labels"), [("regressor", LABELS), ("binary_classifier", CLASSES)]
)
def test_the_scale_of_weights_changes_no_metric(predictor_type, labels):
    small, large = (
        weighted(predictor_type, MARGIN, labels, scale * WEIGHTS) for scale in (1 / 4096, 64)
    )

    assert values_of(small) == values_of(large)
    assert small.loss == large.loss


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_rows_without_weights_weigh_1(predictor_type):
    sums = weighted(predictor_type, MARGIN, CLASSES, np.ones(500))
    sums.update(MARGIN, CLASSES)
    expected = fed(predictor_type, MARGIN, CLASSES, with_auc=True)
    expected.update(MARGIN, CLASSES)

    assert sums.state() == expected.state()
    assert sums.results() == expected.results()


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_rows_of_weight_0_alone_have_no_metrics(predictor_type):
    sums = weighted(predictor_type, MARGIN, CLASSES, np.zeros(500))

    assert sums.results() == []
    assert sums.loss == 0


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_weighted_sums_go_on_from_a_checkpoint(predictor_type):
    whole = weighted(predictor_type, MARGIN, CLASSES, WEIGHTS)
    resumed = metrics_for(predictor_type)
    resumed.restore(weighted(predictor_type, MARGIN, CLASSES, WEIGHTS).state())
    for sums in (whole, resumed):
        sums.update(MARGIN, CLASSES, WEIGHTS + 1)

    assert resumed.state() == whole.state()


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_sums_of_an_earlier_release_have_no_weight(predictor_type):
    expected = fed(predictor_type, MARGIN, CLASSES)
    state = {name: number for name, number in expected.state().items() if name != "weight"}
    resumed = metrics_for(predictor_type)
    resumed.restore(state)

    assert resumed.results() == expected.results()
