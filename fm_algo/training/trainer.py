"""The epoch loop, the same for all learners."""

import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from fm_algo.errors import AlgorithmError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.training.early_stopping import EarlyStopping
from fm_algo.training.learner import Learner, Step
from fm_algo.training.metrics import Metric, MetricSums, added_up, metrics_for
from fm_algo.training.peers import Alone, Peers
from fm_algo.training.progress import Progress
from fm_algo.training.report import BatchReport, EpochReport

_STEPS_BEHIND = 8
"""Steps that may still be running when the learner is asked for another one."""

_CHECKED_AT_ONCE = 1 << 12
"""Features whose parameters are checked at once: so few that the results stay in the cache."""


def train(
    learner: Learner,
    hyperparameters: Hyperparameters,
    *,
    validate: Callable[[int], list[Metric]] = lambda _epoch: [],
    start: Progress | None = None,
    peers: Peers | None = None,
) -> Iterator[BatchReport | EpochReport]:
    """Train epoch by epoch, and yield a report after each step and each epoch.

    Parameters
    ----------
    learner : Learner
        It has its rows already. Training changes its model.
    hyperparameters : Hyperparameters
        epochs, batch_metrics_publish_interval and those of early stopping.
    validate : callable, optional
        ``validate(epoch)`` returns the metrics of the validation rows; early stopping judges by
        them.
    start : Progress, optional
        Where an interrupted training resumes. The learner must have its state of that moment.
    peers : Peers, optional
        The other hosts of the job. They also tell whether to stop: training then ends after the
        present step, and an epoch without any step has no report. Metrics and the rows of an
        epoch are those of all hosts; progress and the rows of a step are those of this host.

    Yields
    ------
    BatchReport or EpochReport

    Raises
    ------
    AlgorithmError
        If the loss or a parameter is no longer finite. The message says where, and what to try.
    UserError
        If early stopping has no number to judge by.
    """
    peers = peers or Alone()
    progress = start or Progress()
    early_stopping = EarlyStopping(hyperparameters, progress.best)
    for epoch in range(progress.epoch, hyperparameters.epochs):
        if early_stopping.is_over(epoch):
            return
        began_at = time.perf_counter()
        sums = metrics_for(hyperparameters.objective)
        if progress.num_batches:
            sums.restore(progress.sums)
        report = None
        for report in _train_epoch(learner, hyperparameters, sums, progress, peers):
            yield report
        progress = progress if report is None else report.progress
        if not progress.num_batches and peers.is_stopping():
            _check_finite(learner, epoch)
            return  # nothing was done in this epoch
        elapsed_s = time.perf_counter() - began_at
        num_batches = progress.num_batches
        validation = _validate_unless_stopped(validate, epoch, peers)
        is_stopped = peers.is_stopping()
        is_best = not is_stopped and early_stopping.judge(epoch, validation)
        if not is_stopped:
            progress = Progress(epoch=epoch + 1, best=early_stopping.best)
        is_last = (
            is_stopped or epoch + 1 == hyperparameters.epochs or early_stopping.is_over(epoch + 1)
        )
        if is_last or is_best:
            _check_finite(learner, epoch)
        total = added_up(sums, peers.add_up, hyperparameters.objective)
        yield EpochReport(
            epoch=epoch,
            num_rows=total.num_rows,
            num_batches=num_batches,
            elapsed_s=elapsed_s,
            metrics=total.results(),
            is_last=is_last,
            validation=validation,
            is_best=is_best,
            progress=progress,
        )
        if is_last:
            return


def _validate_unless_stopped(
    validate: Callable[[int], list[Metric]], epoch: int, peers: Peers
) -> list[Metric]:
    metrics = [] if peers.is_stopping() else validate(epoch)
    return [] if peers.is_stopping() else metrics  # a stop may have cut the rows short


def _train_epoch(
    learner: Learner,
    hyperparameters: Hyperparameters,
    sums: MetricSums,
    start: Progress,
    peers: Peers,
) -> Iterator[BatchReport]:
    """Train on the rest of an epoch, until its end or a stop; add each step to `sums`."""
    epoch, interval = start.epoch, hyperparameters.batch_metrics_publish_interval
    results = _Results(epoch, sums, learner)
    steps = learner.steps(epoch, start.num_batches, peers.is_stopping)
    for number, step in enumerate(steps, start.num_batches):
        results.add(number, step)
        published = []
        if number % interval == 0:
            results.wait()
            published = added_up(sums, peers.add_up, hyperparameters.objective).results()
        results.wait(_STEPS_BEHIND)
        progress = functools.partial(results.progress, start, number)
        yield BatchReport(epoch, number, step.num_rows, published, progress)
    results.wait()


class _Results:
    """The results of steps that still have to be added to the epoch's sums."""

    def __init__(self, epoch: int, sums: MetricSums, learner: Learner) -> None:
        self._epoch, self._sums, self._learner = epoch, sums, learner
        self._late: deque[tuple[int, Step]] = deque()

    def add(self, number: int, step: Step) -> None:
        """Queue the result of step `number`."""
        self._late.append((number, step))

    def wait(self, most: int = 0) -> None:
        """Add results to the sums until at most `most` steps are left; wait for each step."""
        while len(self._late) > most:
            number, step = self._late.popleft()
            step.add_to(self._sums)
            if not math.isfinite(self._sums.loss):
                found = f"epoch {self._epoch}, mini-batch {number}: the loss is {self._sums.loss}"
                raise _diverged(found, self._learner)

    def progress(self, start: Progress, number: int) -> Progress:
        """Return the progress after step `number`, the last one added."""
        self.wait()
        return msgspec.structs.replace(start, num_batches=number + 1, sums=self._sums.state())


def _diverged(found: str, learner: Learner) -> AlgorithmError:
    return AlgorithmError(f"training diverged in {found}; {learner.advice}")


def _check_finite(learner: Learner, epoch: int) -> None:
    """Check the parameters after the last update, which no loss reflects yet."""
    model = learner.model()
    parameters = [("w0", model.w0), ("w", model.w), ("V", model.V)]
    if model.field_weights is not None:
        parameters.append(("R", model.field_weights.R))
    for name, values in parameters:
        for start in range(0, len(values), _CHECKED_AT_ONCE):
            if not np.isfinite(values[start : start + _CHECKED_AT_ONCE]).all():
                found = f"epoch {epoch}: {name} holds numbers that are not finite"
                raise _diverged(found, learner)
