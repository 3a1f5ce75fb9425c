"""Random numbers of the samplers: what a draw is for, and the distributions.

`fm_algo.runtime.philox` makes the words. An item's stream is that of a feature or a row in a sweep.
"""

import math

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.runtime.philox import Stream, uniform_pair

FEATURE, ROW, BIAS, GROUP = range(4)
"""What a draw is for."""

NUM_PURPOSES = 4
"""It is added n times to a purpose for draw n of an item."""


@njit(nogil=True, error_model="numpy", cache=True)
def normal(whose: Stream) -> float:
    """One standard normal number, float64: Box and Muller, 1958."""
    u, v = uniform_pair(np.uint64(0), whose)
    return math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)


@njit(nogil=True, error_model="numpy", cache=True)
def gamma(shape: float, rate: float, whose: Stream) -> float:
    """One number of the gamma distribution, shape above 0: Marsaglia and Tsang, 2000.

    A shape below 1 is made from one above: their section 6.
    """
    boosted = shape if shape >= 1.0 else shape + 1.0
    d = boosted - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    block, factor = np.uint64(1), 1.0
    if shape < 1.0:
        u, _ = uniform_pair(np.uint64(0), whose)
        factor = u ** (1.0 / shape)
    while True:
        u, v = uniform_pair(block, whose)
        x = math.sqrt(-2.0 * math.log(u)) * math.cos(2.0 * math.pi * v)
        u, _ = uniform_pair(block + np.uint64(1), whose)
        block += np.uint64(2)
        cube = (1.0 + c * x) ** 3
        if cube > 0.0 and math.log(u) < 0.5 * x * x + d - d * cube + d * math.log(cube):
            return d * cube * factor / rate
