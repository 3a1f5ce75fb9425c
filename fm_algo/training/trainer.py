"""The one epoch loop, for every kernel."""

import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np

from fm_algo.errors import AlgorithmError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.metrics import Metric, MetricSums, added_up, metrics_for
from fm_algo.model import FMModel, PredictorType
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.early_stopping import EarlyStopping
from fm_algo.training.gradient import Kernel, LateSums, Prepared
from fm_algo.training.peers import Alone, Peers
from fm_algo.training.progress import Progress
from fm_algo.training.row_source import ReadAhead, RowSource

_BATCHES_AHEAD = 4
"""Mini-batches prepared while one is trained on."""

_STEPS_BEHIND = 8
"""Mini-batches that a kernel may still be at while it is given more."""

_EVALUATED_AT_ONCE = 1 << 16
"""Rows scored at once by `evaluate`."""

_CHECKED_AT_ONCE = 1 << 12
"""Features whose parameters are checked at once: what is found of them stays in the cache."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What is known after a mini-batch.

    Attributes
    ----------
    epoch, batch : int
        Both from 0.
    num_rows : int
        Rows of this mini-batch.
    metrics : list of Metric
        Of the epoch so far, each row as predicted before its own update; empty between publications
        (hyperparameter batch_metrics_publish_interval).
    """

    epoch: int
    batch: int
    num_rows: int
    metrics: list[Metric]
    _progress: Callable[[], Progress] = Progress

    @property
    def progress(self) -> Progress:
        """Where training could go on from; to be asked for before the next report is.

        Waits for the kernel.
        """
        return self._progress()


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What is known after an epoch.

    Attributes
    ----------
    epoch : int
        From 0.
    num_rows, num_batches : int
        Trained on in this epoch, also before an interruption.
    elapsed_s : float
        Time the epoch took, seconds.
    metrics : list of Metric
        Of all rows of the epoch, each as predicted before its own update.
    is_last : bool
        Whether training ends here.
    validation : list of Metric
        Of rows that are not trained on; empty without such rows, and after a stop.
    is_best : bool
        Whether early stopping is on and the epoch the best so far.
    progress : Progress
        Where training could go on from.
    """

    epoch: int
    num_rows: int
    num_batches: int
    elapsed_s: float
    metrics: list[Metric]
    is_last: bool
    validation: list[Metric] = field(default_factory=list)
    is_best: bool = False
    progress: Progress = field(default_factory=Progress)


def train(
    kernel: Kernel,
    source: RowSource,
    hyperparameters: Hyperparameters,
    should_stop: Callable[[], bool] = lambda: False,
    validate: Callable[[int], list[Metric]] = lambda _epoch: [],
    start: Progress | None = None,
    peers: Peers | None = None,
) -> Iterator[BatchReport | EpochReport]:
    """Train epoch by epoch; a report comes out after each mini-batch and each epoch.

    Parameters
    ----------
    kernel : Kernel
        Holds the parameters, which change.
    source : RowSource
        The training rows, with labels. A thread of its own takes and prepares the next mini-batches
        while the kernel works.
    hyperparameters : Hyperparameters
        epochs, batch_metrics_publish_interval and those of early stopping.
    should_stop : callable, optional
        Asked before and after each mini-batch; once it says True the epoch ends there, the last;
        one that had not begun has no report.
    validate : callable, optional
        ``validate(epoch)`` gives the metrics of rows that are not trained on; early stopping judges
        by them.
    start : Progress, optional
        Where an interrupted training goes on; the kernel's state is that of then. If there is
        nothing left to do, there is no report.
    peers : Peers, optional
        The other hosts of the job; should_stop then says what all have agreed on. Metrics, and the
        rows of an epoch, are those of all hosts; progress and a mini-batch's rows this one's.

    Yields
    ------
    BatchReport or EpochReport

    Raises
    ------
    AlgorithmError
        When the loss is no longer a finite number: which epoch and mini-batch, and what to try.
    UserError
        When early stopping has no number to judge by.
    """
    peers = peers or Alone()
    progress = start or Progress()
    early_stopping = EarlyStopping(hyperparameters, progress.best)
    for epoch in range(progress.epoch, hyperparameters.epochs):
        if early_stopping.is_over(epoch):
            return
        started = time.perf_counter()
        sums = metrics_for(hyperparameters.predictor_type)
        if progress.num_batches:
            sums.restore(progress.sums)
        report = None
        for report in _train_epoch(
            kernel, source, hyperparameters, should_stop, sums, progress, peers
        ):
            yield report
        progress = progress if report is None else report.progress
        if not progress.num_batches and should_stop():
            _check_finite(kernel.model(), epoch)
            return  # nothing was done in this epoch
        elapsed_s = time.perf_counter() - started
        num_batches = progress.num_batches
        validation = [] if should_stop() else validate(epoch)
        stopped = should_stop()
        if stopped:
            validation = []  # of rows cut short, perhaps
        is_best = not stopped and early_stopping.judge(epoch, validation)
        if not stopped:
            progress = Progress(epoch=epoch + 1, best=early_stopping.best)
        is_last = (
            stopped or epoch + 1 == hyperparameters.epochs or early_stopping.is_over(epoch + 1)
        )
        if is_last or is_best:
            _check_finite(kernel.model(), epoch)
        total = added_up(sums, peers.add_up, hyperparameters.predictor_type)
        yield EpochReport(
            epoch, total.num_rows, num_batches, elapsed_s, total.results(), is_last,
            validation, is_best, progress,
        )  # fmt: skip
        if is_last:
            return


def _train_epoch(
    kernel: Kernel,
    source: RowSource,
    hyperparameters: Hyperparameters,
    should_stop: Callable[[], bool],
    sums: MetricSums,
    start: Progress,
    peers: Peers,
) -> Iterator[BatchReport]:
    """Train on what is left of an epoch, adding to `sums`, until its end or a stop."""
    epoch, interval = start.epoch, hyperparameters.batch_metrics_publish_interval
    left = itertools.islice(source.mini_batches(epoch), start.num_batches, None)
    prepared_ahead = ReadAhead(map(functools.partial(_prepare, kernel), left), _BATCHES_AHEAD)
    results = _Results(epoch, sums)
    with prepared_ahead:
        for number, prepared in enumerate(peers.in_step(prepared_ahead), start.num_batches):
            if should_stop():
                break  # a source that was told to stop may have cut this mini-batch short
            results.add(number, kernel.step(prepared), prepared)
            published = []
            if number % interval == 0:
                results.wait()
                predictor_type = hyperparameters.predictor_type
                published = added_up(sums, peers.add_up, predictor_type).results()
            results.wait(_STEPS_BEHIND)
            progress = functools.partial(results.progress, start, number)
            yield BatchReport(epoch, number, prepared.num_rows, published, progress)
            if should_stop():
                break
    results.wait()


def _prepare(kernel: Kernel, batch: CSRBatch | Prepared) -> Prepared:
    return kernel.prepare(batch) if isinstance(batch, CSRBatch) else batch


class _Results:
    """What steps return, on its way into the epoch's sums; some of it comes late."""

    def __init__(self, epoch: int, sums: MetricSums) -> None:
        self._epoch, self._sums = epoch, sums
        self._late: deque[tuple[int, LateSums]] = deque()

    def add(self, number: int, result: Float32Array | LateSums, prepared: Prepared) -> None:
        """Take what the step of mini-batch `number` returned."""
        if callable(result):
            self._late.append((number, result))
        else:
            self._sums.update(result, prepared.labels)
            self._check(number)

    def wait(self, most: int = 0) -> None:
        """Wait until no more than `most` mini-batches are left out of the sums."""
        while len(self._late) > most:
            number, late_sums = self._late.popleft()
            state = self._sums.state()
            self._sums.restore({name: state[name] + more for name, more in late_sums().items()})
            self._check(number)

    def progress(self, start: Progress, number: int) -> Progress:
        """Say how far training is after mini-batch `number`, the last one added."""
        self.wait()
        return msgspec.structs.replace(start, num_batches=number + 1, sums=self._sums.state())

    def _check(self, number: int) -> None:
        if not math.isfinite(self._sums.loss):
            raise _diverged(
                f"epoch {self._epoch}, mini-batch {number}: the loss is {self._sums.loss}"
            )


