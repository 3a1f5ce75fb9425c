"""Numbers of the Pólya-Gamma distribution PG(b, z): Devroye's sampler, as Polson, Scott and Windle.

PG(1, z) is a quarter of J*(1, z/2), whose density is a series of alternating signs: a proposal is
right if it lies below an odd partial sum, wrong if it lies above an even one. Proposals are inverse
Gaussian numbers up to 0.64, and exponential ones beyond. PG(b, z) is the sum of b such numbers.
What b has beyond a whole number, or beyond eight, is drawn from the series that defines it.

Sources: Devroye, "On exact simulation algorithms for some distributions related to Jacobi theta
functions", 2009; Polson, Scott, Windle, JASA 2013, section 4 and its supplement.
"""

import math

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.runtime.philox import Stream, philox, stream
from fm_algo.training.bayes.random import NUM_PURPOSES, ROW, gamma

_CUT = 0.64  # Devroye's: where the two series change over
_PI = math.pi
_SURE = 1.0 - 3.0 * math.exp(-4.0 / _CUT) - 1e-6
"""Least share of a proposal's density that is kept: at the cut, 1 − a₁/a₀ of either series."""

_TABLE_STEP, _TABLE_END = 1.0 / 256, 16.0

_MOST_DRAWS = 8
"""Numbers of PG(1, z) added up for one row: so many cost about as much as the series."""

_LEAST = 1e-30
"""Keeps (y − ½) / ω in float32, whatever the weight; a row of such an ω has no say."""

_NUM_TERMS = 8
"""Terms of the series that are drawn. The others, 4e-5 of the variance, are drawn as one."""


def _share_beyond(z: float) -> float:
    """Probability that a proposal is beyond the cut: p / (p + q) of Polson, Scott, Windle."""
    rate = 0.125 * _PI * _PI + 0.5 * z * z
    beyond = math.exp(-rate * _CUT) * _PI / (2 * rate)
    # The inverse Gaussian distribution function at the cut, of mean 1/z and shape 1, times 2 e^-z.
    root = math.sqrt(0.5 / _CUT)
    lower = math.erfc(-root * (_CUT * z - 1)) * math.exp(-z)
    upper = math.exp(z) * math.erfc(root * (_CUT * z + 1))
    return beyond / (beyond + lower + upper)


_SHARES = np.array(
    [_share_beyond(n * _TABLE_STEP) for n in range(int(_TABLE_END / _TABLE_STEP) + 2)], np.float32
)
"""Straight lines between them are right to 1e-6; from the end of the table on the share is 0."""


@njit(nogil=True, error_model="numpy", cache=True)
def polya_gamma_mean(z: float) -> float:
    """Mean of PG(1, z): tanh(z/2) / (2 z), and ¼ at 0."""
    small = abs(z)
    if small < 1e-3:
        return 0.25 - small * small / 48.0
    return math.tanh(0.5 * small) / (2.0 * small)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _share(z: float) -> float:
    place = z / _TABLE_STEP
    if place >= _TABLE_END / _TABLE_STEP:
        return 0.0
    n = np.uint64(place)
    low, high = np.float64(_SHARES[n]), np.float64(_SHARES[n + np.uint64(1)])
    return low + (place - np.float64(n)) * (high - low)


@njit(nogil=True, error_model="numpy", cache=True)
def _ratio(n: int, x: float) -> float:
    """Term n of the series of the density at x over its first."""
    odd = 2.0 * n + 1.0
    beyond = -0.5 * _PI * _PI * x * (n * n + n)
    within = -2.0 * (n * n + n) / x
    return odd * math.exp(beyond if x > _CUT else within)


@njit(nogil=True, error_model="numpy", cache=True)
def _is_kept(u: float, x: float) -> bool:
    """Whether a proposal at x is kept, of a uniform number: the series, as far as needed."""
    total, n = 1.0, 0
    while True:
        n += 1
        if n % 2:
            total -= _ratio(n, x)
            if u <= total:
                return True
        else:
            total += _ratio(n, x)
            if u > total:
                return False


@njit(nogil=True, error_model="numpy", forceinline=True)
def _uniform(word: np.uint64) -> float:
    return (np.float64(np.int64(word)) + 0.5) * 2.0**-32


@njit(nogil=True, error_model="numpy", forceinline=True)
def _inverse_gaussian(mean: float, shape: float, u: float, v: float, spare: float) -> float:
    """Make an inverse Gaussian number of three uniform ones: Michael, Schucany and Haas, 1976."""
    square = -2.0 * math.log(u) * math.cos(2.0 * _PI * v) ** 2
    part = 0.5 * mean * square / shape
    x = mean / (1.0 + part + math.sqrt(part * (part + 2.0)))
    return mean * mean / x if spare > mean / (mean + x) else x


