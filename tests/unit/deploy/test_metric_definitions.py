"""The definitions, and what they read off a log of the built-in."""

import re

import pytest

from deploy.metric_definitions import (
    METRIC_DEFINITIONS,
    OBJECTIVES,
    RANKING_OBJECTIVES,
    metrics_with_rankings,
)
from fm_algo.training.metrics import RANKING_METRICS, metric_names


def found(lines):
    """What AWS would show: the last value each definition reads."""
    values = {}
    for line in lines:
        for metric in METRIC_DEFINITIONS:
            match = re.search(metric.regex, line)
            if match:
                values[metric.name] = float(match[1])
    return values


def test_there_are_no_more_than_aws_takes():
    assert len(METRIC_DEFINITIONS) <= 40
    assert len({metric.name for metric in METRIC_DEFINITIONS}) == len(METRIC_DEFINITIONS)
    assert all(len(metric.regex) <= 500 for metric in METRIC_DEFINITIONS)
    assert all(re.compile(metric.regex).groups == 1 for metric in METRIC_DEFINITIONS)


def test_those_of_the_built_in_are_there():
    names = {metric.name for metric in METRIC_DEFINITIONS}
    kinds = ("test:{}", "train:{}", "train:{}:epoch", "train:{}:batch")
    metrics = ("rmse", "mse", "absolute_loss", "binary_classification_accuracy")
    metrics += ("binary_classification_cross_entropy", "binary_f_beta")
    built_in = {kind.format(metric) for kind in kinds for metric in metrics}
    assert built_in | {"train:progress", "train:throughput"} <= names
    assert len(built_in) == 24


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_a_job_with_items_has_the_metrics_of_its_type_and_those_of_rankings(predictor_type):
    definitions = metrics_with_rankings(predictor_type)

    names = {metric.name for metric in definitions}
    assert len(definitions) == len(names) <= 40
    assert {"train:progress", "train:throughput"} < names
    own = {name.replace("f_1.000", "f_beta") for name in metric_names(predictor_type)}
    assert {name.split(":")[1] for name in names} - {"progress", "throughput"} == {
        *own,
        *RANKING_METRICS,
    }
    for name in RANKING_METRICS:
        for channel in ("test", "validation"):
            assert RANKING_OBJECTIVES[f"{channel}:{name}"] == "Maximize"
            (metric,) = (each for each in definitions if each.name == f"{channel}:{name}")
            line = f"#quality_metric: host=algo-1, {channel} {name} <score>=0.25"
            assert float(re.search(metric.regex, line)[1]) == 0.25
            assert not re.search(metric.regex, line.replace("algo-1,", "algo-1, epoch=0,"))


def test_losses_are_minimised_and_scores_maximised():
    assert OBJECTIVES["test:rmse"] == "Minimize"
    assert OBJECTIVES["validation:binary_classification_cross_entropy"] == "Minimize"
    assert OBJECTIVES["test:binary_f_beta"] == "Maximize"
    assert "train:rmse" not in OBJECTIVES


def test_a_log_of_the_built_in_is_read_too():
    lines = [
        "[04/21/2023 14:26:45 INFO 139893122135872] #quality_metric: host=algo-1, epoch=0, "
        "batch=0 train rmse <loss>=3.846082752497988",
        "[04/21/2023 14:26:45 INFO 139893122135872] #progress_metric: host=algo-1, completed "
        "2.0 % of epochs",
        "[04/21/2023 14:26:45 INFO 139893122135872] #quality_metric: host=algo-1, test "
        "binary_f_1.000 <score>=0.9364421375206377",
        "#test_score (algo-1) : ('rmse', 1.0002629948968227)",
    ]
    expected = {"train:rmse:batch": 3.846082752497988, "train:progress": 2.0}
    assert found(lines) == expected | {"test:binary_f_beta": 0.9364421375206377}
