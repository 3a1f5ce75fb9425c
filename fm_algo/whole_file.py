"""Files that appear whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fm_algo.errors import PlatformError


@contextlib.contextmanager
def write_whole(path: Path, what: str | None = None) -> Iterator[BinaryIO]:
    """Open a file to be written; once the block is left without an error, it stands at `path`.

    Parameters
    ----------
    path : Path
        In a directory that exists. What was there before is replaced.
    what : str, optional
        What an error says could not be written to `path`, e.g. "the model".

    Yields
    ------
    binary file
        Seekable; beside `path` until it is whole and on disk.

    Raises
    ------
    PlatformError
        If it cannot be written; then nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("w+b") as file:
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


def _sync(directory: Path) -> None:
    """Wait until the names in a directory are on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
