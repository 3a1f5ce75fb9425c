"""Start training from an earlier model."""

from collections.abc import Sequence

from fm_algo.data.tables.moves import Move
from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.training.state import ParameterStore


def start_from(
    earlier: FMModel,
    model: ParameterStore,
    hyperparameters: Hyperparameters,
    moves: Sequence[Move] | None = None,
) -> None:
    """Write an earlier model's parameters over those of a new one.

    Parameters
    ----------
    earlier : FMModel
    model : ParameterStore
        The new model. Features that the earlier model lacks stay as they are.
    hyperparameters : Hyperparameters
        Those of the new model. A group that use_bias or use_linear switches off stays as it is.
    moves : sequence of Move, optional
        Which features of the earlier model are which of the new one; by default each is the one of
        the same number.

    Raises
    ------
    UserError
        If the earlier model has another number of factors or another predictor type; or, without
        moves, more features.
    """
    if moves is None:
        moves = [Move(0, earlier.feature_dim, 0)]
    _check(earlier, hyperparameters, moves)
    if hyperparameters.use_bias:
        model.w0[:] = earlier.w0
    for first, stop, to in moves:
        known, now = slice(first, stop), slice(to, to + stop - first)
        if hyperparameters.use_linear:
            model.w[now] = earlier.w[known]
        model.V[now] = earlier.V[known]


def _check(earlier: FMModel, hyperparameters: Hyperparameters, moves: Sequence[Move]) -> None:
    problems = [
        f"{name}={there} there, {here} here"
        for name, there, here in (
            ("predictor_type", earlier.predictor_type, hyperparameters.predictor_type),
            ("num_factors", earlier.num_factors, hyperparameters.num_factors),
        )
        if there != here
    ]
    if any(to + stop - first > hyperparameters.feature_dim for first, stop, to in moves):
        problems.append(
            f"feature_dim={earlier.feature_dim} there, {hyperparameters.feature_dim} here: it may "
            "grow, not shrink"
        )
    if problems:
        raise UserError(f"its model does not fit this job: {'; '.join(problems)}")
