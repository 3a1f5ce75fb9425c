"""Write a symmetric matrix as U Uᵀ. It takes a positive semidefinite one.

Numbers on its diagonal that are free become what makes it so. They get the least sum that will do:
small numbers, of which float32 loses little, and a U of fewer columns. That sum is the dual of a
semidefinite programme with diagonal constraints: Wang, Chang and Kolter, "The Mixing method:
low-rank coordinate descent for semidefinite programming with diagonal constraints", 2017,
arXiv:1706.00476. Numbers that are not free move only where the matrix cannot be semidefinite
otherwise, or where free ones would get too large.
"""

import numpy as np
from numpy.typing import NDArray

_TOLERANCE = 1e-6
"""How far a weight may move, in parts of the largest, for a dimension less."""

_LARGEST = 64
"""How large a number on the free diagonal one direction of the fixed part may make, in parts of the
largest weight. The larger it is, the more float32 loses when such numbers cancel each other."""

_MAX_SWEEPS = 200

_Numbers = NDArray[np.float64]


def square_root(R: _Numbers, is_free: NDArray[np.bool_]) -> _Numbers:
    """Return U so that U Uᵀ is R but for its free diagonal, or as near to it as can be.

    Parameters
    ----------
    R : float64, shape (F, F)
        Symmetric.
    is_free : bool, shape (F,)
        Which numbers on the diagonal of U Uᵀ may be any.

    Returns
    -------
    float64, shape (F, L)
        L is 1 to F; the largest columns first.
    """
    scale = np.abs(R[~np.diag(is_free)]).max(initial=0)
    if scale == 0:
        return np.zeros((len(R), 1))
    made = _made_semidefinite(R, np.flatnonzero(is_free), np.flatnonzero(~is_free), scale)
    sizes, vectors = np.linalg.eigh(made)
    U = vectors[:, ::-1] * np.sqrt(np.maximum(sizes[::-1], 0))
    rest, num_kept = np.zeros_like(R), len(R)
    while num_kept > 1:
        rest += np.outer(U[:, num_kept - 1], U[:, num_kept - 1])
        if np.abs(rest[~np.diag(is_free)]).max(initial=0) > _TOLERANCE * scale:
            break
        num_kept -= 1
    return np.asarray(U[:, :num_kept])


def _made_semidefinite(
    R: _Numbers, free: NDArray[np.intp], fixed: NDArray[np.intp], scale: float
) -> _Numbers:
    """Return R with other numbers on its free diagonal, so that it is positive semidefinite.

    If those that are fixed prevent it, they are changed as little as that takes.
    """
    made = R.copy()
    sizes, vectors = np.linalg.eigh(R[np.ix_(fixed, fixed)])
    across = R[np.ix_(free, fixed)] @ vectors
    needed = (across**2).max(axis=0, initial=0) / (_LARGEST * scale)
    if (sizes < needed).any():
        sizes = np.maximum(sizes, needed)
        made[np.ix_(fixed, fixed)] = (vectors * sizes) @ vectors.T
    # R is semidefinite if the fixed part and its Schur complement are.
    is_met = needed > 0
    taken = (across[:, is_met] / sizes[is_met]) @ across[:, is_met].T
    rest = R[np.ix_(free, free)] - taken
    np.fill_diagonal(rest, 0)
    least = _least_diagonal(rest)
    if len(free):
        least -= min(0.0, float(np.linalg.eigvalsh(rest + np.diag(least))[0]))
    made[free, free] = taken.diagonal() + least
    return made


def _least_diagonal(R: _Numbers) -> _Numbers:
    """Return the diagonal (F,) of least sum that makes R, whose own is 0, semidefinite, or nearly.

    The dual programme is to minimise <R, Z Zᵀ> for rows of Z of length 1.
    """
    num_fields = len(R)
    # That many dimensions have no local minima but the global one: 2 F < dimensions².
    Z = np.random.default_rng(0).normal(size=(num_fields, int(np.sqrt(2 * num_fields)) + 2))
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    diagonal = np.zeros(num_fields)
    for _ in range(_MAX_SWEEPS):
        before = diagonal.copy()
        for field in range(num_fields):
            pull = R[field] @ Z
            diagonal[field] = np.linalg.norm(pull)
            if diagonal[field] > 0:
                Z[field] = -pull / diagonal[field]
        if np.abs(diagonal - before).max(initial=0) <= 1e-9 * diagonal.max(initial=0):
            break
    return diagonal
