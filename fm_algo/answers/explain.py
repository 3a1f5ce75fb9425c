"""Explain a row: its margin as a sum of parts, one per feature and one per pair of features.

    margin = w0 + Σ_i w_i x_i + Σ_{i<j} <v_i, v_j> x_i x_j

Rendle, "Factorization Machines", ICDM 2010, equation 1. Lemma 3.1 makes this sum cheap, but only
here does each term belong to one feature or pair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import Float32Array, Int32Array

MAX_PARTS = 100
"""Number of parts per kind listed one by one; the others are given as one sum."""

_Parts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """The margin of a row, and the parts that add up to it.

    Attributes
    ----------
    margin : float
        As from `FMModel.margin`, before it is rounded to float32.
    bias : float
        w0.
    features : int32, shape (m,)
        The features whose linear parts are listed: largest absolute part first, of equal parts the
        lower feature.
    linear : float64, shape (m,)
        Their parts w_i x_i.
    pairs : int32, shape (p, 2)
        The pairs that are listed, in the same order; each has the lower feature first.
    pairwise : float64, shape (p,)
        Their parts <v_i, v_j> x_i x_j.
    rest_linear, rest_pairwise : float
        The sums of the parts that are not listed.
    """

    margin: float
    bias: float
    features: Int32Array
    linear: _Parts
    pairs: Int32Array
    pairwise: _Parts
    rest_linear: float
    rest_pairwise: float


def explain(
    w0: Float32Array,
    w: Float32Array,
    V: Float32Array,
    features: Int32Array,
    values: Float32Array,
    *,
    max_parts: int = MAX_PARTS,
) -> Explanation:
    """Split the margin of a row into its parts.

    Parameters
    ----------
    w0 : float32, shape (1,)
    w : float32, shape (feature_dim,)
    V : float32, shape (feature_dim, num_factors)
        The model.
    features : int32, shape (n,)
        The row's features, each once.
    values : float32, shape (n,)
        Their values. An entry of value 0 has no part.
    max_parts : int
        How many parts of each kind to list at most.

    Returns
    -------
    Explanation

    Notes
    -----
    Takes O(n² num_factors) time and 8 n² bytes. The caller bounds them by `count_pairs`.
    """
    order = np.argsort(features)
    order = order[values[order] != 0]
    features = features[order]
    x = values[order].astype(np.float64)
    linear = w[features] * x  # (n,)
    factors = V[features] * x[:, np.newaxis]  # (n, num_factors)
    first, second = np.triu_indices(len(x), 1)
    pairwise = (factors @ factors.T)[first, second]  # (n (n - 1) / 2,)
    of_one, of_two = _largest(linear, max_parts), _largest(pairwise, max_parts)
    bias = float(w0[0])
    return Explanation(
        margin=bias + float(linear.sum()) + float(pairwise.sum()),
        bias=bias,
        features=features[of_one],
        linear=linear[of_one],
        pairs=np.stack([features[first[of_two]], features[second[of_two]]], axis=1),
        pairwise=pairwise[of_two],
        rest_linear=_sum_without(linear, of_one),
        rest_pairwise=_sum_without(pairwise, of_two),
    )


def count_pairs(num_entries: int) -> int:
    """Count the pairs of a row, a measure of what explaining it costs."""
    return num_entries * (num_entries - 1) // 2


def _largest(parts: _Parts, most: int) -> NDArray[np.intp]:
    """Return the positions of the largest absolute parts; of equal ones the first."""
    return np.argsort(-np.abs(parts), kind="stable")[:most]


def _sum_without(parts: _Parts, told: NDArray[np.intp]) -> float:
    others = np.ones(len(parts), np.bool_)
    others[told] = False
    return float(parts[others].sum())
