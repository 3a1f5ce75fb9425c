"""`ModelKeeper`: save the model and the checkpoints of a job, and resume from a checkpoint."""

import logging
from pathlib import Path
from typing import Protocol

import msgspec

from container.settings import Paths
from container.training.job import TrainingJob
from fm_algo.artifacts.artifact import MODEL_FILE, load_model, save_model
from fm_algo.artifacts.builtin.artifact import ARCHIVE, save_builtin_model
from fm_algo.artifacts.model_tensors import SlicedModel
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import Artifact, beyond_the_builtin
from fm_algo.model import FMModel
from fm_algo.model.plain import plain_in_slices
from fm_algo.training.checkpoint import Checkpoint, Checkpoints
from fm_algo.training.early_stopping import BestEpoch
from fm_algo.training.progress import Notes, Progress
from fm_algo.training.report import BatchReport, EpochReport
from fm_algo.training.state import Forms, State
from fm_algo.training.store import Store

_log = logging.getLogger("fm_algo")


class Kept(Protocol):
    """The part of a learner that is saved; a `Learner` is one."""

    def model(self) -> SlicedModel:
        """Return the present model for reading."""
        ...

    def load(self, model: FMModel) -> None:
        """Take a model in place of the present one."""
        ...

    def state(self) -> State:
        """Return everything that later steps depend on, for reading."""
        ...

    def writable_state(self, forms: Forms | None = None) -> State:
        """Return the same for writing; see `Learner`."""
        ...


class Keeper(Store, Protocol):
    """The interface of `ModelKeeper` that a training job uses."""

    notes: Notes

    @property
    def is_resumed(self) -> bool:
        """Whether the learner's numbers come from a checkpoint."""
        ...

    def take_rows(self, rows: dict[str, str], buffer_bytes: int | None) -> None:
        """Note what the job trains on."""
        ...

    def begin(self) -> None:
        """Put the best model so far in its place, once the learner can tell it."""
        ...


class ModelKeeper:
    """Saves the model and the checkpoints, and resumes from a checkpoint.

    With early stopping, the best model so far is saved in its final place at once. This needs no
    memory, and the platform finds it there whatever ends the job. The checkpoint of the best epoch
    is kept, so that a job restarted on another machine can save that model again.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    learner : Kept
        New; its parameters are 0.

    Raises
    ------
    UserError
        If there are checkpoints of a job with other hyperparameters.
    PlatformError
        If files cannot be read or written.

    Attributes
    ----------
    progress : Progress
        Where training continues.
    notes : Notes
        Notes of the code that reads rows and writes the log; kept in checkpoints.
    """

    def __init__(self, paths: Paths, job: TrainingJob, learner: Kept) -> None:
        self._paths = paths
        self._hyperparameters, self._tables = job.hyperparameters, job.tables
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
            # About the same rows; without shuffling exactly the same, to within one step.
            seen = self.progress.num_batches * self.notes.num_hosts // num_hosts
            self.progress = msgspec.structs.replace(self.progress, num_batches=seen)

    @property
    def is_resumed(self) -> bool:
        """Whether the learner's numbers come from a checkpoint; if not, they are not set yet."""
        return self._found is not None

    def take_rows(self, rows: dict[str, str], buffer_bytes: int | None) -> None:
        """Note what the job trains on, and check that the checkpoint was made from the same rows.

        Parameters
        ----------
        rows : dict of str to str
            By channel, a text that identifies its rows.
        buffer_bytes : int or None
            As in `Notes`.

        Raises
        ------
        UserError
            If the checkpoint was made from other rows: it counts other mini-batches.
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
        """Whether a checkpoint within an epoch is due."""
        return self._checkpoints is not None and self._checkpoints.is_due

    def batch_done(self, report: BatchReport) -> None:
        """Write a checkpoint after a mini-batch, if one is due."""
        if self.is_checkpoint_due:
            self.write_checkpoint(report.progress)

    def write_checkpoint(self, progress: Progress) -> None:
        """Write a checkpoint, if the platform wants them."""
        if self._checkpoints is not None:
            self._checkpoints.write(progress, self.notes, self._learner.state())

    def epoch_done(self, report: EpochReport) -> None:
        """Note the end of an epoch: save the model if it is the best, and write a checkpoint."""
        self.progress = report.progress
        if not report.is_whole:
            return
        self.notes = self.notes.after(report.num_rows, report.num_batches)
        if report.is_best:
            self._save()
        self.write_checkpoint(report.progress)

    def end(self) -> bool:
        """Put the model in its place: that of the best epoch, or the present one.

        The learner then has its parameters. Return whether they have changed.
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
        """Save the model, then a checkpoint, because the platform stops the job.

        The model comes first: the platform takes it when its time limit ends.
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
        """The epoch whose model to save; None means the present model."""
        is_judged = self._hyperparameters.early_stopping_patience is not None
        return self.progress.best if is_judged else None

    def _save(self) -> None:
        described = msgspec.to_builtins(self._hyperparameters)
        model = self._learner.model()
        path = save_model(self._paths.model, model, described, tables=self._tables)
        _log.info("model written to %s", path)
        if self._hyperparameters.artifact != "ours":
            difference = None
            if isinstance(model, FMModel):
                model, difference = plain_in_slices(model)
            path = save_builtin_model(self._paths.model, model, described)
            beyond = beyond_the_builtin(described)
            without = f", without what {' and '.join(beyond)} adds" if beyond else ""
            _log.info("model written to %s%s", path, without)
            if difference is not None:
                _log.info("%s", difference)


def leave_wanted(directory: Path, artifact: Artifact) -> None:
    """Remove our file from a finished job's model directory, if only the built-in's is wanted.

    Until then it is there: the best model and the report are read from it, and a job that is
    killed leaves a whole model.

    Parameters
    ----------
    directory : Path
    artifact : {"ours", "builtin", "both"}

    Raises
    ------
    PlatformError
        If it cannot be removed.
    """
    if artifact != "builtin" or not (directory / ARCHIVE).exists():
        return
    path = directory / MODEL_FILE
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise PlatformError(f"{path} cannot be removed: {error}") from error
