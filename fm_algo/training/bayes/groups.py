"""Which features share a prior: those of a column, as it is known or can be told from the rows.

Tables become rows of numbered features column after column. So a run of consecutive features of
which no two stand in a row is a column of single values, as far as the rows can tell: users, then
items. Few numbers teach a prior little, so short runs share one. Rows of hashed features fall into
short runs only, and have one prior.
"""

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Int32Array, Int64Array
from fm_algo.sparse.feature_space import FeatureSpace

LEAST_FEATURES = 32
"""Shorter runs share a group."""

_MAX_GROUPS = 256


def groups_of_runs(rows: CSRBatch) -> Int32Array:
    """Group features by the runs that the rows show; int32, (feature_dim,)."""
    return _join_short(find_runs(rows), rows.feature_dim)


def groups_of_fields(space: FeatureSpace) -> Int32Array:
    """Group features by the columns that they come from; int32, (feature_dim,)."""
    return _join_short(space.firsts, space.feature_dim)


def groups_by_first(first_features: list[int], feature_dim: int) -> Int32Array:
    """Group features by columns whose first features are known.

    Parameters
    ----------
    first_features : list of int
        Ascending, below `feature_dim`; features before the first are a column too.

    Returns
    -------
    int32, shape (feature_dim,)
    """
    firsts = np.union1d([0], first_features).astype(np.int64)
    lengths = np.diff(np.append(firsts, feature_dim))
    return np.repeat(np.arange(len(firsts), dtype=np.int32), lengths)


def _join_short(firsts: Int64Array, feature_dim: int) -> Int32Array:
    lengths = np.diff(np.append(firsts, feature_dim))
    least = max(LEAST_FEATURES, feature_dim // _MAX_GROUPS)
    is_long = lengths >= least
    numbers = np.where(is_long, np.cumsum(is_long) - 1, is_long.sum())
    _, numbers = np.unique(numbers, return_inverse=True)
    return np.repeat(numbers, lengths).astype(np.int32)


def find_runs(rows: CSRBatch) -> Int64Array:
    """Find the first feature of each run; int64, ascending, 0 the first.

    Features without rows belong to the run before them.
    """
    # A feature joins the run unless one of its rows has a lower feature that is in the run.
    return np.flatnonzero(_starts_run(_previous(rows)))


def _previous(rows: CSRBatch) -> Int32Array:
    """Find, for each feature, the greatest lower feature that shares a row with it, or -1."""
    previous = np.full(rows.feature_dim, -1, np.int32)
    _set_previous(rows.indptr, rows.indices, previous)
    return previous


@njit(nogil=True, cache=True)
def _set_previous(indptr: Int64Array, indices: Int32Array, previous: Int32Array) -> None:
    for r in range(len(indptr) - 1):
        own = np.sort(indices[indptr[r] : indptr[r + 1]])
        for place in range(1, len(own)):
            feature = own[place]
            previous[feature] = max(previous[feature], own[place - 1])


@njit(nogil=True, cache=True)
def _starts_run(previous: Int32Array) -> Int64Array:
    starts = np.zeros(len(previous), np.int64)
    first = 0
    for feature in range(len(previous)):
        if feature == 0 or previous[feature] >= first:
            starts[feature] = 1
            first = feature
    return starts
