"""What a training tells on its way."""

from collections.abc import Callable
from dataclasses import dataclass, field

from fm_algo.training.metrics import Metric
from fm_algo.training.progress import Progress


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What is known after a step of an epoch, such as a mini-batch.

    Attributes
    ----------
    epoch, batch : int
        Both from 0.
    num_rows : int
        Rows of this step.
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

        Waits for the learner.
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

    @property
    def is_whole(self) -> bool:
        """Whether no stop has cut the epoch short."""
        return self.progress.epoch > self.epoch


@dataclass(frozen=True, slots=True)
class EndReport:
    """How a training has ended.

    Attributes
    ----------
    is_stopped : bool
        Whether a stop was asked for.
    is_best_restored : bool
        Whether the learner's model is now that of an earlier epoch, the best.
    """

    is_stopped: bool
    is_best_restored: bool = False


Report = BatchReport | EpochReport | EndReport
