"""Explain a row: its margin as a sum of parts, one per feature and one per pair of features.

    margin = w0 + Σ_i w_i x_i + Σ_{i<j} <v_i, v_j> x_i x_j

Rendle, "Factorization Machines", ICDM 2010, equation 1. Lemma 3.1 makes this sum cheap, but only
here does each term belong to one feature or pair. Where pairs of fields have weights, the part of a
pair has r_{f(i) f(j)} as a further factor.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FieldWeights, FMModel
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
        Their parts <v_i, v_j> x_i x_j, times their weights where they have some.
    rest_linear, rest_pairwise : float
        The sums of the parts that are not listed.
    fields : tuple of (str, str), or None
        The names of the two fields of each pair that is listed; None if all pairs count alike.
    weights : float64, shape (p,), or None
        How much these two fields count.
    """

    margin: float
    bias: float
    features: Int32Array
    linear: _Parts
    pairs: Int32Array
    pairwise: _Parts
    rest_linear: float
    rest_pairwise: float
    fields: tuple[tuple[str, str], ...] | None = None
    weights: _Parts | None = None


def explain(
    model: FMModel,
    features: Int32Array,
    values: Float32Array,
    *,
    max_parts: int = MAX_PARTS,
) -> Explanation:
    """Split the margin of a row into its parts.

    Parameters
    ----------
    model : FMModel
        Its w0, w and V, whatever samples it has.
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
    Takes O(n² num_factors) time and 8 n² bytes, with weights of fields twice as many. The caller
    bounds them by `count_pairs`.
    """
    order = np.argsort(features)
    order = order[values[order] != 0]
    features = features[order]
    x = values[order].astype(np.float64)
    linear = model.w[features] * x  # (n,)
    factors = model.V[features] * x[:, np.newaxis]  # (n, num_factors)
    first, second = np.triu_indices(len(x), 1)
    pairwise = (factors @ factors.T)[first, second]  # (n (n - 1) / 2,)
    weights, fields = model.field_weights, np.empty(0, np.int32)
    if weights is not None:
        fields = weights.space.field_of(features)
        pairwise *= weights.R[fields[first], fields[second]]
    of_one, of_two = _largest(linear, max_parts), _largest(pairwise, max_parts)
    first, second = first[of_two], second[of_two]
    bias = float(model.w0[0])
    return Explanation(
        margin=bias + float(linear.sum()) + float(pairwise.sum()),
        bias=bias,
        features=features[of_one],
        linear=linear[of_one],
        pairs=np.stack([features[first], features[second]], axis=1),
        pairwise=pairwise[of_two],
        rest_linear=_sum_without(linear, of_one),
        rest_pairwise=_sum_without(pairwise, of_two),
        fields=None if weights is None else _names(weights, fields[first], fields[second]),
        weights=None if weights is None else weights.R[fields[first], fields[second]].astype(float),
    )


def count_pairs(num_entries: int) -> int:
    """Count the pairs of a row, a measure of what explaining it costs."""
    return num_entries * (num_entries - 1) // 2


def _names(
    weights: FieldWeights, first: Int32Array, second: Int32Array
) -> tuple[tuple[str, str], ...]:
    names = weights.space.fields
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return tuple((names[one], names[two]) for one, two in pairs)


def _largest(parts: _Parts, most: int) -> NDArray[np.intp]:
    """Return the positions of the largest absolute parts; of equal ones the first."""
    return np.argsort(-np.abs(parts), kind="stable")[:most]


def _sum_without(parts: _Parts, told: NDArray[np.intp]) -> float:
    others = np.ones(len(parts), np.bool_)
    others[told] = False
    return float(parts[others].sum())
