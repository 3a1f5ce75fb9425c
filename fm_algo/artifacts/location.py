"""Read and write models at locations: directories, archives, and both on S3."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from fm_algo.artifacts.archive import pack_tar
from fm_algo.artifacts.artifact import StoredModel
from fm_algo.artifacts.model_source import PACKED, is_model_file, load_any_stored_model
from fm_algo.artifacts.remote import local_source, local_target
from fm_algo.errors import PlatformError


def read_from(location: str) -> StoredModel:
    """Read a model that this library or the built-in algorithm trained.

    Parameters
    ----------
    location : str
        What `load_any_stored_model` takes, as a path or as s3://bucket/key.

    Returns
    -------
    StoredModel

    Raises
    ------
    UserError
        If there is no such model or it cannot be read.
    """
    with local_source(location, lambda name: name == PACKED or is_model_file(name)) as source:
        return load_any_stored_model(source)


def write_to(location: str, save: Callable[[Path], object]) -> None:
    """Let a function write files into a directory, or into an archive if the location names one.

    Parameters
    ----------
    location : str
        A directory, which is made if need be, or a name in .tar.gz; a path or s3://bucket/key.
    save : callable
        Gets a directory that exists, and writes files into it.

    Raises
    ------
    UserError
        If S3 refuses it.
    PlatformError
        If it cannot be written.
    """
    with local_target(location) as target:
        if not location.endswith(".tar.gz"):
            make_directory(target)
            save(target)
            return
        make_directory(target.parent)
        with tempfile.TemporaryDirectory(prefix="fm-pack-") as aside:
            save(Path(aside))
            pack_tar(Path(aside), target)


def make_directory(path: Path) -> None:
    """Make a directory, and those above it, unless they are there.

    Raises
    ------
    PlatformError
        If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(f"{path} cannot be made a directory: {error.strerror}") from error
