"""Read untrusted ZIP and tar archives safely, and pack our own.

No path in an archive is trusted. Members are found by names we know, and all others are skipped.
Lengths are checked before memory is allocated.
"""

import gzip
import io
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from fm_algo.artifacts.tensors import Tensor
from fm_algo.artifacts.whole_file import write_whole
from fm_algo.errors import UserError

_AT_ONCE = 1 << 20
_GIBIBYTE = 1 << 30
_MAX_MEMBERS = 10_000
_EPOCH = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the earliest time of a ZIP; constant, so that equal files give equal bytes

# The errors that reading a damaged archive is known to raise.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, OverflowError,
    NotImplementedError, IndexError,
)  # fmt: skip
_TAR_ERRORS = (tarfile.TarError, zlib.error, OSError, EOFError, ValueError, OverflowError)


def inflation_limit(num_bytes: int) -> int:
    """Return how many bytes `num_bytes` of an archive or a sparse array may expand to.

    Trained parameters hardly compress: no true model expands 100 times. And 1 GiB does no harm.
    """
    return max(_GIBIBYTE, 100 * num_bytes)


def read_zip(path: Path, names: Collection[str]) -> dict[str, bytearray]:
    """Read members of a ZIP archive into memory.

    Parameters
    ----------
    path : Path
        The archive; members stored or deflated.
    names : collection of str
        The members to read, if they exist.

    Returns
    -------
    dict of str to bytearray
        Name to content. All checksums are right.

    Raises
    ------
    UserError
        If it is not a ZIP archive, is damaged, encrypted or compressed in another way, or a member
        is larger than `inflation_limit` allows for the archive.
    """
    try:
        limit = inflation_limit(path.stat().st_size)
        with zipfile.ZipFile(path) as archive:
            wanted = {info.filename: info for info in archive.infolist() if info.filename in names}
            return {name: _read_member(archive, info, limit) for name, info in wanted.items()}
    except _ZIP_ERRORS as error:
        raise UserError(f"{path} is not a ZIP archive that can be read: {error}") from error
    except UserError as error:
        raise error.within(str(path)) from error


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytearray:
    place = f"member {info.filename}"
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UserError(
            f"{place}: compression method {info.compress_type}, allowed are 0 (stored) and 8 "
            "(deflated)"
        )
    if info.flag_bits & 1:
        raise UserError(f"{place}: encrypted, allowed is plain")
    if info.file_size > limit:
        raise UserError(f"{place}: {info.file_size} bytes announced, allowed are {limit}")
    content = bytearray(info.file_size)
    length = 0
    with archive.open(info) as member:
        # Read in pieces: given a single read, zipfile inflates all before it checks the size.
        while piece := member.read(_AT_ONCE):
            content[length : length + len(piece)] = piece
            length += len(piece)
    if length != info.file_size:
        raise UserError(f"{place}: {info.file_size} bytes announced, {length} are there")
    return content


def write_zip(file: BinaryIO, members: Mapping[str, Sequence[memoryview | Tensor]]) -> None:
    """Write a ZIP archive of stored members; the same members give the same bytes.

    Parameters
    ----------
    file : binary file
        Seekable.
    members : mapping of str to sequence of Tensor or memoryview of bytes
        Name to content, in pieces. Of a tensor only a few megabytes are in memory at a time.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, pieces in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            # The size decides whether 32 bits suffice.
            info.file_size = sum(
                piece.num_bytes if isinstance(piece, Tensor) else len(piece) for piece in pieces
            )
            with archive.open(info, "w") as member:
                for piece in pieces:
                    for data in piece.encoded() if isinstance(piece, Tensor) else [piece]:
                        member.write(data)


def unpack_tar(path: Path, directory: Path, is_wanted: Callable[[str], bool]) -> None:
    """Copy files out of a tar archive, gzipped or not, into one directory.

    Parameters
    ----------
    path : Path
        The archive, e.g. model.tar.gz.
    directory : Path
        Where all files go; directories in the archive are ignored.
    is_wanted : function of str to bool
        Gets the last part of a member's path, which names the copy; returns whether to copy it.

    Raises
    ------
    UserError
        If it is not a tar archive, is damaged, holds the same file twice, or unpacks to more than
        `inflation_limit` allows.
    """
    try:
        limit = inflation_limit(path.stat().st_size)
        with path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            plain = _Bounded(gzip.GzipFile(fileobj=file) if is_gzip else file, limit)
            with tarfile.open(fileobj=plain, mode="r|") as archive:
                _copy_members(archive, directory, is_wanted)
            while plain.read():  # read to the end: gzip checks its checksum there
                pass
    except _TAR_ERRORS as error:
        raise UserError(f"{path} is not a tar archive that can be read: {error}") from error
    except UserError as error:
        raise error.within(str(path)) from error


def _copy_members(
    archive: tarfile.TarFile, directory: Path, is_wanted: Callable[[str], bool]
) -> None:
    for number, member in enumerate(archive):
        if number == _MAX_MEMBERS:
            raise UserError(f"more than {_MAX_MEMBERS} members, allowed is a model's few")
        name = member.name.rpartition("/")[2]
        content = archive.extractfile(member) if member.isfile() and is_wanted(name) else None
        if content is None:
            continue
        try:
            with content, (directory / name).open("xb") as copy:
                shutil.copyfileobj(content, copy, _AT_ONCE)
        except FileExistsError as error:
            raise UserError(f"{name} is there twice, allowed is one") from error
        if (there := (directory / name).stat().st_size) != member.size:
            raise UserError(f"{name}: {member.size} bytes announced, {there} are there")


class _Bounded(io.RawIOBase):
    """The bytes of a file, up to a limit."""

    def __init__(self, file: io.BufferedIOBase | BinaryIO, limit: int) -> None:
        self._file = file
        self._limit = limit
        self._left = limit

    def read(self, size: int = -1, /) -> bytes:
        """Read at most `size` bytes."""
        data = self._file.read(min(size, _AT_ONCE) if size >= 0 else _AT_ONCE)
        self._left -= len(data)
        if self._left < 0:
            raise UserError(f"unpacked it is more than the {self._limit} bytes allowed")
        return data


def pack_tar(directory: Path, path: Path) -> None:
    """Pack the files of a directory as SageMaker packs a model: model.tar.gz.

    Parameters
    ----------
    directory : Path
        Holds the files. The archive has no directories.
    path : Path
        The archive; appears whole or not at all. The same files give the same bytes.

    Raises
    ------
    PlatformError
        If it cannot be written.
    """
    with (
        write_whole(path) as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for source in sorted(directory.iterdir()):
            member = tarfile.TarInfo(source.name)
            member.size = source.stat().st_size
            member.mode = 0o644
            with source.open("rb") as content:
                archive.addfile(member, content)
