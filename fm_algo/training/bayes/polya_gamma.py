"""Numbers of the Pólya-Gamma distribution PG(1, z): Devroye's sampler, as Polson, Scott and Windle.

PG(1, z) is a quarter of J*(1, z/2), whose density is a series of alternating signs: a proposal is
right if it lies below an odd partial sum, wrong if it lies above an even one. Proposals are inverse
Gaussian numbers up to 0.64, and exponential ones beyond.

Sources: Devroye, "On exact simulation algorithms for some distributions related to Jacobi theta
functions", 2009; Polson, Scott, Windle, JASA 2013, section 4 and its supplement.
"""

import math

import numpy as np

from fm_algo.jit import njit
from fm_algo.training.bayes.random import Stream, uniform_pair

_CUT = 0.64  # Devroye's: where the two series change over
_PI = math.pi


@njit(nogil=True, error_model="numpy", cache=True)
def polya_gamma_mean(z: float) -> float:
    """Mean of PG(1, z): tanh(z/2) / (2 z), and ¼ at 0."""
    small = abs(z)
    if small < 1e-3:
        return 0.25 - small * small / 48.0
    return math.tanh(0.5 * small) / (2.0 * small)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _coefficient(n: int, x: float) -> float:
    """Term n of the series of the density at x, without exp(−z² x/2) cosh(z)."""
    half = n + 0.5
    if x > _CUT:
        return _PI * half * math.exp(-0.5 * half * half * _PI * _PI * x)
    return _PI * half * (2.0 / (_PI * x)) ** 1.5 * math.exp(-2.0 * half * half / x)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _share_beyond(z: float) -> float:
    """Probability that a proposal is beyond the cut."""
    rate = 0.125 * _PI * _PI + 0.5 * z * z
    root = math.sqrt(0.5 / _CUT)
    beyond = math.exp(-rate * _CUT) * _PI / (2.0 * rate)
    # 2 e^-z times the inverse Gaussian distribution function at the cut, mean 1/z and shape 1.
    lower = math.erfc(-root * (_CUT * z - 1.0))
    upper = math.exp(2.0 * z) * math.erfc(root * (_CUT * z + 1.0)) if z < 200.0 else 0.0
    within = math.exp(-z) * (lower + upper)
    return beyond / (beyond + within)


@njit(nogil=True, error_model="numpy", cache=True)
def draw_polya_gamma(margin: float, whose: Stream) -> float:
    """Draw a number of PG(1, margin)."""
    z = 0.5 * abs(margin)
    rate = 0.125 * _PI * _PI + 0.5 * z * z
    share = _share_beyond(z)
    block, one = np.uint64(0), np.uint64(1)
    while True:
        u, v = uniform_pair(block, whose)
        block += one
        if u < share:
            x = _CUT - math.log(v) / rate
        elif z * _CUT < 1.0:
            # One over a chi-square number with one degree of freedom, cut, and thinned.
            while True:
                while True:
                    a, b = uniform_pair(block, whose)
                    block += one
                    first, second = -math.log(a), -math.log(b)
                    if first * first <= 2.0 * second / _CUT:
                        break
                x = _CUT / (1.0 + _CUT * first) ** 2
                a, _ = uniform_pair(block, whose)
                block += one
                if a <= math.exp(-0.5 * z * z * x):
                    break
        else:
            # Michael, Schucany and Haas, 1976, until it lies within.
            while True:
                a, b = uniform_pair(block, whose)
                c, _ = uniform_pair(block + one, whose)
                block += one + one
                square = -2.0 * math.log(a) * math.cos(2.0 * _PI * b) ** 2
                mean = 1.0 / z
                x = mean + 0.5 * mean * mean * square - 0.5 * mean * math.sqrt(
                    4.0 * mean * square + (mean * square) ** 2
                )
                if c > mean / (mean + x):
                    x = mean * mean / x
                if x <= _CUT:
                    break
        total = _coefficient(0, x)
        a, _ = uniform_pair(block, whose)
        block += one
        y, n = a * total, 0
        while True:
            n += 1
            if n % 2:
                total -= _coefficient(n, x)
                if y <= total:
                    return 0.25 * x
            else:
                total += _coefficient(n, x)
                if y > total:
                    break
