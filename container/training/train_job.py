"""Run one training job from start to exit code. Only this module writes the failure file."""

import atexit
import dataclasses
import importlib.metadata
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import msgspec

from container.settings import CLUSTER_PORT, Paths, Settings
from container.training import cluster, logs
from container.training.channel import MODEL_CHANNEL
from container.training.channel_rows import ChannelRows
from container.training.cluster import Cluster
from container.training.fields import learn_fields
from container.training.gpu_processes import read_told
from container.training.job import TrainingJob, load_job
from container.training.job_rows import load_channels
from container.training.model_channel import PLACE, load_start
from container.training.model_keeper import Keeper, leave_wanted
from container.training.observer import Observer
from container.training.out_of_memory import telling_what_fits
from container.training.stop_signal import listen
from fm_algo.errors import AlgorithmError, FMError, PlatformError, UserError, as_told
from fm_algo.sparse import CSRBatch
from fm_algo.training.evaluation import evaluate
from fm_algo.training.fit import fit
from fm_algo.training.initialization import draw_initial, start_at_mean
from fm_algo.training.metrics import RANKING_METRICS, Metric
from fm_algo.training.peers import Peers
from fm_algo.training.progress_bar import with_progress_bar
from fm_algo.training.ranking.queries import Queries, evaluate_ranking
from fm_algo.training.report import BatchReport, EpochReport
from fm_algo.training.state import ParameterStore
from fm_algo.training.warm_start import start_from

_log = logging.getLogger("fm_algo")

_FAILURE_CLASSES = {
    UserError: "ClientError",
    AlgorithmError: "AlgorithmError",
    PlatformError: "InternalServerError",
}


def main() -> NoReturn:
    """Run the job that the platform's files describe; exit with 0, or 1 and a failure file."""
    stop = listen()
    logs.set_up("INFO")
    paths = Paths.from_environment()

    def work() -> None:
        settings = Settings.from_environment()
        logs.set_up(settings.log_level)
        run(paths, stop, settings.cluster_port, settings.most_gpus)

    _exit(attempt(paths, work))


def main_of_gpu(gpu: int, port: int, told: str | None = None) -> NoReturn:
    """Run the part of the job on a further GPU of this host; exit with 0 or 1.

    Parameters
    ----------
    gpu : int
        The number of the GPU, from 1.
    port : int
        The port where it meets the first process of this or another host.
    told : str, optional
        Of a job of tables: what the first process tells of them, for `read_told`.
    """
    stop = listen()
    logs.set_up_quietly()
    try:
        run(Paths.from_environment(), stop, port, gpu=gpu, told=told)
    except Exception as error:  # noqa: BLE001 - as in `attempt`; the first process writes the file
        _log_failure(error)
        _exit(1)
    _exit(0)


def _exit(code: int) -> NoReturn:
    if code:
        # Torch threads may still wait for a lost host, and a normal exit beside them aborts. When
        # `_end` runs, all threads that have something to finish have finished.
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
    told: str | None = None,
) -> None:
    """Train, save the model, score the test channel.

    Parameters
    ----------
    paths : Paths
        The platform's tree.
    stop : threading.Event
        Once set, training ends after the present mini-batch. The model is saved, and a checkpoint
        if the platform wants one. Set on one of several hosts, it ends the job on all.
    cluster_port : int, optional
        The port where several hosts meet.
    most_gpus : int, optional
        How many of the host's GPUs the job may use.
    gpu : int, optional
        The GPU of this process; the process of GPU 0 starts the others.
    told : str, optional
        As for `main_of_gpu`.

    Raises
    ------
    FMError
        If the job fails on this or another host.
    """
    # The files are alike on all hosts.
    job = _with_features(paths, msgspec.structs.replace(load_job(paths), gpu=gpu), stop, told)
    if job is None:
        _stop_early()
        return
    with telling_what_fits(job):
        joined = cluster.join(job, cluster_port, stop, most_gpus)
        if joined is None:
            _stop_early()
            return
        with joined as hosts:  # the others hear of an error on this host
            _make_model_directory(paths)
            _train(paths, job, hosts, stop)
            if hosts.peers.rank == 0:
                leave_wanted(paths.model, job.hyperparameters.artifact)


