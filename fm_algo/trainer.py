"""The one epoch loop, for every kernel."""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fm_algo.errors import AlgorithmError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import Kernel
from fm_algo.metrics import Metric, metrics_for
from fm_algo.model import FMModel, PredictorType
from fm_algo.row_source import ReadAhead, RowSource
from fm_algo.sparse import CSRBatch

_BATCHES_AHEAD = 4
"""Mini-batches prepared while one is trained on."""

_EVALUATED_AT_ONCE = 1 << 16
"""Rows scored at once by `evaluate`."""


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


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What is known after an epoch.

    Attributes
    ----------
    epoch : int
        From 0.
    num_rows, num_batches : int
        Trained on in this epoch.
    elapsed_s : float
        Time the epoch took, seconds.
    metrics : list of Metric
        Of all rows of the epoch, each as predicted before its own update.
    is_last : bool
        Whether training ends here.
    """

    epoch: int
    num_rows: int
    num_batches: int
    elapsed_s: float
    metrics: list[Metric]
    is_last: bool


def train(
    kernel: Kernel,
    source: RowSource,
    hyperparameters: Hyperparameters,
    should_stop: Callable[[], bool] = lambda: False,
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
        epochs and batch_metrics_publish_interval.
    should_stop : callable, optional
        Asked after each mini-batch; once it says True the epoch ends there and is the last.

    Yields
    ------
    BatchReport or EpochReport

    Raises
    ------
    AlgorithmError
        When the loss is no longer a finite number: which epoch and mini-batch, and what to try.
    """
    interval = hyperparameters.batch_metrics_publish_interval
    for epoch in range(hyperparameters.epochs):
        started = time.perf_counter()
        sums = metrics_for(hyperparameters.predictor_type)
        stopped, num_batches = False, 0
        prepared_ahead = ReadAhead(map(kernel.prepare, source.mini_batches(epoch)), _BATCHES_AHEAD)
        with contextlib.closing(prepared_ahead):
            for number, prepared in enumerate(prepared_ahead):
                margin = kernel.step(prepared)
                sums.update(margin, prepared.batch.require_labels())
                num_batches += 1
                if not math.isfinite(sums.loss):
                    raise _diverged(f"epoch {epoch}, mini-batch {number}: the loss is {sums.loss}")
                published = sums.results() if number % interval == 0 else []
                yield BatchReport(epoch, number, prepared.batch.num_rows, published)
                stopped = should_stop()
                if stopped:
                    break
        is_last = stopped or epoch + 1 == hyperparameters.epochs
        elapsed_s = time.perf_counter() - started
        if is_last:
            _check_finite(kernel.model(), epoch)
        yield EpochReport(epoch, sums.num_rows, num_batches, elapsed_s, sums.results(), is_last)
        if is_last:
            return


def evaluate(
    kernel: Kernel, predictor_type: PredictorType, blocks: Iterable[CSRBatch]
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
    """
    sums = metrics_for(predictor_type, with_auc=True)
    for rows in blocks:
        for start in range(0, rows.num_rows, _EVALUATED_AT_ONCE):
            block = rows.rows(start, min(start + _EVALUATED_AT_ONCE, rows.num_rows))
            sums.update(kernel.margin(block), block.require_labels())
    return sums.results()


def _diverged(found: str) -> AlgorithmError:
    return AlgorithmError(
        f"training diverged in {found}; try lower bias_lr, linear_lr and factors_lr, scale the "
        "feature values to about 1, or set clip_gradient"
    )


def _check_finite(model: FMModel, epoch: int) -> None:
    """Check the parameters after the last update, which no loss has seen."""
    for name, values in (("w0", model.w0), ("w", model.w), ("V", model.V)):
        if not math.isfinite(float(values.sum(dtype=np.float64))):
            raise _diverged(f"epoch {epoch}: {name} holds numbers that are not finite")
