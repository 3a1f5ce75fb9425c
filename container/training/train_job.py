"""One training job from start to exit code; the only writer of the failure file."""

import atexit
import dataclasses
import importlib.metadata
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

import msgspec
import tqdm

from container.settings import CLUSTER_PORT, Paths, Settings
from container.training import cluster, logs
from container.training.channel_rows import ChannelRows, load_channel
from container.training.cluster import Cluster
from container.training.job import CHANNELS, MODEL_CHANNEL, TrainingJob, load_job
from container.training.model_keeper import Keeper
from container.training.stop_signal import listen
from container.training.warm_start import start_from
from fm_algo.errors import AlgorithmError, FMError, PlatformError, UserError, as_told
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.metrics import Metric
from fm_algo.runtime.machine import usable_memory_bytes
from fm_algo.sparse import CSRBatch
from fm_algo.training.initialization import draw_initial
from fm_algo.training.peers import Peers
from fm_algo.training.row_source import split_rows
from fm_algo.training.trainer import BatchReport, EpochReport, evaluate, train

_log = logging.getLogger("fm_algo")

_FAILURE_CLASSES = {
    UserError: "ClientError",
    AlgorithmError: "AlgorithmError",
    PlatformError: "InternalServerError",
}


def main() -> NoReturn:
    """Run the job that the platform's files describe; exit with 0, or with 1 and a failure file."""
    stop = listen()
    logs.set_up("INFO")
    paths = Paths.from_environment()

    def work() -> None:
        settings = Settings.from_environment()
        logs.set_up(settings.log_level)
        run(paths, stop, settings.cluster_port, settings.most_gpus)

    _exit(attempt(paths, work))


def main_of_gpu(gpu: int, port: int) -> NoReturn:
    """Take part in the job on a further GPU of this host; exit with 0 or 1.

    Parameters
    ----------
    gpu : int
        Its number, from 1.
    port : int
        Where the host's first process, or another's, is met.
    """
    stop = listen()
    logs.set_up_quietly()
    try:
        run(Paths.from_environment(), stop, port, gpu=gpu)
    except Exception as error:  # noqa: BLE001 - as in `attempt`; the first process writes the file
        _log_failure(error)
        _exit(1)
    _exit(0)


