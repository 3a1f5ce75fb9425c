r"""Checkpoints: all that training needs to go on as if it had never been interrupted.

A checkpoint is one file, which appears whole or not at all. Its layout, numbers little-endian::

    b"FM-CKPT\n" | uint64 length of the manifest | manifest, JSON | check
    then each array of the manifest's `arrays`, cut into blocks: block | check

A check is a uint32: the CRC-32 (`zlib.crc32`) of everything before it, earlier checks left out. So
a block that is missing, torn or out of its place is found.

The names follow SageMaker's uploader: what it must not take ends in `.sagemaker-ignore`, and what
it is taking has a neighbour `.sagemaker-uploading`.
"""

import contextlib
import logging
import os
import re
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from fm_algo.early_stopping import BestEpoch
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import State

FORMAT_VERSION = 1

_log = logging.getLogger(__name__)
_MAGIC = b"FM-CKPT\n"
_NAME = re.compile(r"fm-([0-9]{6,})-([0-9]{9,})\.checkpoint")
_IGNORED, _UPLOADING, _UPLOADED = (
    ".sagemaker-ignore",
    ".sagemaker-uploading",
    ".sagemaker-uploaded",
)

_BLOCK_BYTES = 16 << 20
_MOST_MANIFEST_BYTES = 1 << 20

