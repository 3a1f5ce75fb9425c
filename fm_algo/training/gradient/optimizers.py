"""The optimisers, as formulas on arrays: how every kernel must update parameters by a gradient.

All are lazy: a step touches only the features present in its mini-batch, with their states. All
take the gradient ``g = clip(rescale · Σ_rows gradient + wd · θ)``. Decay is part of the gradient,
and clipping comes after it, as in MXNet's optimisers (apache/mxnet 1.3, optimizer_op-inl.h).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters, Optimizer
from fm_algo.sparse import Float32Array

BETA1 = 0.9
BETA2 = 0.999
FTRL_BETA = 1.0
DEFAULT_EPSILON = 1e-8

Numbers = NDArray[np.float64] | Float32Array


@dataclass(frozen=True, slots=True)
class Constants:
    """Numbers that stay the same for a whole job.

    Attributes
    ----------
    rescale : float
        Factor of each summed gradient; by default 1 / mini_batch_size, also for short batches.
    clip : float
        Largest absolute gradient, decay included; infinite when off.
    epsilon : float
        Added to the root of a second moment.
    l1 : float
        FTRL's λ1, in units of a rescaled gradient.
    """

    rescale: float
    clip: float
    epsilon: float
    l1: float

    @classmethod
    def of(cls, hyperparameters: Hyperparameters) -> Self:
        """Take them from the hyperparameters; the defaults are those of the built-in."""
        rescale, clip, eps = (
            hyperparameters.rescale_grad,
            hyperparameters.clip_gradient,
            hyperparameters.eps,
        )
        return cls(
            rescale=1 / hyperparameters.mini_batch_size if rescale is None else rescale,
            clip=clip if clip is not None and clip > 0 else math.inf,
            epsilon=DEFAULT_EPSILON if eps is None else eps,
            l1=hyperparameters.l1,
        )


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """One optimiser.

    Attributes
    ----------
    num_states : int
        Numbers kept per parameter.
    update : callable
        ``update(θ, states, g, lr, constants)`` returns the new θ and states. θ, g and each state
        have shape (n,) or (n, num_factors); in the latter case a row-wise state has (n, 1).
    """

    num_states: int
    update: Callable[
        [Numbers, list[Numbers], Numbers, float, Constants], tuple[Numbers, list[Numbers]]
    ]


def _adam(
    theta: Numbers, states: list[Numbers], g: Numbers, lr: float, constants: Constants
) -> tuple[Numbers, list[Numbers]]:
    """Adam as in the built-in algorithm: m = β1 m + (1 − β1) g, s = β2 s + (1 − β2) g².

    θ = θ − lr · m / (√s + ε). Kingma and Ba, "Adam", ICLR 2015, in the order given at the end of
    section 2: the bias correction is part of the rate (`learning_rate`) and does not affect ε.
    """
    m = BETA1 * states[0] + (1 - BETA1) * g
    s = BETA2 * states[1] + (1 - BETA2) * g**2
    return theta - lr * m / (np.sqrt(s) + constants.epsilon), [m, s]


def _adagrad(
    theta: Numbers, states: list[Numbers], g: Numbers, lr: float, constants: Constants
) -> tuple[Numbers, list[Numbers]]:
    """Adagrad: s = s + g², θ = θ − lr · g / (√s + ε).

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 12, 2011, in its diagonal form.
    """
    s = states[0] + g**2
    return theta - lr * g / (np.sqrt(s) + constants.epsilon), [s]


def _rowwise_adagrad(
    theta: Numbers, states: list[Numbers], g: Numbers, lr: float, constants: Constants
) -> tuple[Numbers, list[Numbers]]:
    """Row-wise Adagrad, one s per row: s = s + mean(g²), θ = θ − lr · g / (√s + ε).

    Gupta et al., "Training Recommender Systems at Scale", KDD 2020 (row-wise Adagrad).
    """
    squares = g**2
    s = states[0] + (squares.mean(axis=1, keepdims=True) if g.ndim == 2 else squares)
    return theta - lr * g / (np.sqrt(s) + constants.epsilon), [s]


def _ftrl(
    theta: Numbers, states: list[Numbers], g: Numbers, lr: float, constants: Constants
) -> tuple[Numbers, list[Numbers]]:
    """FTRL-Proximal: z = z + lr · g − (√(n + g²) − √n) θ, n = n + g².

    θ = −shrink(z, lr · λ1) / (β + √n), shrink(z, a) = sign(z) max(|z| − a, 0), β = 1. McMahan and
    others, "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1. Our z is theirs
    times α, our lr, so that a rate of 0 leaves θ where it is. Their λ2 is our decay, part of g.
    """
    z, n = states
    new_n = n + g**2
    z = z + lr * g - (np.sqrt(new_n) - np.sqrt(n)) * theta
    shrunk = np.sign(z) * np.maximum(np.abs(z) - lr * constants.l1, 0)
    return -shrunk / (FTRL_BETA + np.sqrt(new_n)), [z, new_n]


def _sgd(
    theta: Numbers, states: list[Numbers], g: Numbers, lr: float, constants: Constants
) -> tuple[Numbers, list[Numbers]]:
    """Plain gradient descent: θ = θ − lr · g."""
    return theta - lr * g, states


UPDATE_RULES: dict[Optimizer, UpdateRule] = {
    "adam": UpdateRule(2, _adam),
    "adagrad": UpdateRule(1, _adagrad),
    "rowwise_adagrad": UpdateRule(1, _rowwise_adagrad),
    "ftrl": UpdateRule(2, _ftrl),
    "sgd": UpdateRule(0, _sgd),
}

OPTIMIZER_CODES: dict[Optimizer, int] = {
    "adam": 0,
    "adagrad": 1,
    "rowwise_adagrad": 2,
    "ftrl": 3,
    "sgd": 4,
}
"""The numbers by which compiled code knows the optimisers."""


def learning_rate(optimizer: Optimizer, lr: float, step: int) -> float:
    """Return the rate at step 1, 2, …; for Adam times the correction √(1 − β2^t) / (1 − β1^t).

    All parameters share one count of steps, present in the batch or not, as in MXNet.
    """
    return lr * math.sqrt(1 - BETA2**step) / (1 - BETA1**step) if optimizer == "adam" else lr


def field_weights_lr(hyperparameters: Hyperparameters) -> float:
    """Return the rate of the weights of pairs of fields."""
    own = hyperparameters.field_weights_lr
    return hyperparameters.factors_lr if own is None else own


class StepConstants(NamedTuple):
    """The numbers that turn a step's gradients into updates, as a tuple for compiled code.

    Attributes
    ----------
    optimizer : int
        Its number in `OPTIMIZER_CODES`.
    num_factors : int
    use_bias, use_linear : bool
    bias_lr, linear_lr, factors_lr : float32
        Rates at this step, from `learning_rate`.
    bias_wd, linear_wd, factors_wd : float32
    rescale, clip, epsilon, l1 : float32
        See `Constants`.
    """

    optimizer: int
    num_factors: int
    use_bias: bool
    use_linear: bool
    bias_lr: np.float32
    linear_lr: np.float32
    factors_lr: np.float32
    bias_wd: np.float32
    linear_wd: np.float32
    factors_wd: np.float32
    rescale: np.float32
    clip: np.float32
    epsilon: np.float32
    l1: np.float32

    @classmethod
    def of(cls, hyperparameters: Hyperparameters) -> Self:
        """Take them from the hyperparameters; the rates are those given there, before any step."""
        constants = Constants.of(hyperparameters)
        return cls(
            optimizer=OPTIMIZER_CODES[hyperparameters.optimizer],
            num_factors=hyperparameters.num_factors,
            use_bias=hyperparameters.use_bias,
            use_linear=hyperparameters.use_linear,
            bias_lr=np.float32(hyperparameters.bias_lr),
            linear_lr=np.float32(hyperparameters.linear_lr),
            factors_lr=np.float32(hyperparameters.factors_lr),
            bias_wd=np.float32(hyperparameters.bias_wd),
            linear_wd=np.float32(hyperparameters.linear_wd),
            factors_wd=np.float32(hyperparameters.factors_wd),
            rescale=np.float32(constants.rescale),
            clip=np.float32(constants.clip),
            epsilon=np.float32(constants.epsilon),
            l1=np.float32(constants.l1),
        )

    def at(self, step: int, hyperparameters: Hyperparameters) -> Self:
        """Return those of step 1, 2, …; only rates differ, and are rounded after their formula."""
        optimizer = hyperparameters.optimizer
        return self._replace(
            bias_lr=np.float32(learning_rate(optimizer, hyperparameters.bias_lr, step)),
            linear_lr=np.float32(learning_rate(optimizer, hyperparameters.linear_lr, step)),
            factors_lr=np.float32(learning_rate(optimizer, hyperparameters.factors_lr, step)),
        )


def initial_ftrl_z(theta: Float32Array, lr: float, l1: float) -> Float32Array:
    """Return the z from which FTRL's formula gives `theta` while n is 0.

    With z = 0, the first update would forget the initial value. And factors that are all 0 stay
    there, because the gradient of each factor is a multiple of the others.
    """
    return -(FTRL_BETA * theta + np.sign(theta) * np.float32(lr * l1)).astype(np.float32)
