"""Load a model from any artifact: ours or the built-in's, unpacked or packed."""

import tempfile
from pathlib import Path

from fm_algo.artifacts.archive import unpack_tar
from fm_algo.artifacts.artifact import MODEL_FILE, StoredModel, load_stored_model
from fm_algo.artifacts.builtin.artifact import (
    find_builtin_model,
    is_builtin_file,
    read_builtin_model,
)
from fm_algo.errors import UserError
from fm_algo.model import FMModel

PACKED = "model.tar.gz"
"""Name of the archive into which SageMaker packs a model directory."""


def load_any_model(path: Path) -> FMModel:
    """Load a model that this library or the built-in algorithm trained.

    Parameters
    ----------
    path : Path
        A directory with our model.safetensors, the built-in's model_algo-1, the three files from
        that archive, or a model.tar.gz of one of these; or such a file itself. If a directory
        holds several, the first in this order counts.

    Returns
    -------
    FMModel

    Raises
    ------
    UserError
        If there is no such model or it cannot be read.
    """
    return load_any_stored_model(path).model


def read_any_model(path: Path) -> tuple[FMModel, dict[str, object]]:
    """Load a model and the hyperparameters it was trained with.

    Parameters
    ----------
    path : Path
        As for `load_any_model`.

    Returns
    -------
    model : FMModel
    hyperparameters : dict of str to object
        As in the artifact; those of the built-in are all strings.

    Raises
    ------
    UserError
        As from `load_any_model`.
    """
    stored = load_any_stored_model(path)
    return stored.model, stored.hyperparameters


def load_any_stored_model(path: Path) -> StoredModel:
    """Load a model and what is kept with it.

    Parameters
    ----------
    path : Path
        As for `load_any_model`.

    Returns
    -------
    StoredModel
        One of the built-in's has no tables.

    Raises
    ------
    UserError
        As from `load_any_model`.
    """
    if path.exists() and not path.is_dir():
        return _read_file(path)
    artifact = _read_directory(path)
    if artifact is None and (path / PACKED).is_file():
        return _read_packed(path / PACKED)
    if artifact is None:
        raise UserError(
            f"no model in {path}: expected a file {MODEL_FILE}, or model_algo-1 as the built-in "
            "algorithm writes it"
        )
    return artifact


def is_model_file(name: str) -> bool:
    """Return whether a file of this name is a model or a part of one."""
    return name == MODEL_FILE or is_builtin_file(name)


def _read_directory(directory: Path) -> StoredModel | None:
    if (directory / MODEL_FILE).is_file():
        return load_stored_model(directory)
    if find_builtin_model(directory):
        return StoredModel(*read_builtin_model(directory))
    return None


def _read_file(path: Path) -> StoredModel:
    """Load a model file, whose first bytes tell its kind."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if start.startswith(b"PK"):
        return StoredModel(*read_builtin_model(path))
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return _read_packed(path)
    if path.name == MODEL_FILE:
        return load_stored_model(path.parent)
    raise UserError(f"{path} is no model: expected {MODEL_FILE}, model_algo-1 or {PACKED}")


def _read_packed(path: Path) -> StoredModel:
    # A mapped model keeps its file on disk until it is released, even after the file is deleted.
    with tempfile.TemporaryDirectory(prefix="fm-model-") as directory:
        unpack_tar(path, Path(directory), is_model_file)
        try:
            artifact = _read_directory(Path(directory))
        except UserError as error:
            cause = error.message.replace(f"{directory}/", "")
            raise UserError(f"{path}, {cause}") from error
    if artifact is None:
        raise UserError(f"no model in {path}: expected a file {MODEL_FILE} or model_algo-1 in it")
    return artifact
