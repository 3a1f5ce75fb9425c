"""The definitions, and what they read off a log of the built-in."""

import re

from deploy.metric_definitions import METRIC_DEFINITIONS, OBJECTIVES


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
