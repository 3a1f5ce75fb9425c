"""Draw the initial parameters of a model."""

import math

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES
from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import Float32Array
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.peers import Alone, Peers
from fm_algo.training.rows import Rows
from fm_algo.training.state import ParameterStore, WritableArray

_BLOCK_NUMBERS = 1 << 22
"""Numbers drawn at once; they need 16 MB of memory besides the model's own."""


def zero_model(hyperparameters: Hyperparameters, space: FeatureSpace | None = None) -> FMModel:
    """Make a model of the job's shape, all parameters 0; with weights of the fields of `space`."""
    feature_dim, num_factors = hyperparameters.feature_dim, hyperparameters.num_factors
    return FMModel(
        hyperparameters.predictor_type,
        np.zeros(1, np.float32),
        np.zeros(feature_dim, np.float32),
        np.zeros((feature_dim, num_factors), np.float32),
        field_weights=None if space is None else FieldWeights.of_ones(space),
    )


def initial_model(hyperparameters: Hyperparameters, space: FeatureSpace | None = None) -> FMModel:
    """Make a model with the initial parameters that `draw_initial` draws."""
    model = zero_model(hyperparameters, space)
    draw_initial(model, hyperparameters)
    return model


def draw_initial(model: ParameterStore, hyperparameters: Hyperparameters) -> None:
    """Draw the initial parameters of all features, also of those never seen in the data.

    Parameters
    ----------
    model : ParameterStore
        Its arrays are written in place, block by block from the start.
    hyperparameters : Hyperparameters
        Init methods with their values, and the seed. A group that use_bias or use_linear switches
        off is set to 0. Weights of pairs of fields begin at 1, as if they all counted alike.
    """
    if model.field_weights is not None:
        model.field_weights.R[:] = 1
    is_on = {
        "bias": hyperparameters.use_bias,
        "linear": hyperparameters.use_linear,
        "factors": True,
    }
    groups: tuple[tuple[str, WritableArray], ...]
    groups = (("bias", model.w0), ("linear", model.w), ("factors", model.V))
    for group, values in groups:
        # The seed includes the group's name: no group's numbers depend on another group's shape.
        random = np.random.default_rng([hyperparameters.seed, *group.encode()])
        rows = max(1, _BLOCK_NUMBERS // math.prod(values.shape[1:]))
        for start in range(0, values.shape[0], rows):
            shape = (min(rows, values.shape[0] - start), *values.shape[1:])
            values[start : start + rows] = (
                _draw(hyperparameters, group, shape, random) if is_on[group] else 0
            )


def start_at_mean(
    model: ParameterStore,
    hyperparameters: Hyperparameters,
    rows: Rows,
    peers: Peers | None = None,
) -> None:
    """Write the bias that bias_init_method=mean asks for: the margin of the labels' weighted mean.

    Parameters
    ----------
    model : ParameterStore
        Its w0 is written.
    hyperparameters : Hyperparameters
    rows : Rows
        The training rows of this host; those that are not in memory are read once more.
    peers : Peers, optional
        The other hosts of the job. The mean is that of all their labels.
    """
    if hyperparameters.bias_init_method != "mean" or not hyperparameters.use_bias:
        return
    own = np.zeros(2)  # weight of the rows, and of their labels
    for block in rows.weighing_positives(hyperparameters.positive_weight).blocks(0):
        labels = block.require_labels()
        for number, each in enumerate((np.ones_like(labels), labels)):
            own[number] += block.weigh(each).sum(dtype=np.float64)
    num_labels, total = (peers or Alone()).add_up(own).tolist()
    if num_labels:
        model.w0[:] = LOSSES[hyperparameters.predictor_type].margin_of_mean(num_labels, total)


def _draw(
    hyperparameters: Hyperparameters,
    group: str,
    shape: tuple[int, ...],
    random: np.random.Generator,
) -> Float32Array:
    """Draw numbers of one group: N(0, sigma), U(-scale, scale) or a constant."""
    method = getattr(hyperparameters, f"{group}_init_method")
    if method == "mean":
        return np.zeros(shape, np.float32)  # until `start_at_mean` knows the labels
    if method == "constant":
        return np.full(shape, getattr(hyperparameters, f"{group}_init_value"), np.float32)
    if method == "uniform":
        scale = np.float32(getattr(hyperparameters, f"{group}_init_scale"))
        return random.random(shape, np.float32) * (2 * scale) - scale
    sigma = np.float32(getattr(hyperparameters, f"{group}_init_sigma"))
    return random.standard_normal(shape, np.float32) * sigma
