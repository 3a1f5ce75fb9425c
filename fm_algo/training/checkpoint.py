"""Write and restore checkpoints, from which training resumes as if it had never stopped.

A checkpoint is one file (`checkpoint_file`), which appears whole or not at all. The names follow
SageMaker's uploader: it skips a file whose name ends in `.sagemaker-ignore`. A file with the
ending `.sagemaker-uploading` lies beside each file that it is uploading.
"""

import contextlib
import logging
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fm_algo.artifacts.whole_file import write_whole
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import Hyperparameters, shapes_model
from fm_algo.training.checkpoint_file import CheckpointReader, NotUsableError, write_checkpoint
from fm_algo.training.early_stopping import BestEpoch
from fm_algo.training.progress import Notes, Progress
from fm_algo.training.state import Forms, State

_log = logging.getLogger(__name__)
_NAME = re.compile(r"fm-([0-9]{6,})-([0-9]{9,})\.checkpoint")
_IGNORED, _UPLOADING, _UPLOADED = (
    ".sagemaker-ignore",
    ".sagemaker-uploading",
    ".sagemaker-uploaded",
)

Room = Callable[[Forms], State]
"""Returns the arrays to fill. Those that depend on the training rows get the given forms."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint on disk.

    Attributes
    ----------
    path : Path
    progress : Progress
    notes : Notes
    """

    path: Path
    progress: Progress
    notes: Notes


