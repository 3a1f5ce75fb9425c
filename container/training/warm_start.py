"""The `model` channel: a model to start from."""

from pathlib import Path

from fm_algo.artifacts.model_source import load_any_model
from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel

_PLACE = "model channel"


def start_from(directory: Path, model: FMModel, hyperparameters: Hyperparameters) -> int:
    """Write the parameters of an earlier job's model over those of a new one.

    Parameters
    ----------
    directory : Path
        The channel's: model.tar.gz as a job of ours or of the built-in left it, or what was in it.
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
        earlier = load_any_model(directory)
    except UserError as error:
        raise error.within(_PLACE) from error
    except OSError as error:
        raise PlatformError(f"{_PLACE}: {directory} cannot be read: {error}") from error
    _check(earlier, hyperparameters)
    known = earlier.feature_dim
    if hyperparameters.use_bias:
        model.w0[:] = earlier.w0
    if hyperparameters.use_linear:
        model.w[:known] = earlier.w
    model.V[:known] = earlier.V
    return known


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
