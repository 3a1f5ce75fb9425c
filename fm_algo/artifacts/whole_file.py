"""Write files that appear whole or not at all."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from fm_algo.errors import PlatformError

_WRITE_OUT_S = 0.01

_MOST_UNWRITTEN = 2
"""Number of pieces that `write_pieces` keeps waiting while one is being written."""


@contextlib.contextmanager
def write_whole(
    path: Path, what: str | None = None, aside: Path | None = None
) -> Iterator[BinaryIO]:
    """Open a file for writing; it appears at `path` once the block ends without an error.

    Parameters
    ----------
    path : Path
        Its directory must exist. An existing file is replaced.
    what : str, optional
        How an error names what could not be written to `path`, e.g. "the model".
    aside : Path, optional
        Where the file lies until it is whole and on disk. Must be on the same file system; by
        default a hidden name beside `path`.

    Yields
    ------
    binary file
        Seekable.

    Raises
    ------
    PlatformError
        If it cannot be written. Nothing is left behind.
    """
    aside = aside or path.with_name(f".{path.name}.partial")
    try:
        with aside.open("w+b") as file:
            with _written_out_meanwhile(file):
                yield file
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)  # another user than the writer may read it
        aside.replace(path)
        _sync(path.parent)
    except OSError as error:
        failed = (
            f"{what} could not be written to {path}" if what else f"{path} could not be written"
        )
        raise PlatformError(f"{failed}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # the file is gone if all went well
            aside.unlink()


def write_pieces(file: BinaryIO, pieces: Iterable[bytes | memoryview]) -> None:
    """Write one piece after another, while the next ones are being made.

    Parameters
    ----------
    file : binary file
    pieces : iterable of bytes or memoryview
        Some megabytes each if there is much to write; four of them are in memory at once.

    Raises
    ------
    OSError
        If a piece cannot be written.
    """
    unwritten: deque[Future[int]] = deque()
    with ThreadPoolExecutor(1, "write") as thread:
        for piece in pieces:
            unwritten.append(thread.submit(file.write, piece))
            if len(unwritten) > _MOST_UNWRITTEN:
                unwritten.popleft().result()
    for written in unwritten:
        written.result()


@contextlib.contextmanager
def _written_out_meanwhile(file: BinaryIO) -> Iterator[None]:
    """Make the system write a file to disk from the first block on, not only once it is whole.

    Blocks on disk are also dropped from the page cache. A model of gigabytes would push everything
    else out of it, and reused memory is faster than memory that the system must find first. A
    separate thread makes the calls, so that the writer of the file never waits for the disk.
    """
    is_over = threading.Event()

    def write_out() -> None:
        while not is_over.wait(_WRITE_OUT_S):
            with contextlib.suppress(OSError):  # only a hint; not all file systems support it
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    thread = threading.Thread(target=write_out, name="write-out")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _sync(directory: Path) -> None:
    """Wait until the names in a directory are on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
