"""Small symmetric systems, solved where they lie.

A system of order n stands in the first n rows of a `matrix` of rows `width` wide: its upper
triangle, with whole vectors of it and what lies left of the diagonal in them without meaning.
Row `width` + 1 is the right-hand side. All is float32.
"""

import numpy as np

from fm_algo.jit import njit
from fm_algo.kernels.parameters import WIDTH
from fm_algo.kernels.simd import load, splat, store, total
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.vector import multiply_add

_float32 = np.float32


@njit(nogil=True, error_model="numpy", forceinline=True)
def subtract_row(matrix: Float32Array, j: int, i: int, first: int, width: int) -> None:
    """Subtract matrix[j, i] times row j from row i, from the vector at `first` on."""
    factor = -matrix[np.uint64(j), np.uint64(i)]
    for c in range(first, width, WIDTH):
        store(matrix, i, c, multiply_add(factor, load(matrix, j, c), load(matrix, i, c)))


@njit(nogil=True, error_model="numpy", cache=True)
def factorize(
    matrix: Float32Array, order: int, width: int, reduced: Float32Array, pivots: Float32Array
) -> None:
    """Turn the system into U, UᵀU = the system, and its right-hand side into y = U⁻ᵀ b.

    Parameters
    ----------
    matrix : float32, shape (at least width + 2, at least width)
        As above; its triangle becomes U.
    order, width : int
        Width is order rounded up to whole vectors.
    reduced : float32, shape (at least order,)
        Becomes y.
    pivots : float32, shape (at least order,)
        Becomes 1 / U_jj.
    """
    rhs = width + 1
    for j in range(order):
        first = j - j % WIDTH
        row = np.uint64(j)
        pivot = _float32(1) / np.sqrt(matrix[row, row])
        pivots[row] = pivot
        for c in range(first, width, WIDTH):
            store(matrix, j, c, pivot * load(matrix, j, c))
        y = matrix[np.uint64(rhs), row] * pivot
        reduced[row] = y
        for c in range(first, width, WIDTH):
            store(matrix, rhs, c, multiply_add(-y, load(matrix, j, c), load(matrix, rhs, c)))
        for i in range(j + 1, order):
            subtract_row(matrix, j, i, i - i % WIDTH, width)


@njit(nogil=True, error_model="numpy", cache=True)
def substitute(
    matrix: Float32Array,
    order: int,
    width: int,
    reduced: Float32Array,
    pivots: Float32Array,
    solution: Float32Array,
) -> None:
    """Set solution[0, :order] to U⁻¹ y and the rest up to `width` to 0; solution is (1, width)."""
    for c in range(0, width, WIDTH):
        store(solution, 0, c, splat(_float32(0)))
    for back in range(order):
        j = order - 1 - back
        first = j - j % WIDTH
        known = splat(_float32(0))
        for c in range(first, width, WIDTH):
            known = known + load(matrix, j, c) * load(solution, 0, c)
        at = np.uint64(j)
        solution[0, at] = (reduced[at] - total(known)) * pivots[at]
