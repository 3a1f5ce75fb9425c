"""One training job from start to exit code; the only writer of the failure file."""

import importlib.metadata
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import msgspec
import tqdm

from container import logs
from container.channel_rows import ChannelRows, load_channel
from container.job import CHANNELS, TrainingJob, load_job
from container.settings import Paths, Settings
from fm_algo.artifact import save_model
from fm_algo.errors import AlgorithmError, FMError, PlatformError, UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.initialization import draw_initial
from fm_algo.kernels.cpu import CPUKernel
from fm_algo.machine import usable_memory_bytes
from fm_algo.metrics import Metric
from fm_algo.sparse import CSRBatch
from fm_algo.trainer import BatchReport, EpochReport, evaluate, train

_log = logging.getLogger("fm_algo")

_FAILURE_CLASSES = {
    UserError: "ClientError",
    AlgorithmError: "AlgorithmError",
    PlatformError: "InternalServerError",
}


def main() -> NoReturn:
    """Run the job that the platform's files describe; exit with 0, or with 1 and a failure file."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.set())
    logs.set_up("INFO")
    paths = Paths.from_environment()
    try:
        logs.set_up(Settings.from_environment().log_level)
        run(paths, stop)
    except FMError as error:
        with_traceback = None if isinstance(error, UserError) else error
        _log.log(logging.ERROR, "%s", error, exc_info=with_traceback)
        _fail(paths, f"{_FAILURE_CLASSES[type(error)]}: {error}")
    except MemoryError as error:
        _log.exception("out of memory")
        _fail(paths, f"ClientError: out of memory: use a larger instance ({error})")
    except Exception as error:  # noqa: BLE001 - the one place: a job must say why it failed
        _log.exception("internal error")
        _fail(
            paths,
            f"AlgorithmError: internal error: {error} (caused by {type(error).__name__})",
        )
    sys.exit(0)


def run(paths: Paths, stop: threading.Event) -> None:
    """Train, save the model, score the test channel.

    Parameters
    ----------
    paths : Paths
        The platform's tree.
    stop : threading.Event
        Once set, training ends after the present mini-batch and the model is saved as it is.

    Raises
    ------
    FMError
        Whatever kept the job from its end.
    """
    job = load_job(paths)
    hyperparameters = job.hyperparameters
    _make_model_directory(paths)
    # Channels are read before training: a mistake in the last of them is found at once.
    budget_bytes = _memory_budget_bytes(hyperparameters)
    channels: dict[str, ChannelRows] = {}
    for name in CHANNELS:
        if name in job.channels:
            channels[name] = load_channel(paths, job, name, budget_bytes, stop.is_set)
            budget_bytes -= channels[name].cached_bytes
        if stop.is_set():
            _log.warning("stopped before training began: no model is written")
            return

    kernel = CPUKernel(hyperparameters)
    draw_initial(kernel.model(), hyperparameters)
    _log.info(
        "fm-algo %s, %d CPU threads, training rows %s, %s",
        importlib.metadata.version("fm-algo"),
        kernel.num_threads,
        "read again each epoch" if (rows := channels["train"].cached) is None else rows.num_rows,
        hyperparameters,
    )
    log = logs.JobLog(job.resources.current_host, hyperparameters.epochs)

    def evaluated(name: str, epoch: int) -> list[Metric]:
        if name not in channels or stop.is_set():
            return []
        return evaluate(kernel, hyperparameters.predictor_type, channels[name].blocks(epoch))

    source = channels["train"].source(job, budget_bytes // 2)
    reports = train(kernel, source, hyperparameters, stop.is_set)
    for report in _with_progress_bar(reports, job, channels["train"].cached):
        if isinstance(report, BatchReport):
            log.batch(report)
        else:
            log.epoch(report, evaluated("validation", report.epoch))

    path = save_model(paths.model, kernel.model(), msgspec.to_builtins(hyperparameters))
    _log.info("model written to %s", path)
    if stop.is_set():
        _log.warning("stopped by SIGTERM: the model is that of the last mini-batch trained")
    log.test(evaluated("test", 0))
    log.end()


def _memory_budget_bytes(hyperparameters: Hyperparameters) -> int:
    """Memory for decoded rows: as asked for, else half of what this process may use."""
    if hyperparameters.memory_budget_mb is not None:
        return hyperparameters.memory_budget_mb << 20
    return usable_memory_bytes() // 2


def _make_model_directory(paths: Paths) -> None:
    """Make sure that there is a place for the model, before hours of training are lost."""
    try:
        paths.model.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"the model directory {paths.model} cannot be made: {error}") from error
    if not os.access(paths.model, os.W_OK):
        raise PlatformError(f"the model directory {paths.model} cannot be written to")


def _with_progress_bar(
    reports: Iterator[BatchReport | EpochReport], job: TrainingJob, rows: CSRBatch | None
) -> Iterator[BatchReport | EpochReport]:
    """Pass the reports on; on an interactive terminal, show how far training is."""
    total = None if rows is None else job.hyperparameters.epochs * rows.num_rows
    # disable=None: no bar where standard error is no terminal, so that no log holds one.
    with tqdm.tqdm(total=total, unit=" rows", unit_scale=True, disable=None, leave=False) as bar:
        for report in reports:
            if isinstance(report, BatchReport):
                bar.update(report.num_rows)
            yield report


def _fail(paths: Paths, reason: str) -> NoReturn:
    """Write the failure file, the cause first: the platform shows 1,024 characters of it."""
    try:
        paths.failure.parent.mkdir(parents=True, exist_ok=True)
        paths.failure.write_text(reason[:1024], encoding="utf-8")
    except OSError as error:
        _log.error("%s could not be written: %s", paths.failure, error)
    sys.exit(1)
