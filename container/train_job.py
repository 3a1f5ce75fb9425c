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
from container.channels import read_channel
from container.job import TrainingJob, load_job
from container.settings import Paths, Settings
from fm_algo.artifact import save_model
from fm_algo.errors import AlgorithmError, FMError, PlatformError, UserError
from fm_algo.initialization import initial_model
from fm_algo.kernels.cpu import CPUKernel
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
    # All channels are read before training: a mistake in the last of them is found at once.
    rows = {}
    for name in job.channels:
        rows[name] = _load_channel(paths, job, name, stop)
        if stop.is_set():
            _log.warning("stopped before training began: no model is written")
            return

    kernel = CPUKernel(initial_model(hyperparameters), hyperparameters)
    _log.info(
        "fm-algo %s, %d CPU threads, %d training rows, %s",
        importlib.metadata.version("fm-algo"),
        kernel.num_threads,
        rows["train"].num_rows,
        hyperparameters,
    )
    log = logs.JobLog(job.resources.current_host, hyperparameters.epochs)
    reports = train(kernel, rows["train"], hyperparameters, stop.is_set)
    for report in _with_progress_bar(reports, job, rows["train"]):
        if isinstance(report, BatchReport):
            log.batch(report)
        else:
            validation = rows.get("validation")
            log.epoch(report, evaluate(kernel, kernel.model(), validation) if validation else [])

    path = save_model(paths.model, kernel.model(), msgspec.to_builtins(hyperparameters))
    _log.info("model written to %s", path)
    if stop.is_set():
        _log.warning("stopped by SIGTERM: the model is that of the last mini-batch trained")
    elif "test" in rows:
        log.test(evaluate(kernel, kernel.model(), rows["test"]))
    log.end()


def _make_model_directory(paths: Paths) -> None:
    """Make sure that there is a place for the model, before hours of training are lost."""
    try:
        paths.model.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"the model directory {paths.model} cannot be made: {error}") from error
    if not os.access(paths.model, os.W_OK):
        raise PlatformError(f"the model directory {paths.model} cannot be written to")


def _load_channel(paths: Paths, job: TrainingJob, name: str, stop: threading.Event) -> CSRBatch:
    """Read a whole channel into memory; what was read so far, once a stop is asked for."""
    batches = [CSRBatch.empty(job.hyperparameters.feature_dim, labelled=True)]
    for batch in read_channel(paths, job, name):
        batches.append(batch)
        if stop.is_set():
            break
    return CSRBatch.join(batches)


def _with_progress_bar(
    reports: Iterator[BatchReport | EpochReport], job: TrainingJob, rows: CSRBatch
) -> Iterator[BatchReport | EpochReport]:
    """Pass the reports on; on an interactive terminal, show how far training is."""
    total = job.hyperparameters.epochs * rows.num_rows
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
