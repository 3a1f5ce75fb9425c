"""Files that appear whole or not at all."""

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
"""Pieces of `write_pieces` that wait for the one being written."""


@contextlib.contextmanager
def write_whole(
    path: Path, what: str | None = None, aside: Path | None = None
) -> Iterator[BinaryIO]:
    """Open a file to be written; once the block is left without an error, it stands at `path`.

    Parameters
    ----------
    path : Path
        In a directory that exists. What was there before is replaced.
    what : str, optional
        What an error says could not be written to `path`, e.g. "the model".
    aside : Path, optional
        Where it is until it is whole and on disk, on the same file system; by default a hidden
        name beside `path`.

    Yields
    ------
    binary file
        Seekable.

    Raises
    ------
    PlatformError
        If it cannot be written; then nothing is left behind.
    """
    aside = aside or path.with_name(f".{path.name}.partial")
    try:
        with aside.open("w+b") as file:
            with _written_out_meanwhile(file):
                yield file
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)  # whoever reads it need not be who wrote it
        aside.replace(path)
        _sync(path.parent)
    except OSError as error:
        failed = (
            f"{what} could not be written to {path}" if what else f"{path} could not be written"
        )
        raise PlatformError(f"{failed}: {error}") from error
    finally:
        with contextlib.suppress(OSError):  # it is gone if all went well
            aside.unlink()


def write_pieces(file: BinaryIO, pieces: Iterable[bytes | memoryview]) -> None:
    """Write one piece after the other, while the next ones are being made.

    Parameters
    ----------
    file : binary file
    pieces : iterable of bytes or memoryview
        Of some megabytes where there is much to write; four of them are in memory at once.

    Raises
    ------
    OSError
        If one cannot be written.
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
    """Have the system write a file to disk from the first block on, not only once it is whole.

    What is on disk is also let go from the page cache: a model of gigabytes would push out all
    else that is in there, and memory used again is faster than memory that the system has to find.
    A thread of its own asks for it, so that whoever writes the file never waits for the disk.
    """
    is_over = threading.Event()

    def write_out() -> None:
        while not is_over.wait(_WRITE_OUT_S):
            with contextlib.suppress(OSError):  # it is a wish; not all file systems know it
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
