r"""The file format of a checkpoint.

Its layout, with little-endian numbers::

    b"FM-CKPT\n" | uint64 length of the manifest | manifest, JSON | check
    then each array of the manifest's `arrays`, cut into blocks: block | check

A check is a uint32: the CRC-32 (`zlib.crc32`) of everything before it except earlier checks. It
reveals a block that is missing, torn or out of place.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BufferedReader
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from fm_algo.artifacts.whole_file import write_pieces
from fm_algo.training.progress import Notes, Progress
from fm_algo.training.state import ArrayForm, SharedArray, State

FORMAT_VERSION = 1

_MAGIC = b"FM-CKPT\n"
_BLOCK_BYTES = 16 << 20
_MOST_MANIFEST_BYTES = 1 << 20


class NotUsableError(Exception):
    """A file is torn, foreign or of another learner; the message says which."""


class _Array(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The description at the start of a checkpoint.

    Attributes
    ----------
    format_version : int
        Increased when an older reader could misread the file.
    hyperparameters : dict of str to object
        Those of the job that wrote it.
    progress : Progress
    notes : Notes
    arrays : list
        The learner's state: name, dtype and shape of each array, in the order of the file.
    """

    format_version: int
    hyperparameters: dict[str, object]
    progress: Progress
    notes: Notes
    arrays: list[_Array]


def write_checkpoint(
    file: BinaryIO,
    hyperparameters: dict[str, object],
    progress: Progress,
    notes: Notes,
    state: State,
) -> None:
    """Write a checkpoint into a new file.

    Parameters
    ----------
    file : binary file
    hyperparameters : dict of str to object
        Values are of JSON types.
    progress : Progress
    notes : Notes
    state : dict of str to array
    """
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        hyperparameters=hyperparameters,
        progress=progress,
        notes=notes,
        arrays=_describe(state),
    )
    write_pieces(file, _pieces(manifest, state))


class CheckpointReader:
    """Reads a checkpoint: the manifest at once, later the arrays or only their checks.

    Parameters
    ----------
    file : binary file
        Positioned at its start.

    Raises
    ------
    NotUsableError
        If it is no checkpoint, or one of a later release.

    Attributes
    ----------
    manifest : Manifest
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        start = file.read(len(_MAGIC) + 8)
        if len(start) < len(_MAGIC) + 8 or not start.startswith(_MAGIC):
            raise NotUsableError("it does not begin like a checkpoint")
        (length,) = struct.unpack_from("<Q", start, len(_MAGIC))
        encoded = file.read(min(length, _MOST_MANIFEST_BYTES))
        self._check = zlib.crc32(start)
        self._compare_check(encoded)
        try:
            self.manifest = msgspec.json.decode(encoded, type=Manifest)
        except msgspec.MsgspecError as error:
            raise NotUsableError(f"its manifest is not understood: {error}") from error
        if self.manifest.format_version > FORMAT_VERSION:
            raise NotUsableError(
                f"it has format_version {self.manifest.format_version}; this release reads up to "
                f"{FORMAT_VERSION}"
            )

    @property
    def forms(self) -> dict[str, ArrayForm]:
        """Shape and type of each array, by name."""
        return {array.name: ArrayForm(array.shape, array.dtype) for array in self.manifest.arrays}

    def read_into(self, state: State) -> None:
        """Fill a learner's arrays; can be called once.

        Raises
        ------
        NotUsableError
            If the file is incomplete or of another learner. The arrays may then be partly filled.
        """
        if self.manifest.arrays != _describe(state):
            raise NotUsableError("it is of another kernel or release")
        for array in state.values():
            for block in _blocks_to_fill(array):
                if self._file.readinto(block) != len(block):
                    raise NotUsableError("it is truncated")
                self._compare_check(block)
        if self._file.read(1):
            raise NotUsableError("it has bytes after its end")

    def verify(self) -> None:
        """Read the arrays only to compare their checks.

        Raises
        ------
        NotUsableError
            If a check is wrong.
        """
        for described in self.manifest.arrays:
            left = int(np.prod(described.shape)) * np.dtype(described.dtype).itemsize
            while left:
                block = self._file.read(min(left, _BLOCK_BYTES))
                self._compare_check(block)
                left -= len(block)

    def _compare_check(self, block: bytes | memoryview) -> None:
        """Read the check after a block and compare."""
        self._check = zlib.crc32(block, self._check)
        if self._file.read(4) != struct.pack("<I", self._check):
            raise NotUsableError("it is torn: a checksum is wrong")


def _pieces(manifest: Manifest, state: State) -> Iterator[bytes | memoryview]:
    encoded = msgspec.json.encode(manifest)
    head = _MAGIC + struct.pack("<Q", len(encoded)) + encoded
    check = zlib.crc32(head)
    yield head + struct.pack("<I", check)
    for array in state.values():
        for block in _blocks(array):
            check = zlib.crc32(block, check)
            yield block
            yield struct.pack("<I", check)


def _describe(state: State) -> list[_Array]:
    return [_Array(name, array.dtype.str, array.shape) for name, array in state.items()]


def _blocks_to_fill(array: NDArray[Any] | SharedArray) -> Iterator[memoryview]:
    return array.blocks_to_fill(_BLOCK_BYTES) if isinstance(array, SharedArray) else _blocks(array)


def _blocks(array: NDArray[Any] | SharedArray) -> Iterator[memoryview]:
    """Cut an array's own memory into blocks of bytes."""
    if isinstance(array, SharedArray):
        yield from array.blocks(_BLOCK_BYTES)
        return
    flat = array.reshape(-1).view(np.uint8).data
    for start in range(0, len(flat), _BLOCK_BYTES):
        yield flat[start : start + _BLOCK_BYTES]
