"""What a model has learnt, in few numbers: its largest parts, and a map of its factors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Int32Array

_Numbers = NDArray[np.float64]

_FREQUENT = 256
"""Features whose pairs are looked at."""

_MAPPED = 400
"""Features on the map of the factors."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The largest parts of one kind, the largest first.

    Attributes
    ----------
    features : int32, shape (m,) or (m, 2)
        The feature or the pair of each part.
    effects : float64, shape (m,)
        What it adds to the margin at the features' usual values.
    """

    features: Int32Array
    effects: _Numbers


@dataclass(frozen=True, slots=True, eq=False)
class FactorMap:
    """Features on the first two principal axes of their factors.

    Attributes
    ----------
    features : int32, shape (m,)
        The most frequent ones.
    places : float64, shape (m, 2)
    shares : tuple of float
        Share of the factors' variance along each axis.
    """

    features: Int32Array
    places: _Numbers
    shares: tuple[float, float]


class Presence:
    """Which features a sample of rows has, how often, and their usual values.

    Parameters
    ----------
    rows : CSRBatch

    Attributes
    ----------
    features : int32, shape (m,)
        Features with a value other than 0, the most frequent first, of equal ones the lower.
    sizes : float64, shape (m,)
        Root of the mean square of their values, where they have one other than 0.
    """

    def __init__(self, rows: CSRBatch) -> None:
        present = rows.values != 0
        self._rows = np.repeat(np.arange(rows.num_rows), np.diff(rows.indptr))[present]
        self._num_rows = rows.num_rows
        known, self._places, counts = np.unique(
            rows.indices[present], return_inverse=True, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")
        squares = np.square(rows.values[present], dtype=np.float64)
        sums = np.bincount(self._places, squares, len(known))
        self._rank = np.empty(len(known), np.int64)
        self._rank[order] = np.arange(len(known))
        self.features = known[order].astype(np.int32)
        self.sizes: _Numbers = np.sqrt(sums / counts)[order]

    def together(self, most: int) -> NDArray[np.bool_]:
        """Tell which two of the `most` first features stand in a row together, (most, most)."""
        ranks = self._rank[self._places]
        chosen = ranks < most
        table = np.zeros((self._num_rows, most), np.float32)
        table[self._rows[chosen], ranks[chosen]] = 1
        together: NDArray[np.bool_] = table.T @ table > 0
        return together


def largest_linear(model: FMModel, presence: Presence, most: int) -> Parts:
    """Find the features whose linear part w_i x_i is largest at their usual value."""
    effects = model.w[presence.features] * presence.sizes
    chosen = _largest(effects, most)
    return Parts(presence.features[chosen], effects[chosen])


def largest_pairs(model: FMModel, presence: Presence, most: int) -> Parts:
    """Find the pairs whose part <v_i, v_j> x_i x_j is largest at their usual values.

    Where pairs of fields have weights, a part is multiplied by that of its fields. Only pairs of
    frequent features count that stand in a row together: the product of two users means nothing.
    """
    features = presence.features[:_FREQUENT]
    scaled = model.V[features] * presence.sizes[: len(features), np.newaxis]  # (m, num_factors)
    first, second = np.nonzero(np.triu(presence.together(len(features)), 1))
    effects = (scaled @ scaled.T)[first, second]
    if model.field_weights is not None:
        fields = model.field_weights.space.field_of(features)
        effects = effects * model.field_weights.R[fields[first], fields[second]]
    chosen = _largest(effects, most)
    pairs = np.stack([features[first[chosen]], features[second[chosen]]], axis=1)
    return Parts(np.sort(pairs, axis=1), effects[chosen])


def factor_map(model: FMModel, presence: Presence) -> FactorMap | None:
    """Place the most frequent features on the principal axes of their factors.

    Returns
    -------
    FactorMap or None
        None if there are fewer than three features, or all have the same factors.
    """
    features = presence.features[:_MAPPED]
    if len(features) < 3:
        return None
    factors = model.V[features].astype(np.float64)
    factors -= factors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(factors, full_matrices=False)
    variances = sizes**2
    total = float(variances.sum())
    if not total > 0:
        return None
    places, shares = np.zeros((len(features), 2)), [0.0, 0.0]
    for axis in range(min(len(sizes), 2)):  # one factor has one axis
        along = left[:, axis] * sizes[axis]
        is_flipped = along[np.abs(along).argmax()] < 0  # the sign of an axis is arbitrary
        places[:, axis] = -along if is_flipped else along
        shares[axis] = float(variances[axis]) / total
    return FactorMap(features, places, (shares[0], shares[1]))


def _largest(effects: _Numbers, most: int) -> NDArray[np.intp]:
    """Return the positions of the largest absolute effects; of equal ones the first."""
    return np.argsort(-np.abs(effects), kind="stable")[:most]
