"""Start training from an earlier model."""

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.training.state import ParameterStore


def start_from(earlier: FMModel, model: ParameterStore, hyperparameters: Hyperparameters) -> None:
    """Write an earlier model's parameters over those of a new one.

    Parameters
    ----------
    earlier : FMModel
    model : ParameterStore
        The new model. Features that the earlier model lacks stay as they are.
    hyperparameters : Hyperparameters
        Those of the new model. A group that use_bias or use_linear switches off stays as it is.

    Raises
    ------
    UserError
        If the earlier model has more features, another number of factors or another predictor type.
    """
    _check(earlier, hyperparameters)
    known = slice(0, earlier.feature_dim)
    if hyperparameters.use_bias:
        model.w0[:] = earlier.w0
    if hyperparameters.use_linear:
        model.w[known] = earlier.w
    model.V[known] = earlier.V


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
        raise UserError(f"its model does not fit this job: {'; '.join(problems)}")
