"""Priors that the features' own numbers teach: μ and λ of each group and each of its numbers.

λ ~ Gamma(½, ½) and μ ~ N(0, 1/λ) before any number is seen. Of n numbers θ, λ is drawn with μ
integrated out, then μ: one draw of both, where libFM draws each given the other.

λ ~ Gamma((1 + n)/2, (1 + Σθ² − (Σθ)²/(n + 1))/2), μ ~ N(Σθ/(n + 1), 1/((n + 1) λ)).

Source: Freudenthaler, Schmidt-Thieme, Rendle, "Bayesian Factorization Machines", 2011.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.philox import stream
from fm_algo.runtime.simd import WIDTH
from fm_algo.sparse import Float32Array, Int32Array, Int64Array
from fm_algo.training.bayes.feature_step import Priors, Step
from fm_algo.training.bayes.random import GROUP, gamma, normal

_PIECE_FEATURES = 4096


class Members(NamedTuple):
    """The features with rows, group by group, in pieces that lie in one group each.

    Attributes
    ----------
    features : int32, shape (num_columns,)
    pieces : int64, shape (num_pieces, 3)
        First and last place in `features`, and the group.
    counts : int64, shape (num_groups,)
        Features of each group.
    """

    features: Int32Array
    pieces: Int64Array
    counts: Int64Array


def find_members(features: Int32Array, groups: Int32Array, num_groups: int) -> Members:
    """Sort features, each with its group, by group."""
    order = np.lexsort((features, groups))
    counts = np.bincount(groups, minlength=num_groups).astype(np.int64)
    pieces, start = [], 0
    for group, count in enumerate(counts.tolist()):
        for first in range(start, start + count, _PIECE_FEATURES):
            pieces.append((first, min(first + _PIECE_FEATURES, start + count), group))  # noqa: PERF401
        start += count
    return Members(features[order], np.array(pieces, np.int64).reshape(-1, 3), counts)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def group_sums(theta: Float32Array, width: int, members: Members) -> NDArray[np.float64]:
    """Sum θ and θ² of each group and number, float64 (num_groups, 2, width + 1)."""
    pieces, features = members.pieces, members.features
    parts = np.zeros((len(pieces), 2, width + 1), np.float64)
    for piece in prange(len(pieces)):
        own = parts[piece]
        for place in range(pieces[piece, 0], pieces[piece, 1]):
            row = theta[features[place]]
            for c in range(width + 1):
                number = np.float64(row[c])
                own[0, c] += number
                own[1, c] += number * number
    sums = np.zeros((len(members.counts), 2, width + 1), np.float64)
    for piece in range(len(pieces)):
        sums[pieces[piece, 2]] += parts[piece]
    return sums


@njit(nogil=True, error_model="numpy", cache=True)
def draw_priors(sums: NDArray[np.float64], counts: Int64Array, step: Step, priors: Priors) -> None:
    """Draw λ and μ of each group and number from its sums, in place."""
    width = sums.shape[2] - 1
    for group in range(len(counts)):
        n = np.float64(counts[group])
        for c in range(width + 1):
            if step.num_factors <= c < width or (c == width and not step.use_linear):
                continue
            total, squares = sums[group, 0, c], sums[group, 1, c]
            item = group * (width + 1) + c
            rate = 0.5 * (1.0 + squares - total * total / (n + 1.0))
            precision = gamma(0.5 * (1.0 + n), rate, stream(step.seed, step.sweep, GROUP, 2 * item))
            deviation = 1.0 / math.sqrt(precision)
            noise = normal(stream(step.seed, step.sweep, GROUP, 2 * item + 1))
            priors.mean[group, c] = total / (n + 1.0) + noise * deviation / math.sqrt(n + 1.0)
            priors.precision[group, c] = precision
            priors.root_precision[group, c] = 1.0 / deviation
            priors.deviation[group, c] = deviation


def given_priors(
    num_groups: int, num_factors: int, linear: float, factors: float, *, use_linear: bool
) -> Priors:
    """Return priors of mean 0, with a λ of weights and one of factors, for all groups."""
    width = -(-num_factors // WIDTH) * WIDTH
    precision = np.zeros((num_groups, width + WIDTH), np.float32)
    precision[:, :num_factors] = factors
    precision[:, width] = linear * use_linear
    root = np.sqrt(precision)
    deviation = np.divide(1, root, out=np.zeros_like(root), where=root > 0)
    return Priors(np.zeros_like(precision), precision, root, deviation)
