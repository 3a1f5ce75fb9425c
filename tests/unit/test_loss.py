import numpy as np
import pytest

from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.loss import LOSSES, RANKING_LOSSES
from fm_algo.sparse import CSRBatch
from fm_algo.training.early_stopping import judged_metric
from fm_algo.training.metrics import metric_names, metrics_for

BOTH = pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])


def mean_loss(predictor_type, margin, label):
    sums = metrics_for(predictor_type)
    sums.update(np.array([margin]), np.array([label], np.float32))
    # Squared error is twice the loss that is trained for: ½ error².
    return sums.loss / (2 if predictor_type == "regressor" else 1)


@BOTH
@pytest.mark.parametrize("margin", [-3.0, -0.5, 0.0, 0.25, 4.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_residual_is_the_slope_of_the_loss(predictor_type, margin, label):
    h = 1e-4
    above, below = (mean_loss(predictor_type, margin + step, label) for step in (h, -h))
    residual = LOSSES[predictor_type].residual(
        np.array([margin], np.float32), np.array([label], np.float32)
    )

    assert residual.dtype == np.float32
    assert residual[0] == pytest.approx((above - below) / (2 * h), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("loss", ["bpr", "warp"])
@pytest.mark.parametrize("num_negatives", [1, 3])
def test_the_residuals_of_a_group_are_the_slopes_of_its_loss(loss, num_negatives):
    group = [1, *[0] * num_negatives]
    labels = np.array(group * 2, np.float32)
    margin = np.random.default_rng(3).normal(size=len(labels))
    margin[: len(group)] *= 9  # far apart, and near to each other

    residual = RANKING_LOSSES[loss].residual(margin.astype(np.float32), labels)

    def total(changed):
        sums = metrics_for(loss)
        sums.update(changed, labels)
        return 2 * sums.loss  # two groups

    h = 1e-6
    steps = h * np.eye(len(labels))
    slopes = [(total(margin + step) - total(margin - step)) / (2 * h) for step in steps]
    assert residual.dtype == np.float32
    np.testing.assert_allclose(residual, slopes, rtol=1e-5, atol=1e-6)


def test_a_score_is_the_margin_or_its_sigmoid():
    margin = np.array([-2, 0, 3], np.float32)

    np.testing.assert_array_equal(LOSSES["regressor"].link(margin), margin)
    np.testing.assert_allclose(
        LOSSES["binary_classifier"].link(margin), 1 / (1 + np.exp(-margin)), rtol=1e-6
    )


@BOTH
def test_a_mean_margin_has_the_mean_of_the_scores(predictor_type):
    loss = LOSSES[predictor_type]
    margins = np.random.default_rng(0).normal(scale=3, size=(50, 7))
    scores = loss.link(margins.astype(np.float32)).astype(np.float64)

    mean = loss.mean_margin(margins)

    assert (mean.shape, mean.dtype) == ((50,), np.float64)
    np.testing.assert_allclose(
        loss.link(mean.astype(np.float32)), scores.mean(axis=1), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("margins", "mean"),
    [
        ([-800, -801], -800 + np.log((1 + np.exp(-1)) / 2)),
        ([800, 801], 800 - np.log((1 + np.exp(-1)) / 2)),
        ([-1e6, 1e6], 0),
        ([40, 40, 40], 40),
        ([-np.inf, -np.inf], -np.inf),
        ([np.inf, np.inf], np.inf),
        ([np.inf, 0], np.log(3)),
    ],
)
def test_a_mean_probability_keeps_its_digits_at_either_end(margins, mean):
    logit = LOSSES["binary_classifier"].mean_margin(np.array([margins], np.float64))

    assert logit.tolist() == pytest.approx([mean], rel=1e-12, abs=1e-12)


@BOTH
def test_training_makes_the_metric_small_that_is_judged_by_default(predictor_type):
    given = {"feature_dim": 1, "num_factors": 1, "predictor_type": predictor_type}
    metric = LOSSES[predictor_type].metric

    assert metric in metric_names(predictor_type)
    assert judged_metric(parse_hyperparameters(given)) == metric


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        ([1, -1, 1], "; write 0 for -1"),
        ([-1, -1], "; write 0 for -1"),
        ([1, 2, 1], "; write 0 for 1, and 1 for 2"),
        ([2, 2], ""),
        ([0, 1, -1], ""),
        ([1, 2, 3], ""),
    ],
)
def test_classes_that_are_not_0_and_1_are_told_how_to_be_written(labels, hint):
    wrong = LOSSES["binary_classifier"].wrong_label(np.array(labels, np.float32))

    assert wrong is not None
    assert wrong[1].endswith(f"is not 0 or 1, the labels of a binary_classifier{hint}")
    with pytest.raises(UserError) as told:
        CSRBatch.of(np.ones((len(labels), 1)), labels, binary=True)
    assert told.value.message == f"row {wrong[0]}: {wrong[1]}"


@BOTH
def test_with_a_ranking_loss_rankings_are_judged(predictor_type):
    given = {"feature_dim": 1, "num_factors": 1, "predictor_type": predictor_type, "loss": "bpr"}

    assert judged_metric(parse_hyperparameters(given)) == "ndcg@10"
    assert judged_metric(parse_hyperparameters(given | {"early_stopping_metric": "map@10"})) == (
        "map@10"
    )
    wrong = parse_hyperparameters(given | {"early_stopping_metric": "rmse"})
    with pytest.raises(
        UserError,
        match=r"^early_stopping_metric=rmse is not a metric of loss=bpr, allowed: one of "
        r"ndcg@10, recall@10, map@10$",
    ):
        judged_metric(wrong)


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_a_classifiers_labels_are_0_and_1(label):
    labels = np.array([0, 1, 1, label, 7], np.float32)

    with pytest.raises(
        UserError,
        match=f"^record 13: label {label} is not 0 or 1, the labels of a binary_classifier$",
    ):
        LOSSES["binary_classifier"].check_labels(labels, 10)
    LOSSES["binary_classifier"].check_labels(labels[:3])
    LOSSES["regressor"].check_labels(labels)
