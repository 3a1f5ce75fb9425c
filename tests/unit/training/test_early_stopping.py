import math

import pytest

from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.training.early_stopping import BestEpoch, EarlyStopping, judged_metric
from fm_algo.training.metrics import Metric, metric_names, metrics_for


def hyperparameters_of(**changes):
    needed = {"feature_dim": 1, "num_factors": 1, "predictor_type": "regressor"}
    return parse_hyperparameters(needed | {"early_stopping_patience": 2} | changes)


def judged(values, name="rmse", kind="loss", **changes):
    """Judge epoch by epoch until it is over; return the best and how many epochs there were."""
    stopping = EarlyStopping(hyperparameters_of(**changes))
    for epoch, value in enumerate(values):
        stopping.judge(epoch, [Metric("other", "loss", 0), Metric(name, kind, value)])
        if stopping.is_over(epoch + 1):
            return stopping.best, epoch + 1
    return stopping.best, None


def test_it_is_over_after_so_many_epochs_without_a_better_one():
    assert judged([3, 2, 1, 1, 1, 0]) == (BestEpoch(2, 1), 5)


def test_a_better_one_in_time_goes_on():
    assert judged([3, 2, 2.5, 1, 2]) == (BestEpoch(3, 1), None)


def test_a_score_is_better_when_higher():
    best, _ = judged(
        [0.5, 0.75, 0.7],
        "roc_auc_score",
        "score",
        predictor_type="binary_classifier",
        early_stopping_metric="roc_auc_score",
    )
    assert best == BestEpoch(1, 0.75)


def test_better_means_by_more_than_the_tolerance():
    assert judged([3, 2.75, 2.5], early_stopping_tolerance=0.5) == (BestEpoch(0, 3), 3)


def test_what_is_no_number_is_never_best():
    assert judged([math.nan, math.nan]) == (None, 2)
    assert judged([1, math.nan, math.inf]) == (BestEpoch(0, 1), 3)


def test_off_by_default():
    stopping = EarlyStopping(hyperparameters_of(early_stopping_patience=None), BestEpoch(0, 1))
    assert not stopping.judge(5, [])
    assert not stopping.is_over(100)
    assert stopping.best is None


def test_it_goes_on_where_it_was():
    stopping = EarlyStopping(hyperparameters_of(), BestEpoch(3, 1))
    assert not stopping.is_over(5)
    assert stopping.is_over(6)


def test_a_metric_without_a_value_is_an_error():
    with pytest.raises(UserError, match="early_stopping_metric=rmse has no value"):
        EarlyStopping(hyperparameters_of()).judge(0, [])


def test_a_metric_of_the_other_predictor_type_is_refused():
    with pytest.raises(UserError, match=r"binary_f_1\.000 is not a metric of a regressor"):
        judged_metric(hyperparameters_of(early_stopping_metric="binary_f_1.000"))


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_every_metric_has_its_name(predictor_type):
    import numpy as np

    sums = metrics_for(predictor_type, with_auc=True)
    sums.update(np.array([1, -1], np.float32), np.array([1, 0], np.float32))
    names = metric_names(predictor_type)

    assert tuple(metric.name for metric in sums.results()) == names
    assert judged_metric(hyperparameters_of(predictor_type=predictor_type)) in names
