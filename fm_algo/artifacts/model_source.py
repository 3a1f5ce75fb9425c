"""Load a model from any artifact: ours or the built-in's, unpacked or packed."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import msgspec

from fm_algo.artifacts.archive import unpack_tar
from fm_algo.artifacts.artifact import MODEL_FILE, Label, load_manifest, load_model
from fm_algo.artifacts.builtin.artifact import (
    find_builtin_model,
    is_builtin_file,
    read_builtin_model,
)
from fm_algo.errors import UserError
from fm_algo.model import FMModel

PACKED = "model.tar.gz"
"""Name of the archive into which SageMaker packs a model directory."""


class Artifact(NamedTuple):
    """What an artifact holds.

    Attributes
    ----------
    model : FMModel
    hyperparameters : dict of str to object
        Those the model was trained with, as in the artifact; those of the built-in are all strings.
    labels : tuple of Label, or None
        What the classes 0 and 1 are called; None if that is all they are called.
    """

    model: FMModel
    hyperparameters: dict[str, object]
    labels: tuple[Label, ...] | None = None


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
    return read_artifact(path).model


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
    model, hyperparameters, _ = read_artifact(path)
    return model, hyperparameters


def read_artifact(path: Path) -> Artifact:
    """Read all that an artifact holds.

    Parameters
    ----------
    path : Path
        As for `load_any_model`.

    Returns
    -------
    Artifact

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


def _read_directory(directory: Path) -> Artifact | None:
    if (directory / MODEL_FILE).is_file():
        return _read_ours(directory)
    if find_builtin_model(directory):
        return Artifact(*read_builtin_model(directory))
    return None


def _read_ours(directory: Path) -> Artifact:
    manifest = load_manifest(directory)
    labels = None if manifest.labels is msgspec.UNSET else manifest.labels
    return Artifact(load_model(directory), manifest.hyperparameters, labels)


def _read_file(path: Path) -> Artifact:
    """Load a model file, whose first bytes tell its kind."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if start.startswith(b"PK"):
        return Artifact(*read_builtin_model(path))
    if start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar":
        return _read_packed(path)
    if path.name == MODEL_FILE:
        return _read_ours(path.parent)
    raise UserError(f"{path} is no model: expected {MODEL_FILE}, model_algo-1 or {PACKED}")


def _read_packed(path: Path) -> Artifact:
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
