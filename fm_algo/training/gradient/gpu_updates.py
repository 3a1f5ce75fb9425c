"""The rules of the optimisers as the programs of the GPU kernel apply them (see `optimizers`)."""

import math

import triton
import triton.language as tl
from triton.language import constexpr

from fm_algo.training.gradient.optimizers import BETA1, BETA2, FTRL_BETA, OPTIMIZER_CODES

ADAM, ADAGRAD, ROWWISE_ADAGRAD, FTRL, SGD = (constexpr(c) for c in OPTIMIZER_CODES.values())
_BETA1, _BETA2, _FTRL_BETA = constexpr(BETA1), constexpr(BETA2), constexpr(FTRL_BETA)
_LOG_BETA1, _LOG_BETA2 = constexpr(math.log(BETA1)), constexpr(math.log(BETA2))


@triton.jit
def rate_correction(step):
    """Return the factor of Adam's rates at step 1, 2, … (`learning_rate`)."""
    t = step.to(tl.float64)
    remaining1 = 1.0 - tl.exp(t * _LOG_BETA1)
    remaining2 = 1.0 - tl.exp(t * _LOG_BETA2)
    return (tl.sqrt(remaining2) / remaining1).to(tl.float32)


@triton.jit
def load_number(theta_at, OPTIMIZER: constexpr, is_there=None):
    """Load a single parameter and its states, which follow it; states that it lacks are 0.

    `theta_at` may point to many of them, of which those are loaded that `is_there` says.
    """
    theta = tl.load(theta_at, is_there)
    a = theta * 0.0
    b = theta * 0.0
    if OPTIMIZER != SGD:
        a = tl.load(theta_at + 1, is_there)
    if (OPTIMIZER == ADAM) | (OPTIMIZER == FTRL):
        b = tl.load(theta_at + 2, is_there)
    return theta, a, b


@triton.jit
def update_number(theta_at, theta, a, b, g, lr, epsilon, l1, OPTIMIZER: constexpr):
    """Update a single parameter that `load_number` has loaded."""
    theta, a, b = updated_number(theta, a, b, g, lr, epsilon, l1, OPTIMIZER)
    store_number(theta_at, theta, a, b, OPTIMIZER)


@triton.jit
def updated_number(theta, a, b, g, lr, epsilon, l1, OPTIMIZER: constexpr):
    """Return a single parameter and its states after an update."""
    if OPTIMIZER == ROWWISE_ADAGRAD:  # a row of one number
        a += g * g
    return apply_rule(theta, a, b, g, lr, epsilon, l1, OPTIMIZER)


@triton.jit
def store_number(theta_at, theta, a, b, OPTIMIZER: constexpr, is_there=None):
    """Store what `load_number` loads."""
    tl.store(theta_at, theta, is_there)
    if OPTIMIZER != SGD:
        tl.store(theta_at + 1, a, is_there)
    if (OPTIMIZER == ADAM) | (OPTIMIZER == FTRL):
        tl.store(theta_at + 2, b, is_there)


@triton.jit
def apply_rule(theta, a, b, g, lr, epsilon, l1, OPTIMIZER: constexpr):
    """Update parameters and their two states; the formulas are those of `optimizers`.

    For row-wise Adagrad, a is already the new state.
    """
    if OPTIMIZER == ADAM:
        a = _BETA1 * a + (1 - _BETA1) * g
        b = _BETA2 * b + (1 - _BETA2) * g * g
        theta = theta - lr * a / (tl.sqrt(b) + epsilon)
    elif OPTIMIZER == ADAGRAD:
        a = a + g * g
        theta = theta - lr * g / (tl.sqrt(a) + epsilon)
    elif OPTIMIZER == ROWWISE_ADAGRAD:
        theta = theta - lr * g / (tl.sqrt(a) + epsilon)
    elif OPTIMIZER == FTRL:
        n = b + g * g
        a = a + lr * g - (tl.sqrt(n) - tl.sqrt(b)) * theta
        b = n
        theta = (clipped(a, lr * l1) - a) / (tl.sqrt(n) + _FTRL_BETA)
    else:
        theta = theta - lr * g
    return theta, a, b


@triton.jit
def clipped(numbers, limit):
    """Clip to [-limit, limit]; nan stays nan, so that it is found."""
    cut = tl.where(numbers > limit, limit, numbers)
    return tl.where(numbers < -limit, -limit, cut)
