"""The protocol through which `fit` saves the model and the checkpoints."""

from typing import Protocol

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
