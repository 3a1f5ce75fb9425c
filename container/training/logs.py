"""Set up the log, and write the lines that tuning and dashboards read by regular expression.

The metric lines have exactly the built-in algorithm's form: a comma after `epoch=0`, none after
`batch=0`, and literal angle brackets.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence

from fm_algo.training.metrics import Metric
from fm_algo.training.report import BatchReport, EpochReport

_log = logging.getLogger("fm_algo.metrics")


class _UTCFormatter(logging.Formatter):
    converter = staticmethod(time.gmtime)


def set_up(level: str) -> None:
    """Send the log to standard output in the built-in's form; flush each line."""
    formatter = _UTCFormatter(
        "[%(asctime)s %(levelname)s %(thread)d] %(message)s", datefmt="%m/%d/%Y %H:%M:%S"
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    _log.setLevel(logging.INFO)  # no level may hide these lines: tuning reads them
    logging.getLogger("numba").setLevel(logging.WARNING)  # DEBUG means our log, not the compiler's
    for drawing in ("matplotlib", "PIL"):
        logging.getLogger(drawing).setLevel(logging.ERROR)  # nor where it keeps its fonts


def set_up_quietly() -> None:
    """Log only errors: another process of this host logs the rest."""
    set_up("ERROR")
    _log.setLevel(logging.ERROR)


class JobLog:
    """The lines of one training job.

    Parameters
    ----------
    host : str
        Name of this host.
    epochs : int
        How many epochs are planned.
    records_seen, batches_seen : int, optional
        Counts of the epochs before the job was interrupted.

    Attributes
    ----------
    records_seen, batches_seen : int
        Counts of the epochs so far.
    """

    def __init__(
        self, host: str, epochs: int, records_seen: int = 0, batches_seen: int = 0
    ) -> None:
        self._host = host
        self._not_final: EpochReport | None = None
        self._epochs = epochs
        self._started = time.time()
        self.records_seen = records_seen
        self.batches_seen = batches_seen

    def batch(self, report: BatchReport) -> None:
        """Write the metrics of the epoch so far, if the report has any."""
        self._quality(f"epoch={report.epoch}, batch={report.batch} train", report.metrics)

    def epoch(self, report: EpochReport, validation: Sequence[Metric]) -> None:
        """Write an epoch's metrics, progress and throughput; after the last one, final metrics."""
        prefix = f"epoch={report.epoch},"
        self._quality(f"{prefix} train", report.metrics)
        self._quality(f"{prefix} validation", validation)
        self._not_final = None if report.is_last else report
        if report.is_last:
            self._final(report.metrics, validation)
        elapsed_ms = report.elapsed_s * 1000
        self._metrics({"epochs": self._epochs, "update.time": elapsed_ms}, report.elapsed_s)
        done = 100 * (report.epoch + 1) / self._epochs
        _log.info("#progress_metric: host=%s, completed %.1f %% of epochs", self._host, done)
        self._iterator("training_data_iter", report)
        throughput = report.num_rows / max(report.elapsed_s, 1e-9)
        _log.info(
            "#throughput_metric: host=%s, train throughput=%s records/second",
            self._host,
            throughput,
        )

    def stopped(self) -> None:
        """Write the final metrics, if the stop came between two epochs."""
        if self._not_final is not None:
            self._final(self._not_final.metrics, self._not_final.validation)

    def validation(self, metrics: Sequence[Metric]) -> None:
        """Write the final metrics again, because the saved model is not that of the last epoch."""
        self._quality("validation", metrics)

    def test(self, metrics: Sequence[Metric]) -> None:
        """Write the metrics of the test channel, in both of the built-in's forms."""
        metrics = _finite("test", metrics)
        for metric in metrics:
            _log.info("#test_score (%s) : (%r, %r)", self._host, metric.name, metric.value)
        self._quality("test", metrics)

    def end(self) -> None:
        """Write the time of the whole job."""
        elapsed_s = time.time() - self._started
        self._metrics({"totaltime": elapsed_s * 1000}, elapsed_s)

    def _final(self, train: Sequence[Metric], validation: Sequence[Metric]) -> None:
        self._quality("train", train)
        self._quality("validation", validation)

    def _quality(self, what: str, metrics: Sequence[Metric]) -> None:
        for metric in _finite(what, metrics):
            _log.info(
                "#quality_metric: host=%s, %s %s <%s>=%r",
                self._host,
                what,
                metric.name,
                metric.kind,
                metric.value,
            )

    def _iterator(self, meta: str, report: EpochReport) -> None:
        self.records_seen += report.num_rows
        self.batches_seen += report.num_batches
        metrics = {
            "Total Records Seen": self.records_seen,
            "Total Batches Seen": self.batches_seen,
            "Max Records Seen Between Resets": report.num_rows,
            "Max Batches Seen Between Resets": report.num_batches,
            "Reset Count": report.epoch + 1,
            "Number of Records Since Last Reset": report.num_rows,
            "Number of Batches Since Last Reset": report.num_batches,
        }
        self._metrics(metrics, report.elapsed_s, {"epoch": report.epoch, "Meta": meta})

    def _metrics(
        self,
        values: Mapping[str, float],
        elapsed_s: float,
        dimensions: Mapping[str, int | str] | None = None,
    ) -> None:
        """Write a `#metrics` line: one JSON object without the log's prefix, with times in ms."""
        end = time.time()
        line = {
            "StartTime": end - elapsed_s,
            "EndTime": end,
            "Dimensions": {
                "Algorithm": "factorization-machines",
                "Host": self._host,
                "Operation": "training",
                **(dimensions or {}),
            },
            "Metrics": {
                name: {"sum": float(value), "count": 1, "min": value, "max": value}
                for name, value in values.items()
            },
        }
        sys.stdout.write(f"#metrics {json.dumps(line)}\n")
        sys.stdout.flush()


def _finite(what: str, metrics: Sequence[Metric]) -> list[Metric]:
    """Leave out metrics that are nan or inf, with a warning: tuning could not read them."""
    for metric in metrics:
        if not math.isfinite(metric.value):
            _log.warning("%s %s is %r: not written as a metric", what, metric.name, metric.value)
    return [metric for metric in metrics if math.isfinite(metric.value)]