def _with_features(
    paths: Paths, job: TrainingJob, stop: threading.Event, told: str | None
) -> TrainingJob | None:
    """Return the job with what its tables or its libffm text say of features; None after a stop."""
    if told is not None:
        return read_told(job, told)
    if job.learns_fields:
        fields = learn_fields(paths, job, stop.is_set)
        return None if fields is None else msgspec.structs.replace(job, fields=fields)
    if job.hyperparameters.columns is None:
        return job
    # Imported here: a job of numbered features does not need pyarrow.
    from container.training.tables.fit import learn_tables  # noqa: PLC0415

    return learn_tables(paths, job, stop.is_set)


def _train(paths: Paths, job: TrainingJob, hosts: Cluster, stop: threading.Event) -> None:
    learner, peers = hosts.learner, hosts.peers
    keeper = hosts.keeper(paths)
    if not keeper.is_resumed:
        _initialize(learner.writable_model(), paths, job)

    # Read all channels before training, to find a mistake in the last one at once.
    channels, buffer_bytes = load_channels(paths, job, keeper, stop)
    if peers.agree_on_stop():
        _stop_early(None if learner.needs_rows else keeper)
        return
    channels, buffer_bytes = _read_alike(channels, buffer_bytes, peers)
    keeper.take_rows(_describe_rows(job, channels), buffer_bytes)
    if not keeper.is_resumed and MODEL_CHANNEL not in job.channels:
        start_at_mean(learner.writable_model(), job.hyperparameters, channels["train"], peers)
    observer = Observer(paths, job, keeper.notes.batches_seen, is_leading=peers.rank == 0)
    train_rows = observer.take_rows(
        dataclasses.replace(channels["train"], buffer_bytes=buffer_bytes or 0)
    )
    _log.info(
        "fm-algo %s, %s, training rows %s, %s",
        importlib.metadata.version("fm-algo"),
        learner.description,
        "read again each epoch" if (rows := train_rows.cached) is None else rows.num_rows,
        job.hyperparameters,
    )
    learner.take_rows(train_rows)
    keeper.begin()
    queries = _load_queries(paths, job, channels, peers, stop)
    _follow(hosts, job, keeper, channels, observer, queries)


def _follow(
    hosts: Cluster,
    job: TrainingJob,
    keeper: Keeper,
    channels: dict[str, ChannelRows],
    observer: Observer,
    queries: Mapping[str, Queries],
) -> None:
    """Write the log of the training, and score the rows that are not trained on."""
    log = logs.JobLog(
        job.resources.current_host,
        job.hyperparameters.epochs,
        keeper.notes.records_seen,
        keeper.notes.batches_seen,
    )

    def evaluated(name: str, epoch: int, *, is_end: bool = True) -> list[Metric]:
        if name not in channels:
            return []
        metrics, is_scored = [], not hosts.peers.is_stopping()
        if job.hyperparameters.loss is None:  # else a margin alone means nothing
            blocks = observer.held_out(name, channels[name].blocks(epoch))
            metrics = _evaluate(hosts, job, name, blocks)
            is_scored = bool(metrics)
        is_ranked = is_scored and name in queries and (is_end or _ranks_each_epoch(hosts, job))
        return metrics + (
            evaluate_ranking(hosts.learner.model(), queries[name]) if is_ranked else []
        )

    reports = fit(
        hosts.learner,
        job.hyperparameters,
        keeper,
        hosts.peers,
        lambda epoch: evaluated("validation", epoch, is_end=False),
    )
    rows = channels["train"].cached
    positives = channels["train"].positives
    num_rows = None if rows is None else (positives or rows).num_rows
    total = None if num_rows is None else job.hyperparameters.epochs * num_rows
    # None: no bar if standard error is not a terminal, so that no log holds one.
    is_hidden = True if job.gpu else None
    for report in with_progress_bar(reports, total, is_hidden=is_hidden, stays=False):
        if isinstance(report, BatchReport):
            log.batch(report)
            observer.batch(report)
        elif isinstance(report, EpochReport):
            if not report.num_rows:
                num_hosts = len(job.resources.hosts)
                raise UserError(f"train channel is empty: no rows on any of {num_hosts} hosts")
            log.epoch(report, report.validation)
            observer.epoch(report)
        elif report.is_stopped:
            log.stopped()
            observer.stopped()
        else:
            # Tuning takes the last value, which must be that of the saved model. A FIFO cannot
            # be read again.
            is_other = report.is_best_restored or hosts.learner.saves_another
            again = is_other and not job.is_pipe("validation")
            validation = evaluated("validation", 0) if again else []
            log.validation(validation)
            test = evaluated("test", 0)
            log.test(test)
            observer.final(validation, test)
    observer.finish()
    log.end()