def evaluate(
    kernel: Kernel,
    predictor_type: PredictorType,
    blocks: Iterable[CSRBatch],
    peers: Peers | None = None,
) -> list[Metric]:
    """Return the metrics of rows that are not trained on.

    Parameters
    ----------
    kernel : Kernel
        Scores the rows.
    predictor_type : {"regressor", "binary_classifier"}
        Which metrics.
    blocks : iterable of CSRBatch
        The rows in blocks of any size, with labels.
    peers : Peers, optional
        The other hosts of the job; the metrics are those of all hosts' rows.
    """
    peers = peers or Alone()
    sums = metrics_for(predictor_type, with_auc=True)
    for rows in peers.blocks_in_step(iter(blocks)):
        for start in range(0, rows.num_rows or 1, _EVALUATED_AT_ONCE):
            block = rows.rows(start, min(start + _EVALUATED_AT_ONCE, rows.num_rows))
            sums.update(kernel.margin(block), block.require_labels())
    return added_up(sums, peers.add_up, predictor_type).results()


def _diverged(found: str) -> AlgorithmError:
    return AlgorithmError(
        f"training diverged in {found}; try lower bias_lr, linear_lr and factors_lr, scale the "
        "feature values to about 1, or set clip_gradient"
    )


def _check_finite(model: FMModel, epoch: int) -> None:
    """Check the parameters after the last update, which no loss has seen."""
    for name, values in (("w0", model.w0), ("w", model.w), ("V", model.V)):
        for start in range(0, len(values), _CHECKED_AT_ONCE):
            if not np.isfinite(values[start : start + _CHECKED_AT_ONCE]).all():
                raise _diverged(f"epoch {epoch}: {name} holds numbers that are not finite")
