import math
import threading
from itertools import chain

import numpy as np
import pytest

from fm_algo.errors import AlgorithmError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.evaluation import evaluate
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.gradient.reference import ReferenceKernel
from fm_algo.training.initialization import initial_model
from fm_algo.training.metrics import metrics_for
from fm_algo.training.peers import Alone
from fm_algo.training.report import BatchReport, EpochReport
from fm_algo.training.trainer import train

NUM_ROWS = 25


def hyperparameters_of(**changes):
    return parse_hyperparameters(
        {
            "feature_dim": 4,
            "num_factors": 2,
            "predictor_type": "regressor",
            "epochs": 3,
            "mini_batch_size": 10,
            "batch_metrics_publish_interval": 2,
            **changes,
        }
    )


def numbered_rows():
    """Rows told apart by their value and their label: row n has n."""
    numbers = np.arange(NUM_ROWS, dtype=np.float32)
    return CSRBatch(
        np.arange(NUM_ROWS + 1, dtype=np.int64),
        np.zeros(NUM_ROWS, np.int32),
        numbers + 1,
        numbers / NUM_ROWS,
        4,
    )


class RecordingKernel(ReferenceKernel):
    """The reference, remembering which rows each step got and what it said of them."""

    def __init__(self, hyperparameters):
        super().__init__(initial_model(hyperparameters), hyperparameters)
        self.batches = []
        self.margins = []

    def step(self, prepared):
        self.batches.append((prepared.batch.values - 1).astype(int).tolist())
        self.margins.append(super().step(prepared))
        return self.margins[-1]


def sums_of(margin, labels):
    sums = metrics_for("regressor")
    sums.update(margin, labels)
    return sums.state()


class LateKernel(RecordingKernel):
    """The reference, giving the sums of its metrics late instead of its margins."""

    def __init__(self, hyperparameters):
        super().__init__(hyperparameters)
        self.num_waiting = self.most_waiting = 0

    def step(self, prepared):
        margin = super().step(prepared)
        self.num_waiting += 1
        self.most_waiting = max(self.most_waiting, self.num_waiting)

        def wait():
            self.num_waiting -= 1
            return sums_of(margin, prepared.labels)

        return wait


class BreakingKernel(ReferenceKernel):
    """The reference until a step, which breaks a parameter."""

    def __init__(self, hyperparameters, *, breaks_at, group, value=math.nan):
        super().__init__(initial_model(hyperparameters), hyperparameters)
        self.left, self.group, self.value = breaks_at, group, value

    def step(self, prepared):
        margin = super().step(prepared)
        self.left -= 1
        if self.left < 0:
            getattr(self.model(), self.group)[-1] = self.value
        return margin


def training(kernel, hyperparameters, source=None, **how):
    source = source or CachedRows(numbered_rows(), hyperparameters)
    return train(GradientLearner(kernel, hyperparameters, source), hyperparameters, **how)


def trained(**changes):
    hyperparameters = hyperparameters_of(**changes)
    kernel = RecordingKernel(hyperparameters)
    reports = list(training(kernel, hyperparameters))
    return kernel, reports


def epochs_of(reports):
    return [report for report in reports if isinstance(report, EpochReport)]


def test_every_epoch_takes_every_row_once():
    kernel, _ = trained()
    epochs = [list(chain(*kernel.batches[start : start + 3])) for start in (0, 3, 6)]

    assert len(kernel.batches) == 9
    for rows in epochs:
        assert sorted(rows) == list(range(NUM_ROWS))
    assert epochs[0] != list(range(NUM_ROWS))
    assert epochs[0] != epochs[1] != epochs[2]


def test_the_last_mini_batch_may_be_shorter():
    kernel, reports = trained(epochs=1)

    assert [len(rows) for rows in kernel.batches] == [10, 10, 5]
    assert [report.num_rows for report in reports] == [10, 10, 5, 25]


def test_unshuffled_rows_come_as_stored():
    kernel, _ = trained(shuffle="false", epochs=2)

    assert kernel.batches == 2 * [[*range(10)], [*range(10, 20)], [*range(20, 25)]]


