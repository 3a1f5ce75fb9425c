"""What of a job must outlive its process: the model it will serve and the checkpoints."""

import logging
from typing import Protocol

import msgspec

from container.settings import Paths
from container.training.job import TrainingJob
from fm_algo.artifacts.artifact import SlicedModel, load_model, save_model
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.training.checkpoint import Checkpoint, Checkpoints
from fm_algo.training.early_stopping import BestEpoch
from fm_algo.training.progress import Notes, Progress
from fm_algo.training.report import BatchReport, EpochReport
from fm_algo.training.state import Forms, State
from fm_algo.training.store import Store

_log = logging.getLogger("fm_algo")


class Kept(Protocol):
    """What of a learner is kept; a `Learner` is one."""

    def model(self) -> SlicedModel:
        """Return the present model, to be read."""
        ...

    def load(self, model: FMModel) -> None:
        """Take a model in place of the present one."""
        ...

    def state(self) -> State:
        """Return all that later steps depend on, to be read."""
        ...

    def writable_state(self, forms: Forms | None = None) -> State:
        """Return the same, to be filled; see `Learner`."""
        ...


class Keeper(Store, Protocol):
    """`ModelKeeper`, as the course of a job knows it."""

    notes: Notes

    @property
    def is_resumed(self) -> bool:
        """Whether the learner's numbers are those of a checkpoint."""
        ...

    def take_rows(self, rows: dict[str, str], buffer_bytes: int | None) -> None:
        """Take note of what is trained on."""
        ...

    def begin(self) -> None:
        """Put the best model so far in its place, once the learner can tell it."""
        ...


class ModelKeeper:
    """Saves the model and the checkpoints, and goes on from them.

    With early stopping the best model so far lies in its final place from the moment it is known:
    it costs no memory, and whatever ends the job, the platform finds it there. The checkpoint of
    the best epoch is kept, so that a job started anew on another machine can put it there again.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    learner : Kept
        New, its parameters 0.

    Raises
    ------
    UserError
        If there are checkpoints of a job with other hyperparameters.
    PlatformError
        If files cannot be read or written.

    Attributes
    ----------
    progress : Progress
        Where training is to go on.
    notes : Notes
        Of whoever reads the rows and writes the log; kept in checkpoints.
    """

    def __init__(self, paths: Paths, job: TrainingJob, learner: Kept) -> None:
        self._paths = paths
        self._hyperparameters = job.hyperparameters
        self._learner = learner
        self._checkpoints: Checkpoints | None = None
        self._found: Checkpoint | None = None
        self.progress, self.notes = Progress(), Notes()
        if job.checkpoints is None:
            return
        self._checkpoints = Checkpoints(job.checkpoints, job.hyperparameters)
        self._found = found = self._checkpoints.restore_newest(learner.writable_state)
        if found is None:
            return
        _log.info("going on from the checkpoint %s", found.path)
        self.progress, self.notes = found.progress, found.notes
        num_hosts = len(job.resources.hosts)
        if self.notes.num_hosts != num_hosts:
            # About the same rows: exactly those where nothing is shuffled, to within one step.
            seen = self.progress.num_batches * self.notes.num_hosts // num_hosts
            self.progress = msgspec.structs.replace(self.progress, num_batches=seen)

    @property
    def is_resumed(self) -> bool:
        """Whether the learner's numbers are those of a checkpoint; if not, it has none yet."""
        return self._found is not None

    def take_rows(self, rows: dict[str, str], buffer_bytes: int | None) -> None:
        """Take note of what is trained on; see that it is what a checkpoint is of.

        Parameters
        ----------
        rows : dict of str to str
            By channel, what tells its rows from others.
        buffer_bytes : int or None
            As in `Notes`.

        Raises
        ------
        UserError
            If the checkpoint is of other rows: the mini-batches would not be those it counts.
        """
        written = self.notes.rows
        differences = [
            f"{name} channel: {written[name]} there, {rows[name]} here"
            for name in rows
            if name in written and written[name] != rows[name]
        ]
        if self._found is not None and differences:
            raise UserError(
                f"the checkpoint {self._found.path} is of a job with other rows: "
                f"{'; '.join(differences)}; use the same, or a checkpoint path of its own; to go "
                "on with new rows, give the model in a model channel"
            )
        self.notes = msgspec.structs.replace(
            self.notes, num_hosts=1, rows=rows, buffer_bytes=buffer_bytes
        )

    def begin(self) -> None:
        """Put the best model of the job so far in its place, where a checkpoint knows of one.

        Raises
        ------
        PlatformError
            If its checkpoint, or the one that training goes on from, is no longer what it was.
        """
        if self._checkpoints is None or self._found is None or self._best is None:
            return
        self._checkpoints.restore_best(self._best, self._learner.writable_state)
        self._save()
        self._checkpoints.restore(self._found, self._learner.writable_state)

    @property
    def is_checkpoint_due(self) -> bool:
        """Whether it is time for a checkpoint within an epoch."""
        return self._checkpoints is not None and self._checkpoints.is_due

    def batch_done(self, report: BatchReport) -> None:
        """Write a checkpoint after a mini-batch, if it is time."""
        if self.is_checkpoint_due:
            self.write_checkpoint(report.progress)

    def write_checkpoint(self, progress: Progress) -> None:
        """Write a checkpoint, if the platform wants them."""
        if self._checkpoints is not None:
            self._checkpoints.write(progress, self.notes, self._learner.state())

    def epoch_done(self, report: EpochReport) -> None:
        """Take note of an epoch: save the model if it is the best, and write a checkpoint."""
        self.progress = report.progress
        if not report.is_whole:
            return
        self.notes = self.notes.after(report.num_rows, report.num_batches)
        if report.is_best:
            self._save()
        self.write_checkpoint(report.progress)

    def end(self) -> bool:
        """See that the model is in its place: the best epoch's, or as it is now.

        The learner has its parameters then. Return whether they are others than before.
        """
        if self._best is None:
            self._save()
        if self._checkpoints is not None:
            self._checkpoints.finish()
        if self._best is None:
            return False
        self._learner.load(load_model(self._paths.model))
        _log.info("the model is that of epoch %d, the best: %r", self._best.epoch, self._best.value)
        return self._best.epoch + 1 != self.progress.epoch

    def stop(self) -> None:
        """Save the model, then how far training is, because the platform says so.

        The model comes first: it is what the platform takes when its patience ends.
        """
        if self._best is None:
            self._save()
        if self._checkpoints is not None:
            self._checkpoints.write(self.progress, self.notes, self._learner.state())
            self._checkpoints.finish()
        best = self._best
        which = "the last mini-batch trained" if best is None else f"epoch {best.epoch}, the best"
        _log.warning("stopped by SIGTERM: the model is that of %s", which)

    @property
    def _best(self) -> BestEpoch | None:
        """The epoch whose model is to be saved; None: save the present one."""
        is_judged = self._hyperparameters.early_stopping_patience is not None
        return self.progress.best if is_judged else None

    def _save(self) -> None:
        described = msgspec.to_builtins(self._hyperparameters)
        path = save_model(self._paths.model, self._learner.model(), described)
        _log.info("model written to %s", path)
