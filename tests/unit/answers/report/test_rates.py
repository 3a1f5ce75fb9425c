import numpy as np
import pytest

from fm_algo.answers.report.rates import calibration, precision_recall, roc
from fm_algo.training.metrics import AUCHistogram

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.random(5000).astype(np.float32)
LABELS = (RANDOM.random(5000) < SCORES).astype(np.float32)


def test_scores_that_mean_what_they_say_are_calibrated():
    score, share, weight = calibration(SCORES, LABELS)

    np.testing.assert_allclose(share, score, atol=0.06)
    assert weight.tolist() == [500] * 10


def test_the_area_below_the_curve_is_the_metric():
    x, y = roc(SCORES, LABELS)
    histogram = AUCHistogram()
    histogram.update(SCORES, LABELS == 1)

    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert len(x) <= 200
    assert np.trapezoid(y, x) == pytest.approx(histogram.area(), abs=1e-3)


def test_ties_are_one_step():
    x, y = roc(np.full(4, 0.5, np.float32), np.array([1, 0, 0, 1], np.float32))

    assert (x.tolist(), y.tolist()) == ([0, 1], [0, 1])


def test_precision_and_recall_of_few_rows_by_hand():
    scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    labels = np.array([1, 0, 1, 0], np.float32)
    recall, precision = precision_recall(scores, labels)

    np.testing.assert_allclose(recall, [0.5, 0.5, 1, 1])
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3, 2 / 4])


@pytest.mark.parametrize("curve", [roc, precision_recall, calibration])
def test_a_weight_of_two_is_two_copies(curve):
    few = slice(0, 60)
    weights = np.where(np.arange(60) % 3 == 0, 2, 1).astype(np.float32)
    copied = np.repeat(np.arange(60), weights.astype(int))
    weighted = curve(SCORES[few], LABELS[few], weights)
    copies = curve(SCORES[few][copied], LABELS[few][copied])

    if curve is calibration:  # a copy may fall into the next bin
        assert weighted[2].sum() == copies[2].sum() == 80
        return
    for one, other in zip(weighted, copies, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