class Checkpoints:
    """The checkpoints of one job.

    Parameters
    ----------
    directory : Path
        Created if it does not exist. Other files in it are left alone.
    hyperparameters : Hyperparameters
        checkpoint_interval and checkpoint_keep are used here. Each checkpoint stores the others;
        they are compared when training resumes.

    Raises
    ------
    PlatformError
        If nothing can be written there.
    """

    def __init__(self, directory: Path, hyperparameters: Hyperparameters) -> None:
        self._directory = directory
        self._hyperparameters = hyperparameters
        self._written_at = time.monotonic()
        self._last: Progress | None = None
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._finishing: Future[None] | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for path in directory.iterdir():
                if _NAME.fullmatch(path.name.removesuffix(_IGNORED)) and path.suffix == _IGNORED:
                    path.unlink()  # left by a process killed while it wrote
        except OSError as error:
            raise PlatformError(
                f"the checkpoint directory {directory} cannot be used: {error}"
            ) from error
        if not os.access(directory, os.W_OK):
            raise PlatformError(f"the checkpoint directory {directory} cannot be written to")

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is on disk and at least checkpoint_interval seconds old."""
        if self._finishing is not None and not self._finishing.done():
            return False
        return time.monotonic() - self._written_at >= self._hyperparameters.checkpoint_interval

    def write(self, progress: Progress, notes: Notes, state: State) -> None:
        """Write a checkpoint, then delete those no longer needed.

        When this returns, the operating system has a copy of the arrays, and they may change.
        While training goes on, a thread waits for the disk, then names the file and deletes.

        Parameters
        ----------
        progress : Progress
        notes : Notes
        state : dict of str to array
            The learner's state at exactly that progress.

        Raises
        ------
        PlatformError
            If it cannot be written, or as in `finish`. Earlier checkpoints are left as they were.
        """
        self.finish()
        if progress == self._last:
            return
        path = self._path(progress.epoch, progress.num_batches)
        aside = path.with_name(path.name + _IGNORED)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(write_whole(path, "the checkpoint", aside))
            described = msgspec.to_builtins(self._hyperparameters)
            write_checkpoint(file, described, progress, notes, state)
            rest = stack.pop_all()

        def finish() -> None:
            rest.close()
            self._last = progress
            self._delete_old(path, progress.best)

        self._finishing = self._thread.submit(finish)
        self._written_at = time.monotonic()

    def finish(self) -> None:
        """Wait until the last checkpoint written is complete on disk.

        Raises
        ------
        PlatformError
            If writing it has failed since. Earlier checkpoints are left as they were.
        """
        finishing, self._finishing = self._finishing, None
        if finishing is None:
            return
        try:
            finishing.result()
        except OSError as error:
            raise PlatformError(
                f"the checkpoint directory {self._directory} cannot be used: {error}"
            ) from error

    def restore_newest(self, room: Room) -> Checkpoint | None:
        """Fill a learner's arrays from the newest checkpoint that can be used.

        A checkpoint that cannot be used is left where it is, and a warning is logged.

        Parameters
        ----------
        room : callable
            Returns the arrays of a learner that has not trained yet.

        Returns
        -------
        Checkpoint or None
            None if no checkpoint can be used; the arrays are then 0.

        Raises
        ------
        UserError
            If it is of a job with other hyperparameters. The message names them and both values.
        """
        for path in reversed(self._paths()):
            try:
                found = self._restore(path, room)
                if found.progress.best is not None:
                    self._verify_best(found.progress.best)
            except (NotUsableError, OSError) as error:
                _log.warning("the checkpoint %s is not used: %s", path, error)
                for array in room({}).values():
                    array[...] = 0
            else:
                self._last = found.progress
                return found
        return None

    def restore(self, checkpoint: Checkpoint, room: Room) -> None:
        """Fill a learner's arrays from a checkpoint that `restore_newest` found.

        Raises
        ------
        PlatformError
            If it can no longer be used.
        """
        self._restore_again(checkpoint.path, room)

    def restore_best(self, best: BestEpoch, room: Room) -> None:
        """Fill a learner's arrays with their numbers after the best epoch.

        Raises
        ------
        PlatformError
            If its checkpoint can no longer be used.
        """
        self._restore_again(self._best_path(best), room)

    def _restore_again(self, path: Path, room: Room) -> None:
        self.finish()
        try:
            self._restore(path, room)
        except (NotUsableError, OSError) as error:
            raise PlatformError(f"the checkpoint {path} cannot be read again: {error}") from error

    def _restore(self, path: Path, room: Room) -> Checkpoint:
        with path.open("rb") as file:
            reader = CheckpointReader(file)
            self._compare(path, reader.manifest.hyperparameters)
            reader.read_into(room(reader.forms))
        return Checkpoint(path, reader.manifest.progress, reader.manifest.notes)

    def _verify_best(self, best: BestEpoch) -> None:
        with self._best_path(best).open("rb") as file:
            CheckpointReader(file).verify()

    def _compare(self, path: Path, written: dict[str, object]) -> None:
        own = msgspec.json.decode(msgspec.json.encode(self._hyperparameters))
        differences = [
            f"{name}={_show(written[name])} there, {_show(own[name])} here"
            for name in own
            if shapes_model(name) and name in written and written[name] != own[name]
        ]
        if differences:
            raise UserError(
                f"the checkpoint {path} is of a job with other hyperparameters: "
                f"{'; '.join(differences)}; use the same, or a checkpoint path of its own"
            )

    def _path(self, epoch: int, num_batches: int) -> Path:
        return self._directory / f"fm-{epoch:06}-{num_batches:09}.checkpoint"

    def _best_path(self, best: BestEpoch) -> Path:
        return self._path(best.epoch + 1, 0)

    def _paths(self) -> list[Path]:
        """List the files named like checkpoints, the one with the least progress first."""
        named = [path for path in self._directory.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(named, key=_position)

    def _delete_old(self, newest: Path, best: BestEpoch | None) -> None:
        """Delete all checkpoints but the last ones and that of the best epoch.

        A file that claims more progress than `newest` does not count: training would have resumed
        from it if it could be used. A file that is being uploaded is kept.
        """
        paths = [path for path in self._paths() if _position(path) <= _position(newest)]
        kept = set(paths[-self._hyperparameters.checkpoint_keep :])
        if best is not None:
            kept.add(self._best_path(best))
        for path in paths:
            if path in kept or path.with_name(path.name + _UPLOADING).exists():
                continue
            try:
                path.unlink()
                path.with_name(path.name + _UPLOADED).unlink(missing_ok=True)
            except OSError as error:
                _log.warning("the old checkpoint %s cannot be deleted: %s", path, error)


def _position(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not named like a checkpoint")
    return int(match[1]), int(match[2])


def _show(value: object) -> str:
    return "not set" if value is None else str(value)
