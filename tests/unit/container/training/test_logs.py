"""The lines that tuning and dashboards read, to the letter."""

import json
import logging
import re
import subprocess
import sys

import pytest

from container.training import logs
from container.training.logs import JobLog
from fm_algo.training.metrics import Metric
from fm_algo.training.report import BatchReport, EpochReport

PREFIX = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d INFO \d+\] "
MEASURED = r"[\d.]+(?:e-?\d+)?"

REGRESSION = [
    Metric("rmse", "loss", 1.5),
    Metric("mse", "loss", 2.25),
    Metric("absolute_loss", "loss", 1.0),
]
CLASSIFICATION = [
    Metric("binary_classification_accuracy", "score", 0.8190878661087866),
    Metric("binary_classification_cross_entropy", "loss", 0.6897539672851563),
    Metric("binary_f_1.000", "score", 1.5e-07),
]


@pytest.fixture
def lines(capsys):
    """Return a function that gives the lines written since it was last called."""

    def read():
        return capsys.readouterr().out.splitlines()

    return read


@pytest.fixture
def start(monkeypatch, lines):
    """Return a function that sets up the log and gives that of a job; loggers are put back."""
    for name in ("", "fm_algo.metrics", "numba"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "level", logger.level)
        monkeypatch.setattr(logger, "handlers", [])

    def set_up(epochs=1, level="INFO"):
        logs.set_up(level)
        return JobLog("algo-7", epochs)

    return set_up


def epoch_report(metrics, epoch=0, *, is_last=False):
    return EpochReport(
        epoch, num_rows=25, num_batches=3, elapsed_s=0.5, metrics=metrics, is_last=is_last
    )


def without_prefix(lines):
    found = [
        re.fullmatch(f"{PREFIX}(.*)", line) or re.fullmatch("(#metrics .*)", line) for line in lines
    ]
    assert all(found)
    return [match[1] for match in found]


def metrics_line(line):
    """The JSON of a #metrics line, its times checked and taken out."""
    content = json.loads(line.removeprefix("#metrics "))
    assert content.pop("EndTime") >= content.pop("StartTime") > 1.6e9
    return content


def dimensions(**more):
    return {
        "Algorithm": "factorization-machines",
        "Host": "algo-7",
        "Operation": "training",
    } | more


def number(value):
    return {"sum": float(value), "count": 1, "min": value, "max": value}


def test_the_prefix_is_the_built_ins(start, lines):
    start()
    logging.getLogger("container").warning("a line")

    assert re.fullmatch(r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d WARNING \d+\] a line", *lines())


def test_metrics_of_a_batch(start, lines):
    start(10).batch(BatchReport(3, 500, 100, REGRESSION))

    assert without_prefix(lines()) == [
        "#quality_metric: host=algo-7, epoch=3, batch=500 train rmse <loss>=1.5",
        "#quality_metric: host=algo-7, epoch=3, batch=500 train mse <loss>=2.25",
        "#quality_metric: host=algo-7, epoch=3, batch=500 train absolute_loss <loss>=1.0",
    ]


def test_metrics_of_a_classifiers_batch(start, lines):
    start(10).batch(BatchReport(0, 0, 100, CLASSIFICATION))

    quality = "#quality_metric: host=algo-7, epoch=0, batch=0 train binary_"
    assert without_prefix(lines()) == [
        f"{quality}classification_accuracy <score>=0.8190878661087866",
        f"{quality}classification_cross_entropy <loss>=0.6897539672851563",
        f"{quality}f_1.000 <score>=1.5e-07",
    ]


def test_a_batch_without_metrics_writes_nothing(start, lines):
    start(10).batch(BatchReport(0, 1, 100, []))

    assert lines() == []


def test_an_epoch(start, lines):
    start(8).epoch(epoch_report(REGRESSION, 2), [])
    *quality, update, progress, iterator, throughput = without_prefix(lines())

    assert quality == [
        "#quality_metric: host=algo-7, epoch=2, train rmse <loss>=1.5",
        "#quality_metric: host=algo-7, epoch=2, train mse <loss>=2.25",
        "#quality_metric: host=algo-7, epoch=2, train absolute_loss <loss>=1.0",
    ]
    assert metrics_line(update) == {
        "Dimensions": dimensions(),
        "Metrics": {"epochs": number(8), "update.time": number(500.0)},
    }
    assert progress == "#progress_metric: host=algo-7, completed 37.5 % of epochs"
    assert metrics_line(iterator) == {
        "Dimensions": dimensions(epoch=2, Meta="training_data_iter"),
        "Metrics": {
            "Total Records Seen": number(25),
            "Total Batches Seen": number(3),
            "Max Records Seen Between Resets": number(25),
            "Max Batches Seen Between Resets": number(3),
            "Reset Count": number(3),
            "Number of Records Since Last Reset": number(25),
            "Number of Batches Since Last Reset": number(3),
        },
    }
    assert throughput == "#throughput_metric: host=algo-7, train throughput=50.0 records/second"


