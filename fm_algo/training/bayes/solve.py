"""Small symmetric systems, solved where they lie.

A system of order `width`, whole vectors, stands in as many rows of a `matrix`: its upper triangle,
and what lies left of the diagonal is without meaning. Row `width` + 1 is the right-hand side.
"""

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.runtime.simd import WIDTH, load, splat, store, total
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.vector import multiply_add

_float32 = np.float32
_LEAST_SHARE = _float32(1e-6)
"""What rounding may leave of a diagonal number: less is noise, and may be below 0."""


@njit(nogil=True, error_model="numpy", forceinline=True)
def subtract_row(matrix: Float32Array, j: int, i: int, first: int, width: int) -> None:
    """Subtract matrix[j, i] times row j from row i, from the vector at `first` on."""
    factor = -matrix[np.uint64(j), np.uint64(i)]
    for c in range(first, width, WIDTH):
        store(matrix, i, c, multiply_add(factor, load(matrix, j, c), load(matrix, i, c)))


@njit(nogil=True, error_model="numpy", cache=True)
def factorize(
    matrix: Float32Array, width: int, reduced: Float32Array, pivots: Float32Array
) -> None:
    """Turn the system into U, UᵀU = the system, and its right-hand side into y = U⁻ᵀ b.

    Parameters
    ----------
    matrix : float32, shape (at least width + 2, at least width)
        As above; its triangle becomes U.
    width : int
        Its order, whole vectors.
    reduced, pivots : float32, shape (1, at least width)
        Become y and 1 / U_jj.
    """
    rhs = width + 1
    for j in range(np.uint64(width)):
        pivots[0, j] = _LEAST_SHARE * matrix[j, j]
    for j in range(width):
        first = j - j % WIDTH
        row = np.uint64(j)
        pivot = _float32(1) / np.sqrt(max(matrix[row, row], pivots[0, row]))
        pivots[0, row] = pivot
        for c in range(first, width, WIDTH):
            store(matrix, j, c, pivot * load(matrix, j, c))
        y = matrix[np.uint64(rhs), row] * pivot
        reduced[0, row] = y
        for c in range(first, width, WIDTH):
            store(matrix, rhs, c, multiply_add(-y, load(matrix, j, c), load(matrix, rhs, c)))
        for i in range(j + 1, width):
            subtract_row(matrix, j, i, i - i % WIDTH, width)


@njit(nogil=True, error_model="numpy", cache=True)
def substitute(
    matrix: Float32Array,
    width: int,
    reduced: Float32Array,
    pivots: Float32Array,
    solution: Float32Array,
) -> None:
    """Set solution, (1, at least width), to U⁻¹ y."""
    for c in range(0, width, WIDTH):
        store(solution, 0, c, splat(_float32(0)))
    for back in range(width):
        j = width - 1 - back
        first = j - j % WIDTH
        known = splat(_float32(0))
        for c in range(first, width, WIDTH):
            known = known + load(matrix, j, c) * load(solution, 0, c)
        at = np.uint64(j)
        solution[0, at] = (reduced[0, at] - total(known)) * pivots[0, at]