def test_a_mini_batch_may_be_larger_than_the_data():
    kernel, _ = trained(mini_batch_size=1000, epochs=1)

    assert sorted(kernel.batches[0]) == list(range(NUM_ROWS))


def test_the_seed_decides_the_order():
    assert trained(seed=1)[0].batches == trained(seed=1)[0].batches
    assert trained(seed=1)[0].batches != trained(seed=2)[0].batches


def test_an_epochs_order_does_not_depend_on_how_many_follow():
    assert trained(epochs=2)[0].batches == trained(epochs=5)[0].batches[:6]


def test_reports_come_in_order():
    _, reports = trained(epochs=2)

    assert [(type(report), report.epoch, getattr(report, "batch", None)) for report in reports] == [
        *((BatchReport, 0, batch) for batch in range(3)),
        (EpochReport, 0, None),
        *((BatchReport, 1, batch) for batch in range(3)),
        (EpochReport, 1, None),
    ]


def test_an_epochs_report_counts():
    reports = epochs_of(trained()[1])

    assert [report.is_last for report in reports] == [False, False, True]
    for report in reports:
        assert (report.num_rows, report.num_batches) == (NUM_ROWS, 3)
        assert report.elapsed_s > 0


def test_metrics_are_those_of_predictions_before_the_update():
    kernel, reports = trained(shuffle="false", epochs=1)
    labels = numbered_rows().labels
    expected = metrics_for("regressor")
    for number, margin in enumerate(kernel.margins):
        expected.update(margin, labels[10 * number : 10 * number + 10])
        if number % 2 == 0:
            assert reports[number].metrics == expected.results()
    assert reports[-1].metrics == expected.results()


def test_sums_that_come_late_make_the_same_metrics():
    changes = {"mini_batch_size": 1, "batch_metrics_publish_interval": 12}
    _, expected = trained(**changes)
    hyperparameters = hyperparameters_of(**changes)
    kernel = LateKernel(hyperparameters)
    reports = list(training(kernel, hyperparameters))

    for report, other in zip(reports, expected, strict=True):
        assert [metric.name for metric in report.metrics] == [m.name for m in other.metrics]
        for metric, wanted in zip(report.metrics, other.metrics, strict=True):
            assert metric.value == pytest.approx(wanted.value)
    assert kernel.most_waiting == 9
    assert kernel.num_waiting == 0


def test_how_far_training_is_counts_sums_that_come_late():
    hyperparameters = hyperparameters_of(batch_metrics_publish_interval=500)
    kernel, late = RecordingKernel(hyperparameters), LateKernel(hyperparameters)

    def progress_after_two(kernel):
        reports = training(kernel, hyperparameters)
        next(reports)
        return next(reports).progress

    got, expected = progress_after_two(late), progress_after_two(kernel)
    assert got.num_batches == expected.num_batches == 2
    assert got.sums == pytest.approx(expected.sums)
    assert late.num_waiting == 0


def test_a_late_loss_that_is_not_finite_is_reported_of_its_mini_batch():
    class LateBreakingKernel(BreakingKernel):
        def step(self, prepared):
            margin = super().step(prepared)
            return lambda: sums_of(margin, prepared.labels)

    hyperparameters = hyperparameters_of(batch_metrics_publish_interval=500)
    kernel = LateBreakingKernel(hyperparameters, breaks_at=0, group="w0")

    with pytest.raises(AlgorithmError, match="epoch 0, mini-batch 1: the loss is nan"):
        list(training(kernel, hyperparameters))


@pytest.mark.parametrize("shuffle", ["true", "false"])
def test_a_kernel_that_holds_the_rows_is_given_their_numbers(shuffle):
    hyperparameters = hyperparameters_of(shuffle=shuffle)
    taken = []
    expected = RecordingKernel(hyperparameters)
    list(training(expected, hyperparameters))
    kernel = RecordingKernel(hyperparameters)

    def take(numbers):
        taken.append(numbers.tolist())
        return kernel.prepare(numbered_rows().take(numbers))

    source = CachedRows(numbered_rows(), hyperparameters, take)
    list(training(kernel, hyperparameters, source))

    assert taken == kernel.batches == expected.batches