_MAY_DIFFER = {
    "epochs",
    "device",
    "num_threads",
    "memory_budget_mb",
    "batch_metrics_publish_interval",
    "checkpoint_interval",
    "checkpoint_keep",
    "early_stopping_patience",
    "early_stopping_tolerance",
}
"""Hyperparameters that do not make another model of the same mini-batches."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far training is.

    Attributes
    ----------
    epoch : int
        The one being trained, from 0.
    num_batches : int
        Mini-batches of that epoch trained already.
    sums : dict of str to float
        The epoch's metrics so far, as `MetricSums.state` says them; empty at its start.
    best : BestEpoch or None
        Of the epochs before, where early stopping is on.
    """

    epoch: int = 0
    num_batches: int = 0
    sums: dict[str, float] = {}
    best: BestEpoch | None = None


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What the program around the training loop must remember.

    Attributes
    ----------
    records_seen, batches_seen : int
        Of the whole epochs before.
    buffer_bytes : int or None
        Size of the buffer that rows read again are shuffled in; None where all are in memory. The
        order of the rows depends on it.
    """

    records_seen: int = 0
    batches_seen: int = 0
    buffer_bytes: int | None = None


class _Array(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint says of itself.

    Attributes
    ----------
    format_version : int
        Raised when an older reader could misread the file.
    hyperparameters : dict of str to object
        Of the job that wrote it.
    progress : Progress
    notes : Notes
    arrays : list
        The kernel's state: name, dtype and shape of each array, in the order of the file.
    """

    format_version: int
    hyperparameters: dict[str, object]
    progress: Progress
    notes: Notes
    arrays: list[_Array]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole checkpoint.

    Attributes
    ----------
    path : Path
    progress : Progress
    notes : Notes
    """

    path: Path
    progress: Progress
    notes: Notes


class _NotUsableError(Exception):
    """A file is torn, foreign or of another kernel; the message says which."""


class Checkpoints:
    """The checkpoints of one job.

    Parameters
    ----------
    directory : Path
        Made if it does not exist; may hold files of others, which are left alone.
    hyperparameters : Hyperparameters
        checkpoint_interval and checkpoint_keep; the rest is kept in each checkpoint and compared.

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
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for path in directory.iterdir():
                if _NAME.fullmatch(path.name.removesuffix(_IGNORED)) and path.suffix == _IGNORED:
                    path.unlink()  # of a process killed while it wrote
        except OSError as error:
            raise PlatformError(
                f"the checkpoint directory {directory} cannot be used: {error}"
            ) from error
        if not os.access(directory, os.W_OK):
            raise PlatformError(f"the checkpoint directory {directory} cannot be written to")

    @property
    def is_due(self) -> bool:
        """Whether the last one was written checkpoint_interval seconds ago."""
        return time.monotonic() - self._written_at >= self._hyperparameters.checkpoint_interval

    def write(self, progress: Progress, notes: Notes, state: State) -> None:
        """Write a checkpoint, then delete those no longer needed.

        Parameters
        ----------
        progress : Progress
        notes : Notes
        state : dict of str to array
            The kernel's, after just those mini-batches.

        Raises
        ------
        PlatformError
            If it cannot be written; the checkpoints before are left as they were.
        """
        if progress == self._last:
            return
        path = self._path(progress.epoch, progress.num_batches)
        aside = path.with_name(path.name + _IGNORED)
        try:
            with aside.open("wb") as file:
                _write(file, self._manifest(progress, notes, state), state)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
            _sync(self._directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise PlatformError(
                f"the checkpoint could not be written to {path}: {error}"
            ) from error
        self._last = progress
        self._written_at = time.monotonic()
        self._delete_old(path, progress.best)

    def restore_newest(self, state: State) -> Checkpoint | None:
        """Fill a kernel's arrays from the newest checkpoint that can be used.

        One that cannot be used is left where it is, with a warning.

        Parameters
        ----------
        state : dict of str to array
            Of a kernel that has done nothing yet.

        Returns
        -------
        Checkpoint or None
            None if there is none; then the arrays are 0.

        Raises
        ------
        UserError
            If it is of a job with other hyperparameters: which, and both values.
        """
        for path in reversed(self._paths()):
            try:
                found = self._restore(path, state)
                if found.progress.best is not None:
                    _verify(self._best_path(found.progress.best))
            except (_NotUsableError, OSError) as error:
                _log.warning("the checkpoint %s is not used: %s", path, error)
                for array in state.values():
                    array[...] = 0
            else:
                self._last = found.progress
                return found
        return None

    def restore(self, checkpoint: Checkpoint, state: State) -> None:
        """Fill a kernel's arrays from a checkpoint that `restore_newest` found.

        Raises
        ------
        PlatformError
            If it is no longer what it was.
        """
        self._restore_again(checkpoint.path, state)

    def restore_best(self, best: BestEpoch, state: State) -> None:
        """Fill a kernel's arrays as they were after the best epoch.

        Raises
        ------
        PlatformError
            If its checkpoint is no longer what it was.
        """
        self._restore_again(self._best_path(best), state)

    def _restore_again(self, path: Path, state: State) -> None:
        try:
            self._restore(path, state)
        except (_NotUsableError, OSError) as error:
            raise PlatformError(f"the checkpoint {path} cannot be read again: {error}") from error

    def _restore(self, path: Path, state: State) -> Checkpoint:
        with path.open("rb") as file:
            manifest, check = _read_manifest(file)
            self._compare(path, manifest.hyperparameters)
            if manifest.arrays != _describe(state):
                raise _NotUsableError("it is of another kernel or release")
            for array in state.values():
                for block in _blocks(array):
                    if file.readinto(block) != len(block):
                        raise _NotUsableError("it is truncated")
                    check = _checked(file, block, check)
            if file.read(1):
                raise _NotUsableError("it has bytes after its end")
        return Checkpoint(path, manifest.progress, manifest.notes)

    def _compare(self, path: Path, written: dict[str, object]) -> None:
        own = msgspec.to_builtins(self._hyperparameters)
        differences = [
            f"{name}={_show(written[name])} there, {_show(own[name])} here"
            for name in own
            if name not in _MAY_DIFFER and name in written and written[name] != own[name]
        ]
        if differences:
            raise UserError(
                f"the checkpoint {path} is of a job with other hyperparameters: "
                f"{'; '.join(differences)}; use the same, or a checkpoint path of its own"
            )

    def _manifest(self, progress: Progress, notes: Notes, state: State) -> Manifest:
        return Manifest(
            format_version=FORMAT_VERSION,
            hyperparameters=msgspec.to_builtins(self._hyperparameters),
            progress=progress,
            notes=notes,
            arrays=_describe(state),
        )

    def _path(self, epoch: int, num_batches: int) -> Path:
        return self._directory / f"fm-{epoch:06}-{num_batches:09}.checkpoint"

    def _best_path(self, best: BestEpoch) -> Path:
        return self._path(best.epoch + 1, 0)

    def _paths(self) -> list[Path]:
        """List what is named like a checkpoint, the one of least progress first."""
        named = [path for path in self._directory.iterdir() if _NAME.fullmatch(path.name)]
        return sorted(named, key=_position)

    def _delete_old(self, newest: Path, best: BestEpoch | None) -> None:
        """Delete all but the last ones and that of the best epoch.

        What claims more progress than the one just written could not be used, or it would have
        been: it does not count. An upload under way is not disturbed.
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


def _write(file: BinaryIO, manifest: Manifest, state: State) -> None:
    encoded = msgspec.json.encode(manifest)
    head = _MAGIC + struct.pack("<Q", len(encoded)) + encoded
    check = zlib.crc32(head)
    file.write(head + struct.pack("<I", check))
    for array in state.values():
        for block in _blocks(array):
            check = zlib.crc32(block, check)
            file.write(block)
            file.write(struct.pack("<I", check))


def _read_manifest(file: BinaryIO) -> tuple[Manifest, int]:
    """Read what stands before the arrays; return it and its check."""
    start = file.read(len(_MAGIC) + 8)
    if len(start) < len(_MAGIC) + 8 or not start.startswith(_MAGIC):
        raise _NotUsableError("it does not begin like a checkpoint")
    (length,) = struct.unpack_from("<Q", start, len(_MAGIC))
    encoded = file.read(min(length, _MOST_MANIFEST_BYTES))
    check = _checked(file, encoded, zlib.crc32(start))
    try:
        manifest = msgspec.json.decode(encoded, type=Manifest)
    except msgspec.MsgspecError as error:
        raise _NotUsableError(f"its manifest is not understood: {error}") from error
    if manifest.format_version > FORMAT_VERSION:
        raise _NotUsableError(
            f"it has format_version {manifest.format_version}; this release reads up to "
            f"{FORMAT_VERSION}"
        )
    return manifest, check


def _verify(path: Path) -> None:
    """Read a checkpoint for its checks alone."""
    with path.open("rb") as file:
        manifest, check = _read_manifest(file)
        for described in manifest.arrays:
            left = int(np.prod(described.shape)) * np.dtype(described.dtype).itemsize
            while left:
                block = file.read(min(left, _BLOCK_BYTES))
                check = _checked(file, block, check)
                left -= len(block)


def _checked(file: BinaryIO, block: bytes | memoryview, check: int) -> int:
    """Read the check after a block and compare."""
    check = zlib.crc32(block, check)
    if file.read(4) != struct.pack("<I", check):
        raise _NotUsableError("it is torn: a checksum is wrong")
    return check


def _describe(state: State) -> list[_Array]:
    return [_Array(name, array.dtype.str, array.shape) for name, array in state.items()]


def _blocks(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Iterator[memoryview]:
    """Cut an array's own memory into blocks of bytes."""
    flat = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(flat), _BLOCK_BYTES):
        yield flat[start : start + _BLOCK_BYTES]


def _position(path: Path) -> tuple[int, int]:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not named like a checkpoint")
    return int(match[1]), int(match[2])


def _show(value: object) -> str:
    return "not set" if value is None else str(value)


def _sync(directory: Path) -> None:
    """Wait until the names in a directory are on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
