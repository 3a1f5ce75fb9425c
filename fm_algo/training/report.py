"""Reports that training yields: after each step, after each epoch, and at its end."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fm_algo.training.metrics import Metric
from fm_algo.training.progress import Progress


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The state of training after one step of an epoch, such as a mini-batch.

    Attributes
    ----------
    epoch, batch : int
        Both count from 0.
    num_rows : int
        Rows of this step.
    metrics : list of Metric
        Metrics of the epoch so far; each row is predicted before its own update. Empty between two
        publications (hyperparameter batch_metrics_publish_interval).
    """

    epoch: int
    batch: int
    num_rows: int
    metrics: list[Metric]
    _progress: Callable[[], Progress] = Progress

    @property
    def progress(self) -> Progress:
        """Where training could resume; read it before you ask for the next report.

        Reading it waits for the learner.
        """
        return self._progress()


@dataclass(frozen=True, slots=True)
class EpochReport:
    """The results of one epoch.

    Attributes
    ----------
    epoch : int
        From 0.
    num_rows, num_batches : int
        Rows and steps trained in this epoch, including those before an interruption.
    elapsed_s : float
        Duration of the epoch, seconds.
    metrics : list of Metric
        Metrics of all rows of the epoch; each row is predicted before its own update.
    is_last : bool
        Whether training ends after this epoch.
    validation : list of Metric
        Metrics of the validation rows; empty if there are none, and after a stop.
    is_best : bool
        Whether early stopping is on and this epoch is the best so far.
    progress : Progress
        Where training could resume.
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

    @property
    def is_whole(self) -> bool:
        """Whether the epoch was completed, not cut short by a stop."""
        return self.progress.epoch > self.epoch


@dataclass(frozen=True, slots=True)
class EndReport:
    """How training ended.

    Attributes
    ----------
    is_stopped : bool
        Whether a stop was asked for.
    is_best_restored : bool
        Whether the learner now holds the model of an earlier epoch, the best one.
    """

    is_stopped: bool
    is_best_restored: bool = False


Report = BatchReport | EpochReport | EndReport