def test_a_batchs_metrics_come_at_the_interval():
    _, reports = trained(epochs=2, mini_batch_size=5, batch_metrics_publish_interval=2)
    published = [
        (report.epoch, report.batch)
        for report in reports
        if isinstance(report, BatchReport) and report.metrics
    ]

    assert published == [(0, 0), (0, 2), (0, 4), (1, 0), (1, 2), (1, 4)]


def test_a_stop_ends_training_after_the_mini_batch():
    hyperparameters = hyperparameters_of()
    kernel = RecordingKernel(hyperparameters)
    peers = Alone(lambda: len(kernel.batches) == 5)
    reports = list(training(kernel, hyperparameters, peers=peers))

    assert len(kernel.batches) == 5
    assert [report.is_last for report in epochs_of(reports)] == [False, True]
    assert (reports[-1].epoch, reports[-1].num_rows, reports[-1].num_batches) == (1, 20, 2)


def test_a_stop_between_epochs_leaves_the_next_one_untouched():
    hyperparameters = hyperparameters_of()
    kernel = RecordingKernel(hyperparameters)
    stop = threading.Event()
    epochs = []
    for report in training(kernel, hyperparameters, peers=Alone(stop.is_set)):
        if isinstance(report, EpochReport):
            epochs.append(report.epoch)
            stop.set()

    assert len(kernel.batches) == 3
    assert epochs == [0]


@pytest.mark.parametrize("num_batches", range(9))
@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_training_goes_on_as_if_it_had_not_been_interrupted(predictor_type, num_batches):
    hyperparameters = hyperparameters_of(predictor_type=predictor_type)
    rows = numbered_rows()
    if predictor_type == "binary_classifier":
        rows.labels[:] = rows.labels > 0.5
    whole, first, second = (RecordingKernel(hyperparameters) for _ in range(3))

    def run(kernel, **how):
        source = CachedRows(rows, hyperparameters)
        return list(training(kernel, hyperparameters, source, **how))

    expected = run(whole)
    before = run(first, peers=Alone(lambda: len(first.batches) > num_batches))
    for name, array in second.state().items():
        array[...] = first.state()[name]
    after = run(second, start=before[-1].progress)

    assert first.batches + second.batches == whole.batches
    assert epochs_of(after)[-1].metrics == epochs_of(expected)[-1].metrics
    for name, array in second.state().items():
        np.testing.assert_array_equal(array, whole.state()[name])


@pytest.mark.parametrize("batch", [0, 1])
def test_a_loss_that_is_not_finite_ends_training(batch):
    hyperparameters = hyperparameters_of(epochs=5)
    kernel = BreakingKernel(hyperparameters, breaks_at=3 + batch, group="w0")

    with pytest.raises(AlgorithmError) as caught:
        list(training(kernel, hyperparameters))
    assert caught.value.message == (
        f"training diverged in epoch 1, mini-batch {batch + 1}: the loss is nan; try lower "
        "bias_lr, linear_lr and factors_lr, scale the feature values to about 1, or set "
        "clip_gradient"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("group", ["w0", "w", "V"])
def test_parameters_that_no_loss_has_seen_are_checked(group, value):
    hyperparameters = hyperparameters_of(epochs=1)
    kernel = BreakingKernel(hyperparameters, breaks_at=2, group=group, value=value)

    with pytest.raises(AlgorithmError, match=f"diverged in epoch 0: {group} holds numbers"):
        list(training(kernel, hyperparameters))


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_evaluation_scores_every_row(monkeypatch, predictor_type):
    hyperparameters = hyperparameters_of(predictor_type=predictor_type)
    kernel = RecordingKernel(hyperparameters)
    rows = numbered_rows()
    if predictor_type == "binary_classifier":
        rows.labels[:] = rows.labels > 0.5
    monkeypatch.setattr("fm_algo.training.evaluation._EVALUATED_AT_ONCE", 10)
    expected = metrics_for(predictor_type, with_auc=True)
    expected.update(kernel.model().margin(rows), rows.labels)

    found = evaluate(kernel, kernel.model().predictor_type, [rows])

    assert [metric.name for metric in found] == [metric.name for metric in expected.results()]
    for metric, wanted in zip(found, expected.results(), strict=True):
        assert metric.value == pytest.approx(wanted.value, rel=1e-5)
    assert kernel.batches == []
