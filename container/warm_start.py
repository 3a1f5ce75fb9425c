"""The `model` channel: a model to start from."""

import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from fm_algo.artifact import MODEL_FILE, load_model
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel

ARCHIVE = "model.tar.gz"
_PLACE = "model channel"


def start_from(directory: Path, model: FMModel, hyperparameters: Hyperparameters) -> int:
    """Write the parameters of an earlier job's model over those of a new one.

    Parameters
    ----------
    directory : Path
        The channel's: model.tar.gz as a job left it, or what was in it.
    model : FMModel
        Its arrays are written to. Features that the earlier model lacks stay as they are.
    hyperparameters : Hyperparameters
        Shape and predictor type; a group switched off by use_bias or use_linear stays as it is.

    Returns
    -------
    int
        Features of the earlier model.

    Raises
    ------
    UserError
        If there is no model, or it has more features, other factors or another predictor type.
    PlatformError
        If it cannot be read.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="fm-algo-model-") as unpacked:
            earlier = _read_model(directory, Path(unpacked))
            _check(earlier, hyperparameters)
            known = earlier.feature_dim
            if hyperparameters.use_bias:
                model.w0[:] = earlier.w0
            if hyperparameters.use_linear:
                model.w[:known] = earlier.w
            model.V[:known] = earlier.V
    except OSError as error:
        raise PlatformError(f"{_PLACE}: {directory} cannot be read: {error}") from error
    return known


def _read_model(directory: Path, scratch: Path) -> FMModel:
    """Map the model of a channel, whatever its form; `scratch` is for what must be unpacked."""
    try:
        if (directory / ARCHIVE).is_file():
            _unpack(directory / ARCHIVE, scratch)
            return load_model(scratch)
        return load_model(directory)
    except UserError as error:
        raise error.within(_PLACE) from error


def _unpack(archive: Path, scratch: Path) -> None:
    """Take the model file out of an archive, and nothing else."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if Path(member.name).name == MODEL_FILE and (content := tar.extractfile(member)):
                    with (scratch / MODEL_FILE).open("wb") as file:
                        shutil.copyfileobj(content, file)
                    return
    except (tarfile.TarError, EOFError, zlib.error) as error:
        cause, _, _ = str(error).partition("\n")  # more lines tell of each compression tried
        raise UserError(f"{archive.name}: the archive is damaged: {cause.rstrip(':')}") from error
    raise UserError(f"{archive.name}: there is no {MODEL_FILE} in it")


def _check(earlier: FMModel, hyperparameters: Hyperparameters) -> None:
    problems = [
        f"{name}={there} there, {here} here"
        for name, there, here in (
            ("predictor_type", earlier.predictor_type, hyperparameters.predictor_type),
            ("num_factors", earlier.num_factors, hyperparameters.num_factors),
        )
        if there != here
    ]
    if earlier.feature_dim > hyperparameters.feature_dim:
        problems.append(
            f"feature_dim={earlier.feature_dim} there, {hyperparameters.feature_dim} here: it may "
            "grow, not shrink"
        )
    if problems:
        raise UserError(f"{_PLACE}: its model does not fit this job: {'; '.join(problems)}")
