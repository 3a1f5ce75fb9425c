"""Read a channel's files or FIFOs as a stream of rows."""

import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol, TypeVar, cast

import msgspec

from container.settings import Paths
from container.training.fifo import open_fifo
from container.training.job import TrainingJob
from fm_algo.data.bulk.factory import make_bulk_decoder
from fm_algo.data.fields import Fields
from fm_algo.data.formats.advice import START_BYTES, with_advice
from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.errors import PlatformError, UserError
from fm_algo.loss import LOSSES
from fm_algo.sparse import CSRBatch

_T = TypeVar("_T", bound="_HasRows")

_READ_BYTES = 8 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib.h, inflateInit2: 16 more is gzip's frame


class _HasRows(Protocol):
    @property
    def num_rows(self) -> int: ...


def read_channel(
    paths: Paths,
    job: TrainingJob,
    name: str,
    epoch: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    fields: Fields | None = None,
) -> Iterator[CSRBatch]:
    """Read the labelled rows of a channel of numbered features once.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
        Gives feature_dim, the predictor type and the channel's content type.
    name, epoch, should_stop
        As for `read_sources`.
    fields : Fields, optional
        What the fields of libffm text are compared with, or learnt by.

    Yields
    ------
    CSRBatch
        Some rows at a time, with checked labels.

    Raises
    ------
    UserError, PlatformError
        As from `read_sources`, or if all rows have weight 0.
    """

    def read(stream: BinaryIO) -> Iterator[CSRBatch]:
        return _read(stream, job, name, should_stop, fields)

    rows = read_sources(paths, job, name, epoch, should_stop, read)
    return drop_weightless(rows, job, name, should_stop)


def read_sources(
    paths: Paths,
    job: TrainingJob,
    name: str,
    epoch: int,
    should_stop: Callable[[], bool],
    read: Callable[[BinaryIO], Iterator[_T]],
) -> Iterator[_T]:
    """Read the files or FIFOs of a channel one after another.

    File and FastFile mode: read file by file, in the order of their paths. Every file below the
    channel's directory counts, whatever its name. Exceptions are empty files, and files whose name
    or directory begins with "." or "_". The directory is only read. Pipe mode: wait for the FIFO
    of the epoch and read it.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    name : str
        A channel of the job.
    epoch : int
        From 0; in Pipe mode each pass has its own FIFO.
    should_stop : callable
        Called between reads and while waiting for a FIFO. Once it returns True, no more rows come.
    read : callable
        Yields what a stream holds, some rows at a time.

    Yields
    ------
    what `read` yields

    Raises
    ------
    UserError
        At the first row that cannot be used (names channel, file and record); or if there is no
        row, unless the files are divided among several hosts.
    PlatformError
        If a file cannot be read or the directory is missing.
    """
    place = f"{name} channel"
    may_be_empty = job.channels[name].is_sharded and len(job.resources.hosts) > 1
    if may_be_empty and not job.is_pipe(name) and not (paths.input_data / name).exists():
        return
    num_rows = num_sources = 0
    for source, stream in _open_sources(paths, job, name, epoch, should_stop):
        num_sources += 1
        where, start = f"{place}, {source}", b""
        try:
            with stream:
                start = _peek(stream)
                for rows in read(stream):
                    num_rows += rows.num_rows
                    yield rows
        except UserError as error:
            said = parse_content_type(job.channels[name].content_type)
            raise with_advice(error, start, said).within(where) from error
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            if should_stop():
                return  # the stop may have cut the source short
            raise UserError(f"{where}: the gzip data is damaged: {error}") from error
        except OSError as error:
            raise PlatformError(f"{where}: it cannot be read: {error}") from error
    if not num_rows and not may_be_empty and not should_stop():
        what = "pipe" if job.channels[name].is_pipe else f"{num_sources} files"
        raise UserError(f"{place} is empty: no rows in {what} below {paths.input_data / name}")


def drop_weightless(
    blocks: Iterator[CSRBatch], job: TrainingJob, name: str, should_stop: Callable[[], bool]
) -> Iterator[CSRBatch]:
    """Leave out rows of weight 0 from those of a channel.

    Raises
    ------
    UserError
        If no other rows are there, unless the files are divided among several hosts.
    """
    num_rows = num_left = 0
    for block in blocks:
        kept = block.drop_weightless()
        num_rows, num_left = num_rows + block.num_rows, num_left + kept.num_rows
        yield kept
    may_be_empty = job.channels[name].is_sharded and len(job.resources.hosts) > 1
    if num_rows and not num_left and not may_be_empty and not should_stop():
        raise UserError(
            f"{name} channel: all {num_rows} rows have weight 0, allowed is a sum above 0"
        )


