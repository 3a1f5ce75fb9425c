"""Start training from an earlier model."""

from collections.abc import Sequence

import numpy as np

from fm_algo.data.tables.moves import Move
from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FieldWeights, FMModel
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
        Weights of pairs of fields that the earlier model lacks do so, too.
    moves : sequence of Move, optional
        Which features of the earlier model are which of the new one; by default each is the one of
        the same number.

    Raises
    ------
    UserError
        If the earlier model has another number of factors or another predictor type; weights of
        pairs of fields where the new one has none; or, without moves, more features.
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
    if earlier.field_weights is not None and model.field_weights is not None:
        _copy_weights(earlier.field_weights, model.field_weights)


def _copy_weights(earlier: FieldWeights, later: FieldWeights) -> None:
    """Copy the weights of those pairs of fields that both models have, by the fields' names."""
    places = {name: place for place, name in enumerate(earlier.space.fields)}
    both = [place for place, name in enumerate(later.space.fields) if name in places]
    there = [places[later.space.fields[place]] for place in both]
    later.R[np.ix_(both, both)] = earlier.R[np.ix_(there, there)]


def _check(earlier: FMModel, hyperparameters: Hyperparameters, moves: Sequence[Move]) -> None:
    problems = [
        f"{name}={there} there, {here} here"
        for name, there, here in (
            ("predictor_type", earlier.predictor_type, hyperparameters.predictor_type),
            ("num_factors", earlier.num_factors, hyperparameters.num_factors),
        )
        if there != here
    ]
    if earlier.field_weights is not None and not hyperparameters.is_field_weighted:
        problems.append(
            f"interaction=field_weighted there, {hyperparameters.interaction} here: weights of "
            "fields would be lost"
        )
    if any(to + stop - first > hyperparameters.feature_dim for first, stop, to in moves):
        problems.append(
            f"feature_dim={earlier.feature_dim} there, {hyperparameters.feature_dim} here: it may "
            "grow, not shrink"
        )
    if problems:
        raise UserError(f"its model does not fit this job: {'; '.join(problems)}")
