"""Write TensorBoard's event files: metrics by epoch and published batch, and hyperparameters."""

import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from container.settings import Paths
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.training.metrics import Metric
from fm_algo.training.report import BatchReport, EpochReport

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.summary_pb2 import Summary

_log = logging.getLogger("fm_algo")


class EventLog:
    """The event file of one job; a file that cannot be written is told once, and is no failure.

    Parameters
    ----------
    directory : Path or None
        Where to write; None writes nothing.
    batches_seen : int
        Mini-batches of the epochs before the job was interrupted.
    """

    def __init__(self, directory: Path | None, batches_seen: int = 0) -> None:
        self._batches_seen = batches_seen
        self._writer = None if directory is None else _open(directory)

    @classmethod
    def of_job(cls, paths: Paths, hyperparameters: Hyperparameters, batches_seen: int) -> Self:
        """Open the event file, if the hyperparameter or the directory asks for one."""
        is_wanted = hyperparameters.tensorboard
        if is_wanted is None:
            is_wanted = paths.tensorboard.is_dir()
        log = cls(paths.tensorboard if is_wanted else None, batches_seen)
        log.hyperparameters(hyperparameters)
        return log

    def hyperparameters(self, hyperparameters: Hyperparameters) -> None:
        """Write all hyperparameters as a table of text."""
        if self._writer is None:
            return
        from tensorboardX.summary import text  # noqa: PLC0415 - as in `_open`

        chosen = msgspec.structs.asdict(hyperparameters)
        rows = "".join(f"| {name} | {value} |\n" for name, value in chosen.items())
        self._write(text("hyperparameters", f"| name | value |\n|---|---|\n{rows}"), 0)

    def batch(self, report: BatchReport) -> None:
        """Write the metrics of the epoch so far, if the report has any."""
        self._scalars("batch", report.metrics, self._batches_seen + report.batch)

    def epoch(self, report: EpochReport) -> None:
        """Write the metrics of an epoch, so that they can be seen at once."""
        self._batches_seen += report.num_batches
        self._scalars("train", report.metrics, report.epoch)
        self._scalars("validation", report.validation, report.epoch)

    def close(self) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):  # each event has been flushed
                writer.close()

    def _scalars(self, group: str, metrics: Sequence[Metric], step: int) -> None:
        if self._writer is None:
            return
        from tensorboardX.summary import scalar  # noqa: PLC0415

        for metric in metrics:
            self._write(scalar(f"{group}/{metric.name}", metric.value), step)

    def _write(self, summary: "Summary", step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event  # noqa: PLC0415

        writer = self._writer
        if writer is None:
            return
        try:
            writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
            writer.flush()
        except OSError as error:
            self._writer = None
            _log.warning("TensorBoard's events are not written any more: %s", error)


def _open(directory: Path) -> "EventsWriter | None":
    # Imported here: most jobs write no events. Not by SummaryWriter: its queue would hold up
    # training for good once its thread has died of a full disk.
    try:
        from tensorboardX.event_file_writer import EventsWriter  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _log.warning(
            "TensorBoard's events are not written: %s; pip install 'fm-algo[tensorboard]'", error
        )
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return EventsWriter(str(directory / "events"))
    except OSError as error:
        _log.warning("TensorBoard's events are not written to %s: %s", directory, error)
        return None
