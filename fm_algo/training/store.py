"""Where `fit` saves the model and the checkpoints: a protocol, and one that stays in memory."""

from typing import Protocol

from fm_algo.model import FMModel
from fm_algo.training.learner import Learner
from fm_algo.training.progress import Progress
from fm_algo.training.report import BatchReport, EpochReport


class Store(Protocol):
    """Saves the model and, if wanted, checkpoints.

    Attributes
    ----------
    progress : Progress
        Where training starts or resumes.
    """

    progress: Progress

    def batch_done(self, report: BatchReport) -> None:
        """Note a step of an epoch; write a checkpoint if one is due."""
        ...

    def epoch_done(self, report: EpochReport) -> None:
        """Note an epoch; save its model if it is the best so far, and write a checkpoint."""
        ...

    def end(self) -> bool:
        """Make sure that the final model is saved: the best epoch's, or else the present one.

        The learner holds its parameters afterwards. Return whether those are of an earlier epoch.
        """
        ...

    def stop(self) -> None:
        """Save the model, then a checkpoint, because a stop was asked for."""
        ...


class MemoryStore(Store):
    """Writes no file: keeps the model of the best epoch in memory, where early stopping is on.

    Parameters
    ----------
    learner : Learner
        Holds the final model after `end`.
    progress : Progress, optional
        Where training starts.
    """

    def __init__(self, learner: Learner, progress: Progress | None = None) -> None:
        self.progress = progress or Progress()
        self._learner = learner
        self._best: FMModel | None = None

    def batch_done(self, report: BatchReport) -> None:
        """Do nothing: there are no checkpoints."""

    def epoch_done(self, report: EpochReport) -> None:
        """Note an epoch, and copy its model if it is the best so far."""
        self.progress = report.progress
        if report.is_best:
            self._best = self._learner.model().copy()

    def end(self) -> bool:
        """Give the learner the best epoch's model; return whether it is of an earlier epoch."""
        best = self.progress.best
        if self._best is None or best is None:
            return False
        self._learner.load(self._best)
        return best.epoch + 1 != self.progress.epoch

    def stop(self) -> None:
        """Do what `end` does."""
        self.end()
