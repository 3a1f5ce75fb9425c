"""Where training starts."""

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array


def initial_model(hyperparameters: Hyperparameters) -> FMModel:
    """Draw the initial parameters: every feature's, also of those never seen in the data.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Methods, their numbers and the seed. A group switched off by use_bias or use_linear is 0.

    Returns
    -------
    FMModel
    """
    feature_dim, num_factors = hyperparameters.feature_dim, hyperparameters.num_factors
    # The largest group first: what does not fit in memory fails at once.
    V = _draw(hyperparameters, "factors", (feature_dim, num_factors))
    w0 = (
        _draw(hyperparameters, "bias", (1,))
        if hyperparameters.use_bias
        else np.zeros(1, np.float32)
    )
    w = (
        _draw(hyperparameters, "linear", (feature_dim,))
        if hyperparameters.use_linear
        else np.zeros(feature_dim, np.float32)
    )
    return FMModel(hyperparameters.predictor_type, w0, w, V)


def _draw(hyperparameters: Hyperparameters, group: str, shape: tuple[int, ...]) -> Float32Array:
    """Draw one group: N(0, sigma), U(-scale, scale) or a constant, in place."""
    # The group's name in the seed keeps the groups' numbers apart whatever their shapes.
    random = np.random.default_rng([hyperparameters.seed, *group.encode()])
    method = getattr(hyperparameters, f"{group}_init_method")
    if method == "constant":
        return np.full(shape, getattr(hyperparameters, f"{group}_init_value"), np.float32)
    if method == "uniform":
        scale = np.float32(getattr(hyperparameters, f"{group}_init_scale"))
        values = random.random(shape, np.float32)
        values *= 2 * scale
        values -= scale
        return values
    values = random.standard_normal(shape, np.float32)
    values *= np.float32(getattr(hyperparameters, f"{group}_init_sigma"))
    return values