def _evaluate(
    hosts: Cluster, job: TrainingJob, name: str, blocks: Iterator[CSRBatch]
) -> list[Metric]:
    """Return the metrics of a channel; none after a stop, because rows may be missing."""
    metrics = evaluate(hosts.learner, job.hyperparameters.predictor_type, blocks, hosts.peers)
    if not hosts.peers.is_stopping():
        return metrics
    _log.warning("stopped by SIGTERM: the %s channel is not scored", name)
    return []


def _load_queries(
    paths: Paths,
    job: TrainingJob,
    channels: Mapping[str, ChannelRows],
    peers: Peers,
    stop: threading.Event,
) -> Mapping[str, Queries]:
    """Return what the users of channels are asked for, where rankings are judged."""
    if job.seen is None or not job.is_ranked:
        return {}
    if peers.size > 1:
        _log.warning("rankings are not judged: the model is spread over several GPUs")
        return {}
    # Imported here: as in `_with_features`.
    from container.training.queries import load_queries  # noqa: PLC0415

    return load_queries(paths, job, channels, stop.is_set)


def _ranks_each_epoch(hosts: Cluster, job: TrainingJob) -> bool:
    """Whether the model is asked for after each epoch: it may have to be made of many samples."""
    return (
        not hosts.learner.saves_another
        or job.hyperparameters.early_stopping_metric in RANKING_METRICS
    )


def _stop_early(keeper: Keeper | None = None) -> None:
    if keeper is not None and keeper.is_resumed:
        keeper.begin()
        keeper.stop()
    else:
        _log.warning("stopped before training began: no model is written")


def _initialize(model: ParameterStore, paths: Paths, job: TrainingJob) -> None:
    """Draw the initial parameters, and replace those that the model channel has."""
    draw_initial(model, job.hyperparameters)
    start = load_start(paths, job)
    if start is None:
        return
    earlier = start.model
    try:
        start_from(earlier, model, job.hyperparameters, job.moves)
    except UserError as error:
        raise UserError(f"{PLACE}: {error.message}") from error
    _log.info("starting from the model of the model channel, %d features", earlier.feature_dim)


def _describe_rows(job: TrainingJob, channels: dict[str, ChannelRows]) -> dict[str, str]:
    """Return a text that identifies the rows of each channel that decides on the model.

    Empty for several hosts: each has its own rows, but a checkpoint belongs to all.
    """
    if job.checkpoints is None or len(job.resources.hosts) > 1:
        return {}
    found = {"train": channels["train"].describe()}
    if job.tables is not None:
        found["train"] += f", {job.tables.describe_check()}"
    if job.hyperparameters.early_stopping_patience is not None and "validation" in job.channels:
        # Their origin alone: it depends on the machine whether these rows are in memory.
        found["validation"] = channels["validation"].describe_origin()
    return found


def _read_alike(
    channels: dict[str, ChannelRows], buffer_bytes: int | None, peers: Peers
) -> tuple[dict[str, ChannelRows], int | None]:
    """If one host must read training rows again, make all do so: a checkpoint notes one way."""
    nowhere = -1
    said = peers.gather([nowhere if buffer_bytes is None else buffer_bytes])
    buffers = said[said != nowhere]
    if not len(buffers):
        return channels, None
    train_rows = dataclasses.replace(channels["train"], cached=None)
    return channels | {"train": train_rows}, int(buffers.min())


def _make_model_directory(paths: Paths) -> None:
    """Make sure that the model can be written, before hours of training are lost."""
    try:
        paths.model.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"the model directory {paths.model} cannot be made: {error}") from error
    if not os.access(paths.model, os.W_OK):
        raise PlatformError(f"the model directory {paths.model} cannot be written to")


def _fail(paths: Paths, reason: str) -> int:
    """Write the failure file, cause first: the platform shows its first 1,024 characters."""
    try:
        paths.failure.parent.mkdir(parents=True, exist_ok=True)
        paths.failure.write_text(reason[:1024], encoding="utf-8")
    except OSError as error:
        _log.error("%s could not be written: %s", paths.failure, error)
    return 1