def test_a_metrics_line_has_the_built_ins_layout(start, lines):
    start().epoch(epoch_report([]), [])

    assert re.fullmatch(
        rf'#metrics {{"StartTime": {MEASURED}, "EndTime": {MEASURED}, "Dimensions": '
        r'{"Algorithm": "factorization-machines", "Host": "algo-7", "Operation": "training"}, '
        r'"Metrics": {"epochs": {"sum": 1\.0, "count": 1, "min": 1, "max": 1}, '
        r'"update\.time": {"sum": 500\.0, "count": 1, "min": 500\.0, "max": 500\.0}}}',
        lines()[0],
    )


def test_records_seen_are_counted_over_epochs(start, lines):
    log = start(3)
    for epoch in range(3):
        log.epoch(epoch_report([], epoch), [])
    seen = [
        metrics_line(line)["Metrics"]["Total Records Seen"]["sum"]
        for line in lines()
        if "training_data_iter" in line
    ]

    assert seen == [25, 50, 75]


def test_the_last_epochs_metrics_are_repeated_as_final(start, lines):
    start().epoch(epoch_report(REGRESSION[:1], is_last=True), [])
    first, final, *rest = without_prefix(lines())

    assert first == "#quality_metric: host=algo-7, epoch=0, train rmse <loss>=1.5"
    assert final == "#quality_metric: host=algo-7, train rmse <loss>=1.5"
    assert rest[1] == "#progress_metric: host=algo-7, completed 100.0 % of epochs"


def test_validation_metrics_look_like_those_of_training(start, lines):
    log = start(2)
    log.epoch(epoch_report([], 0), REGRESSION[:1])
    log.epoch(epoch_report([], 1, is_last=True), REGRESSION[:1])

    assert [line for line in without_prefix(lines()) if "validation" in line] == [
        "#quality_metric: host=algo-7, epoch=0, validation rmse <loss>=1.5",
        "#quality_metric: host=algo-7, epoch=1, validation rmse <loss>=1.5",
        "#quality_metric: host=algo-7, validation rmse <loss>=1.5",
    ]


def test_metrics_of_the_test_channel_come_in_both_forms(start, lines):
    start().test(REGRESSION)

    assert without_prefix(lines()) == [
        "#test_score (algo-7) : ('rmse', 1.5)",
        "#test_score (algo-7) : ('mse', 2.25)",
        "#test_score (algo-7) : ('absolute_loss', 1.0)",
        "#quality_metric: host=algo-7, test rmse <loss>=1.5",
        "#quality_metric: host=algo-7, test mse <loss>=2.25",
        "#quality_metric: host=algo-7, test absolute_loss <loss>=1.0",
    ]


def test_the_end_has_the_total_time(start, lines):
    start().end()
    (line,) = lines()
    total = metrics_line(line)["Metrics"].pop("totaltime")

    assert 0 <= total["sum"] == total["min"] == total["max"] < 10_000


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_metric(start, lines, value):
    start().test([Metric("rmse", "loss", value), REGRESSION[2]])
    written = "\n".join(lines())

    assert f"rmse is {value!r}: not written as a metric" in written
    assert re.findall(r"#(?:quality_metric|test_score).*", written) == [
        "#test_score (algo-7) : ('absolute_loss', 1.0)",
        "#quality_metric: host=algo-7, test absolute_loss <loss>=1.0",
    ]


def test_no_level_hides_the_metrics(start, lines):
    log = start(level="ERROR")
    logging.getLogger("fm_algo").info("hidden")
    log.test(REGRESSION[:1])

    assert without_prefix(lines()) == [
        "#test_score (algo-7) : ('rmse', 1.5)",
        "#quality_metric: host=algo-7, test rmse <loss>=1.5",
    ]


def test_a_verbose_log_is_about_our_code(start, lines):
    start(level="DEBUG")
    logging.getLogger("numba.core.ssa").debug("a thousand of these")
    logging.getLogger("container").debug("ours")

    (line,) = lines()
    assert line.endswith("DEBUG " + line.split()[3] + " ours")


def test_each_line_is_flushed_as_it_comes():
    code = """
import os
from container.training import logs
from fm_algo.training.metrics import Metric
logs.set_up("INFO")
log = logs.JobLog("algo-7", 1)
log.test([Metric("rmse", "loss", 1.5)])
log.end()
os._exit(0)  # what is still buffered is lost
"""
    # An empty environment: PYTHONUNBUFFERED must not be what makes this hold.
    done = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True, timeout=60
    )

    assert [line.partition("#")[2].split()[0] for line in done.stdout.splitlines()] == [
        "test_score",
        "quality_metric:",
        "metrics",
    ]