def describe_files(paths: Paths, name: str) -> str:
    """Return a text that identifies a channel's files without reading them: names and sizes.

    Raises
    ------
    PlatformError
        If the directory cannot be listed.
    """
    directory = paths.input_data / name
    files = [(str(file.relative_to(directory)), size) for file, size in _list(directory, name)]
    num_bytes, check = sum(size for _, size in files), zlib.crc32(msgspec.json.encode(files))
    return f"{len(files)} files with {num_bytes} bytes (check {check:08x})"


def _open_sources(
    paths: Paths, job: TrainingJob, name: str, epoch: int, should_stop: Callable[[], bool]
) -> Iterator[tuple[str, BinaryIO]]:
    """Open the sources of a pass over the channel one after another; yield their names, too."""
    if job.channels[name].is_pipe:
        fifo = paths.input_data / f"{name}_{epoch}"
        yield fifo.name, open_fifo(fifo, should_stop)
        return
    directory = paths.input_data / name
    for file, _size in _list(directory, name):
        source = str(file.relative_to(directory))
        try:
            stream = file.open("rb")
        except OSError as error:
            message = f"{name} channel, {source}: {file} cannot be read: {error}"
            raise PlatformError(message) from error
        yield source, stream


def _list(directory: Path, name: str) -> list[tuple[Path, int]]:
    """List the data files of a channel and their sizes, sorted, so that runs repeat."""
    if not directory.is_dir():
        raise PlatformError(f"{name} channel: {directory} does not exist")
    files: list[Path] = []
    try:
        for folder, folders, names in os.walk(directory, onerror=_raise, followlinks=True):
            folders[:] = filter(_is_visible, folders)
            files += [Path(folder, file) for file in names if _is_visible(file)]
        return [(file, size) for file in sorted(files) if (size := file.stat().st_size)]
    except OSError as error:
        message = f"{name} channel: {directory} cannot be read: {error}"
        raise PlatformError(message) from error


def _is_visible(name: str) -> bool:
    return not name.startswith((".", "_"))


def _raise(error: OSError) -> NoReturn:
    """Raise for a folder that cannot be listed; else its rows would be missing silently."""
    raise error


def _read(
    stream: BinaryIO,
    job: TrainingJob,
    name: str,
    should_stop: Callable[[], bool],
    fields: Fields | None,
) -> Iterator[CSRBatch]:
    """Decode a stream; end early, perhaps within a row, once a stop is requested."""
    hyperparameters = job.hyperparameters
    decoder = make_bulk_decoder(
        parse_content_type(job.channels[name].content_type),
        feature_dim=hyperparameters.feature_dim,
        labelled=True,
        fields=fields,
    )
    loss, num_rows = LOSSES[hyperparameters.predictor_type], 0
    unpacked = unpack(stream)
    while data := unpacked.read(_READ_BYTES):
        if should_stop():
            return
        batch = decoder.feed(data)
        loss.check_labels(batch.require_labels(), num_rows)
        num_rows += batch.num_rows
        yield batch
    if should_stop():
        return
    batch = decoder.close()
    loss.check_labels(batch.require_labels(), num_rows)
    yield batch


def is_gzip(stream: BinaryIO) -> bool:
    """Look at the first bytes; return whether the stream begins like gzip."""
    return _peek_raw(stream).startswith(_GZIP_MAGIC)


def _peek(stream: BinaryIO) -> bytes:
    """Return the first bytes of what `unpack` gives, without reading them."""
    start = _peek_raw(stream)
    if not start.startswith(_GZIP_MAGIC):
        return start
    try:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(start, START_BYTES)
    except zlib.error:
        return b""  # whoever reads it tells that it is damaged


def _peek_raw(stream: BinaryIO) -> bytes:
    return cast("io.BufferedReader", stream).peek(START_BYTES)[:START_BYTES]


def unpack(stream: BinaryIO) -> BinaryIO:
    """Unpack the stream while reading if it begins like gzip."""
    return cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if is_gzip(stream) else stream