def _exit(code: int) -> NoReturn:
    if code:
        # Torch threads may still wait for a host that is lost; a process taken apart beside them
        # aborts. By then all threads that have something to finish have done so.
        atexit.register(_end, code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def attempt(paths: Paths, work: Callable[[], None]) -> int:
    """Do some work; if it fails, log why and write the failure file. Return the exit code."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - the one place: a job must say why it failed
        told = _log_failure(error)
        return _fail(paths, f"{_FAILURE_CLASSES[type(told)]}: {told}")
    return 0


def _log_failure(error: Exception) -> FMError:
    told = as_told(error)
    with_traceback = None if isinstance(error, UserError) else error
    _log.log(logging.ERROR, "%s", told, exc_info=with_traceback)
    return told


def run(
    paths: Paths,
    stop: threading.Event,
    cluster_port: int = CLUSTER_PORT,
    most_gpus: int = 1,
    gpu: int = 0,
) -> None:
    """Train, save the model, score the test channel.

    Parameters
    ----------
    paths : Paths
        The platform's tree.
    stop : threading.Event
        Once set, training ends after the present mini-batch and the model is saved, with a
        checkpoint where the platform wants them. Set at one of several hosts, all end so.
    cluster_port : int, optional
        Where several hosts meet.
    most_gpus : int, optional
        How many of the host's GPUs may be used.
    gpu : int, optional
        Which of them is this process's; the one of number 0 starts the others.

    Raises
    ------
    FMError
        Whatever kept the job, at this or another host, from its end.
    """
    job = load_job(paths)  # from files that are alike on all hosts
    job = msgspec.structs.replace(job, gpu=gpu)
    hosts = cluster.join(job, cluster_port, stop, most_gpus)
    if hosts is None:
        _stop_early()
        return
    with hosts:  # who hear of what is wrong on this one
        _make_model_directory(paths)
        _train(paths, job, hosts, stop)


def _train(paths: Paths, job: TrainingJob, hosts: Cluster, stop: threading.Event) -> None:
    hyperparameters = job.hyperparameters
    kernel, peers = hosts.kernel, hosts.peers
    keeper = hosts.keeper(paths)
    if not keeper.is_resumed:
        _initialize(hosts, paths, job)

    # Channels are read before training: a mistake in the last of them is found at once.
    channels, buffer_bytes = _load_channels(paths, job, keeper, stop)
    if peers.agree_on_stop():
        _stop_early(keeper)
        return
    channels, buffer_bytes = _read_alike(channels, buffer_bytes, peers)
    keeper.take_rows(_describe_rows(job, channels), buffer_bytes)
    _log.info(
        "fm-algo %s, %s, training rows %s, %s",
        importlib.metadata.version("fm-algo"),
        kernel.description,
        "read again each epoch" if (rows := channels["train"].cached) is None else rows.num_rows,
        hyperparameters,
    )
    log = logs.JobLog(
        job.resources.current_host,
        hyperparameters.epochs,
        keeper.notes.records_seen,
        keeper.notes.batches_seen,
    )

    def evaluated(name: str, epoch: int) -> list[Metric]:
        return _evaluate(hosts, job, name, channels[name].blocks(epoch)) if name in channels else []

    reports = train(
        kernel,
        channels["train"].source(job, kernel, buffer_bytes or 0),
        hyperparameters,
        peers.is_stopping,
        lambda epoch: evaluated("validation", epoch),
        keeper.progress,
        peers,
    )
    for report in _with_progress_bar(reports, job, channels["train"].cached):
        if isinstance(report, BatchReport):
            log.batch(report)
            keeper.batch_done(report)
            continue
        if not report.num_rows:
            num_hosts = len(job.resources.hosts)
            raise UserError(f"train channel is empty: no rows on any of {num_hosts} hosts")
        log.epoch(report, report.validation)
        keeper.progress = report.progress
        if report.progress.epoch > report.epoch:  # it was not stopped in the middle
            notes = msgspec.structs.replace(
                keeper.notes, records_seen=log.records_seen, batches_seen=log.batches_seen
            )
            keeper.epoch_done(report.progress, notes, is_best=report.is_best)

    if peers.agree_on_stop():
        log.stopped()
        keeper.stop()
    else:
        # The last value is what tuning takes: that of the model saved. No FIFO is read once more.
        again = keeper.end() and not job.is_pipe("validation")
        log.validation(evaluated("validation", 0) if again else [])
        log.test(evaluated("test", 0))
    log.end()


def _evaluate(
    hosts: Cluster, job: TrainingJob, name: str, blocks: Iterator[CSRBatch]
) -> list[Metric]:
    """Return the metrics of a channel; none after a stop, which may have cut the rows short."""
    metrics = evaluate(hosts.kernel, job.hyperparameters.predictor_type, blocks, hosts.peers)
    if not hosts.peers.is_stopping():
        return metrics
    _log.warning("stopped by SIGTERM: the %s channel is not scored", name)
    return []


def _stop_early(keeper: Keeper | None = None) -> None:
    if keeper is not None and keeper.is_resumed:
        keeper.stop()
    else:
        _log.warning("stopped before training began: no model is written")


def _initialize(hosts: Cluster, paths: Paths, job: TrainingJob) -> None:
    """Draw the parameters; of what the model channel has, take those instead."""
    model = hosts.writable_model()
    draw_initial(model, job.hyperparameters)
    if MODEL_CHANNEL in job.channels:
        known = start_from(paths.input_data / MODEL_CHANNEL, model, job.hyperparameters)
        _log.info("starting from the model of the model channel, %d features", known)


def _load_channels(
    paths: Paths, job: TrainingJob, keeper: Keeper, stop: threading.Event
) -> tuple[dict[str, ChannelRows], int | None]:
    """Read the channels into memory, as far as they fit.

    Returns
    -------
    channels : dict of str to ChannelRows
        Of no use once a stop was asked for.
    buffer_bytes : int or None
        Memory for shuffling training rows that are read again; None where they are not.
    """
    hyperparameters = job.hyperparameters
    budget_bytes = _memory_budget_bytes(hyperparameters)
    channels: dict[str, ChannelRows] = {}
    for name in filter(job.channels.__contains__, CHANNELS):
        most_bytes = budget_bytes
        is_as_before = keeper.is_resumed and keeper.notes.num_hosts == len(job.resources.hosts)
        if name == "train" and is_as_before:
            # As before the interruption, on whatever machine: the order of the rows depends on it.
            most_bytes = sys.maxsize if keeper.notes.buffer_bytes is None else -1
        channels[name] = load_channel(paths, job, name, most_bytes, stop.is_set)
        if stop.is_set():
            return channels, None
        budget_bytes -= channels[name].cached_bytes

    train_rows = channels["train"]
    if hyperparameters.validation_split is not None:
        if train_rows.cached is None:
            raise UserError(
                f"validation_split={hyperparameters.validation_split} needs the rows of the train "
                "channel in memory, where they do not fit: raise memory_budget_mb, or give a "
                "validation channel"
            )
        rest, drawn = _split_rows(train_rows.cached, job)
        channels["train"] = ChannelRows(train_rows.read, rest, train_rows.describe_origin)
        channels["validation"] = ChannelRows(train_rows.read, drawn, train_rows.describe_origin)
    if train_rows.cached is not None:
        return channels, None
    if keeper.notes.buffer_bytes is not None:
        return channels, keeper.notes.buffer_bytes
    return channels, max(budget_bytes // 3, 0)


def _describe_rows(job: TrainingJob, channels: dict[str, ChannelRows]) -> dict[str, str]:
    """Say of the channels that decide on the model what tells their rows from others.

    Nothing of several hosts: each has rows of its own, and a checkpoint is of all.
    """
    if job.checkpoints is None or len(job.resources.hosts) > 1:
        return {}
    found = {"train": channels["train"].describe()}
    if job.hyperparameters.early_stopping_patience is not None and "validation" in job.channels:
        # Whether these are in memory depends on the machine.
        found["validation"] = channels["validation"].describe_origin()
    return found


def _split_rows(rows: CSRBatch, job: TrainingJob) -> tuple[CSRBatch, CSRBatch]:
    """Draw validation rows; of several hosts, one without enough rows draws none."""
    if rows.num_rows < 2 and (job.gpu or len(job.resources.hosts) > 1):
        return rows, rows.rows(0, 0)
    try:
        return split_rows(rows, job.hyperparameters.validation_split or 0, job.hyperparameters.seed)
    except UserError as error:
        raise error.within("train channel") from error


def _read_alike(
    channels: dict[str, ChannelRows], buffer_bytes: int | None, peers: Peers
) -> tuple[dict[str, ChannelRows], int | None]:
    """Let all hosts read training rows again if one must: a checkpoint notes one way for all."""
    nowhere = -1
    said = peers.gather([nowhere if buffer_bytes is None else buffer_bytes])
    buffers = said[said != nowhere]
    if not len(buffers):
        return channels, None
    train_rows = dataclasses.replace(channels["train"], cached=None)
    return channels | {"train": train_rows}, int(buffers.min())


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
    # None: no bar where standard error is no terminal, so that no log holds one.
    hidden = True if job.gpu else None
    with tqdm.tqdm(total=total, unit=" rows", unit_scale=True, disable=hidden, leave=False) as bar:
        for report in reports:
            if isinstance(report, BatchReport):
                bar.update(report.num_rows)
            yield report


def _fail(paths: Paths, reason: str) -> int:
    """Write the failure file, the cause first: the platform shows 1,024 characters of it."""
    try:
        paths.failure.parent.mkdir(parents=True, exist_ok=True)
        paths.failure.write_text(reason[:1024], encoding="utf-8")
    except OSError as error:
        _log.error("%s could not be written: %s", paths.failure, error)
    return 1
