"""What must outlive a training, as its course knows it."""

from typing import Protocol

from fm_algo.training.progress import Progress
from fm_algo.training.report import BatchReport, EpochReport


class Store(Protocol):
    """Keeps the model and, where wanted, checkpoints.

    Attributes
    ----------
    progress : Progress
        Where training is to go on.
    """

    progress: Progress

    def batch_done(self, report: BatchReport) -> None:
        """Take note of a step within an epoch."""
        ...

    def epoch_done(self, report: EpochReport) -> None:
        """Take note of an epoch; keep its model if it is the best."""
        ...

    def end(self) -> bool:
        """See that the model is in its place: the best epoch's, or as it is now.

        The learner has its parameters then. Return whether they are others than before.
        """
        ...

    def stop(self) -> None:
        """Save all at once, because a stop was asked for."""
        ...
