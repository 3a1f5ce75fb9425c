"""`Observer`: watch a job, tell of its data, and at its end judge its model and report on it."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec

from container.settings import Paths
from container.training.event_log import EventLog
from container.training.job import TrainingJob
from fm_algo.answers.report.page import make_page
from fm_algo.artifacts.artifact import load_model
from fm_algo.artifacts.whole_file import write_whole
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.census import Census
from fm_algo.training.metrics import Metric
from fm_algo.training.report import BatchReport, EpochReport
from fm_algo.training.report_data import Course, collect, numbers, score
from fm_algo.training.row_sample import RowSample
from fm_algo.training.rows import Rows, weigh_positives
from fm_algo.training.verdict import Outcome, Verdict, judge

_log = logging.getLogger("fm_algo")
_R = TypeVar("_R", bound=Rows)

_LONGEST_STOP_S = 60.0
"""After a stop, a model that takes longer to save leaves no time for a report."""


class Observer:
    """What the first of a job's hosts notes on the way, and says at the end.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    batches_seen : int
        Mini-batches of the epochs before the job was interrupted.
    is_leading : bool
        Whether this host is the first; the others note nothing.
    """

    def __init__(
        self, paths: Paths, job: TrainingJob, batches_seen: int, *, is_leading: bool
    ) -> None:
        self._paths = paths
        self._job = job
        self._is_leading = is_leading
        self._started = time.monotonic()
        self._stopped: float | None = None
        feature_dim = job.hyperparameters.feature_dim if is_leading else 0
        self._census = Census(feature_dim, job.hyperparameters.seed)
        self._has_told = False
        self._held_out: dict[str, RowSample] = {}
        self._epochs: list[EpochReport] = []
        self._validation: Sequence[Metric] = ()
        self._test: Sequence[Metric] = ()
        self._events = EventLog(None)
        if is_leading:
            self._events = EventLog.of_job(paths, job.hyperparameters, batches_seen)

    def take_rows(self, rows: _R) -> _R:
        """Count the training rows, if they are in memory; return what they are to be read from."""
        if not self._is_leading:
            return rows
        watched = self._census.watch(rows)
        self._tell()
        return watched

    def held_out(self, name: str, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        """Pass on the rows of a channel that is scored; the first time, keep a sample."""
        if not self._is_leading or name in self._held_out:
            return blocks
        sample = self._held_out[name] = RowSample(self._job.hyperparameters.seed)
        return sample.watch(blocks)

    def batch(self, report: BatchReport) -> None:
        """Note a mini-batch."""
        self._events.batch(report)

    def epoch(self, report: EpochReport) -> None:
        """Note an epoch."""
        self._events.epoch(report)
        self._epochs.append(report)
        self._tell()

    def stopped(self) -> None:
        """Note that the platform stops the job."""
        self._stopped = time.monotonic()

    def final(self, validation: Sequence[Metric], test: Sequence[Metric]) -> None:
        """Note the saved model's metrics; no validation metrics if they are those noted last."""
        self._validation, self._test = validation, test

    def finish(self) -> None:
        """Judge the model, which is saved by now, and write the report.

        Whatever goes wrong here is one line in the log.
        """
        self._events.close()
        has_time = self._stopped is None or time.monotonic() - self._stopped < _LONGEST_STOP_S
        if not (self._is_leading and has_time):
            return
        try:
            self._finish()
        except Exception as error:  # noqa: BLE001 - the model is saved, and no report is worth it
            told = " ".join(f"{type(error).__name__}: {error}".split())
            _log.warning("no report is written: %s", told)

    def _finish(self) -> None:
        model, facts = load_model(self._paths.model), self._census.facts()
        train_rows = self._census.sample.rows()
        place, rows = self._scored_rows(train_rows)
        course = Course(
            hyperparameters=self._job.hyperparameters,
            num_hosts=len(self._job.resources.hosts),
            epochs=self._epochs,
            validation=self._validation,
            test=self._test,
            elapsed_s=time.monotonic() - self._started,
            facts=facts,
            train_rows=train_rows,
            encoder=None if self._job.tables is None else self._job.tables.encoder,
        )
        verdict, outcome = None, None
        is_ranking = self._job.hyperparameters.loss is not None
        if rows is not None and train_rows is not None and not is_ranking:
            rows = weigh_positives(rows, self._job.hyperparameters.positive_weight)
            outcome = score(model, place, rows, self._epochs)
            verdict = judge(self._job.hyperparameters, facts, outcome)
            if not verdict.is_better:
                _log.warning("%s", verdict)
        if self._job.hyperparameters.report:
            self._write(model, course, outcome, verdict)

    def _write(
        self, model: FMModel, course: Course, outcome: Outcome | None, verdict: Verdict | None
    ) -> None:
        directory = self._paths.output_data
        directory.mkdir(parents=True, exist_ok=True)
        with write_whole(directory / "metrics.json") as file:
            encoded = msgspec.json.encode(numbers(course, verdict))
            file.write(msgspec.json.format(encoded) + b"\n")
        try:
            page = make_page(collect(model, course, outcome, verdict))
        except ModuleNotFoundError as error:
            _log.warning("no report.html is written: %s; pip install 'fm-algo[report]'", error)
            return
        path = directory / "report.html"
        with write_whole(path) as file:
            file.write(page.encode())
        _log.info("report written to %s", path)

    def _scored_rows(self, train_rows: CSRBatch | None) -> tuple[str, CSRBatch | None]:
        """Return a sample of rows that were not trained on, if there are any, and what it is of."""
        for name in ("validation", "test"):
            rows = self._held_out[name].rows() if name in self._held_out else None
            if rows is not None and rows.num_rows:
                return name, rows
        return "training", train_rows

    def _tell(self) -> None:
        """Say once what the rows are like, when all have been seen."""
        if self._has_told or not self._census.is_complete:
            return
        self._has_told = True
        facts = self._census.facts()
        if not facts.num_rows:
            return
        where = " of this host" if len(self._job.resources.hosts) > 1 else ""
        predicts = self._job.hyperparameters.loss is None
        told = facts.told(with_labels=predicts)
        _log.info("training data%s: %s", where, "; ".join(told))
        if facts.has_one_label and predicts:
            _log.warning(
                "all labels of the training rows%s are %g: there is nothing to learn from them",
                where,
                facts.label_min,
            )
