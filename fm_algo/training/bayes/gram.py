"""Products of a panel with itself, most of all work: tiles of eight by eight in registers.

A panel holds in each row `width` numbers, whole vectors, and two more behind them. Its product, a
`matrix` of `width` + 2 rows, is that of every column with the first `width`: of the first `width`
rows only the upper triangle, in whole tiles.
"""

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.runtime.simd import WIDTH, load, splat, store
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.vector import multiply_add

_float32 = np.float32
_1, _2, _3, _4, _5, _6, _7 = (np.uint64(n) for n in range(1, WIDTH))


@njit(nogil=True, error_model="numpy", cache=True)
def clear(matrix: Float32Array, width: int) -> None:
    """Set the first width + 3 rows to 0, up to column `width`."""
    for i in range(width + 3):
        for c in range(0, width, WIDTH):
            store(matrix, i, c, splat(_float32(0)))


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add(matrix: Float32Array, i: int, j: int, tile_row: object) -> None:
    store(matrix, i, j, load(matrix, i, j) + tile_row)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add_tile(panel: Float32Array, num_rows: int, tile: int, j: int, matrix: Float32Array) -> None:
    """Add a tile: columns tile … tile + 7 times columns j … j + 7."""
    i = np.uint64(tile)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = splat(_float32(0))
    for p in range(np.uint64(num_rows)):
        right = load(panel, p, j)
        s0 = multiply_add(panel[p, i], right, s0)
        s1 = multiply_add(panel[p, i + _1], right, s1)
        s2 = multiply_add(panel[p, i + _2], right, s2)
        s3 = multiply_add(panel[p, i + _3], right, s3)
        s4 = multiply_add(panel[p, i + _4], right, s4)
        s5 = multiply_add(panel[p, i + _5], right, s5)
        s6 = multiply_add(panel[p, i + _6], right, s6)
        s7 = multiply_add(panel[p, i + _7], right, s7)
    _add(matrix, tile, j, s0)
    _add(matrix, tile + 1, j, s1)
    _add(matrix, tile + 2, j, s2)
    _add(matrix, tile + 3, j, s3)
    _add(matrix, tile + 4, j, s4)
    _add(matrix, tile + 5, j, s5)
    _add(matrix, tile + 6, j, s6)
    _add(matrix, tile + 7, j, s7)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add_diagonal_tile(
    panel: Float32Array, num_rows: int, j: int, width: int, matrix: Float32Array
) -> None:
    """Add a tile on the diagonal and, as their vector is here, the two rows below all tiles."""
    i, extra = np.uint64(j), np.uint64(width)
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = splat(_float32(0))
    for p in range(np.uint64(num_rows)):
        right = load(panel, p, j)
        s0 = multiply_add(panel[p, i], right, s0)
        s1 = multiply_add(panel[p, i + _1], right, s1)
        s2 = multiply_add(panel[p, i + _2], right, s2)
        s3 = multiply_add(panel[p, i + _3], right, s3)
        s4 = multiply_add(panel[p, i + _4], right, s4)
        s5 = multiply_add(panel[p, i + _5], right, s5)
        s6 = multiply_add(panel[p, i + _6], right, s6)
        s7 = multiply_add(panel[p, i + _7], right, s7)
        s8 = multiply_add(panel[p, extra], right, s8)
        s9 = multiply_add(panel[p, extra + _1], right, s9)
    _add(matrix, j, j, s0)
    _add(matrix, j + 1, j, s1)
    _add(matrix, j + 2, j, s2)
    _add(matrix, j + 3, j, s3)
    _add(matrix, j + 4, j, s4)
    _add(matrix, j + 5, j, s5)
    _add(matrix, j + 6, j, s6)
    _add(matrix, j + 7, j, s7)
    _add(matrix, width, j, s8)
    _add(matrix, width + 1, j, s9)


@njit(nogil=True, error_model="numpy", cache=True)
def add_product(panel: Float32Array, num_rows: int, width: int, matrix: Float32Array) -> None:
    """Add the product of the panel's first `num_rows` rows to `matrix`, as above."""
    for j in range(0, width, WIDTH):
        for tile in range(0, j, WIDTH):
            _add_tile(panel, num_rows, tile, j, matrix)
        _add_diagonal_tile(panel, num_rows, j, width, matrix)


@njit(nogil=True, error_model="numpy", cache=True)
def add_square(panel: Float32Array, num_rows: int, width: int, matrix: Float32Array) -> None:
    """Add the product of the panel's first `width` columns alone."""
    for j in range(0, width, WIDTH):
        for tile in range(0, j + WIDTH, WIDTH):
            _add_tile(panel, num_rows, tile, j, matrix)