@njit(nogil=True, error_model="numpy", cache=True)
def draw_polya_gamma(margin: float, whose: Stream) -> float:
    """Draw a number of PG(1, margin).

    Each proposal takes a block of a stream. The number that decides between the two kinds serves
    once more: what it leaves over is uniform too.
    """
    z = 0.5 * abs(margin)
    rate, share = 0.125 * _PI * _PI + 0.5 * z * z, _share(z)
    block, is_chosen, is_beyond = np.uint64(0), False, False
    while True:
        word0, word1, word2, word3 = philox(block, whose)
        block += np.uint64(1)
        spare, u, v, keep = _uniform(word0), _uniform(word1), _uniform(word2), _uniform(word3)
        if not is_chosen:
            is_chosen, is_beyond = True, spare < share
            spare = spare / share if is_beyond else (spare - share) / (1.0 - share)
        if is_beyond:
            x = _CUT - math.log(u) / rate
        elif z * _CUT < 1.0:
            # One over the square of a normal number from the tail, thinned.
            first = -math.log(u)
            if first * first * _CUT > -2.0 * math.log(v):
                continue
            x = _CUT / (1.0 + _CUT * first) ** 2
            if spare > math.exp(-0.5 * z * z * x):
                continue
        else:
            x = _inverse_gaussian(1.0 / z, 1.0, u, v, spare)
            if x > _CUT:
                continue
        if keep < _SURE or _is_kept(keep, x):
            return 0.25 * x
        is_chosen = False


@njit(nogil=True, error_model="numpy", cache=True)
def draw_row(weight: float, margin: float, seed: int, sweep: int, row: int) -> float:
    """Draw ω of a row of any weight above 0: a number of PG(weight, margin).

    The likelihood of the row to the power of its weight is that of ω ~ PG(weight, margin) with
    κ = weight · (y − ½) (Polson, Scott, Windle, theorem 1). A row of weight 1 draws the number that
    it draws without weights.
    """
    whole = min(int(weight), _MOST_DRAWS)
    omega = 0.0
    for n in range(whole):
        omega += draw_polya_gamma(margin, stream(seed, sweep, ROW + n * NUM_PURPOSES, row))
    rest = weight - whole
    if rest > 0.0:
        omega += _draw_series(rest, margin, seed, sweep, row)
    return max(omega, _LEAST)


@njit(nogil=True, error_model="numpy", cache=True)
def _draw_series(b: float, margin: float, seed: int, sweep: int, row: int) -> float:
    """Draw from PG(b, z) = Σ_k g_k / (2π² ((k − ½)² + a²)), g_k ~ Gamma(b, 1), a = z / 2π.

    Polson, Scott, Windle, equation 1. All terms beyond the first few are one inverse Gaussian
    number, of the mean and (to a hundredth) the variance of their sum: PG(b, z) itself comes close
    to one for large z.
    """
    unit = 1.0 / (2.0 * _PI * _PI)
    a = margin / (2.0 * _PI)
    mean, omega = b * polya_gamma_mean(margin), 0.0
    for k in range(_NUM_TERMS):
        size = unit / ((k + 0.5) ** 2 + a * a)
        whose = stream(seed, sweep, ROW + (_MOST_DRAWS + k) * NUM_PURPOSES, row)
        omega += size * gamma(b, 1.0, whose)
        mean -= b * size
    variance = b * unit * unit * _squares_beyond(abs(a) / _NUM_TERMS)
    whose = stream(seed, sweep, ROW + (_MOST_DRAWS + _NUM_TERMS) * NUM_PURPOSES, row)
    word0, word1, word2, _ = philox(np.uint64(0), whose)
    u, v, spare = _uniform(word0), _uniform(word1), _uniform(word2)
    return omega + _inverse_gaussian(mean, mean**3 / variance, u, v, spare)


@njit(nogil=True, error_model="numpy", cache=True)
def _squares_beyond(u: float) -> float:
    """Sum 1 / ((k − ½)² + a²)² over the terms beyond the first K, u = a / K, as an integral."""
    if u < 0.1:
        beyond = 1.0 / 3.0 - 0.4 * u * u
    else:
        beyond = (math.atan(u) / u - 1.0 / (1.0 + u * u)) / (2.0 * u * u)
    return beyond / _NUM_TERMS**3
