"""Many samples' factors in a few columns: the mean of S models' margins is one wide model's.

⟨v_i, v_j⟩ of V = [V⁽¹⁾, …, V⁽ˢ⁾] / √S is the mean of the samples'. A truncated singular value
decomposition of diag(√count) V, count being a feature's rows, keeps what matters most where there
is data. It is that of the wide matrix, Frequent Directions without its shrinking (Liberty, "Simple
and deterministic matrix sketching", KDD 2013): stack samples until the columns are full, then keep
the strongest.
"""

import functools
import math

import numpy as np
import threadpoolctl
from numpy.typing import NDArray

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.simd import WIDTH, load, splat, store
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.gram import add_square, clear
from fm_algo.training.bayes.vector import multiply_add

_BLOCK_ROWS = 64
_MAX_PIECES = 32


def weighted_products(factors: Float32Array, weight: Float32Array) -> NDArray[np.float64]:
    """Sum weight_i b_i b_iᵀ over the rows b_i of `factors`, (n, whole vectors); the upper tiles."""
    num_rows, width = factors.shape
    piece_rows = max(_BLOCK_ROWS, -(-num_rows // _MAX_PIECES))
    # Made and added up out here: compiled for threads, each would be a loop over single numbers.
    parts = np.zeros((-(-num_rows // piece_rows), width, width))
    _sum_pieces(factors, weight, piece_rows, parts)
    products: NDArray[np.float64] = parts.sum(axis=0)
    return products


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def _sum_pieces(
    factors: Float32Array, weight: Float32Array, piece_rows: int, parts: NDArray[np.float64]
) -> None:
    num_rows, width = factors.shape
    for piece in prange(len(parts)):
        panel = np.empty((_BLOCK_ROWS, width), np.float32)
        matrix = np.empty((width + 3, width), np.float32)
        stop = min(num_rows, (piece + 1) * piece_rows)
        for block in range(piece * piece_rows, stop, _BLOCK_ROWS):
            count = min(_BLOCK_ROWS, stop - block)
            for n in range(count):
                root = np.sqrt(weight[block + n])
                for j in range(0, width, WIDTH):
                    store(panel, n, j, root * load(factors, block + n, j))
            clear(matrix, width)
            add_square(panel, count, width, matrix)
            for i in range(width):
                for j in range(width):
                    parts[piece, i, j] += matrix[i, j]


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def rotate(factors: Float32Array, directions: Float32Array, out: Float32Array) -> None:
    """Set the first columns of `out` to factors · directions; directions is (width, vectors).

    `out` may be `factors`.
    """
    num_rows, width = factors.shape
    num_directions = directions.shape[1]
    for piece in prange((num_rows + _BLOCK_ROWS - 1) // _BLOCK_ROWS):
        row = np.empty((1, width), np.float32)
        for i in range(piece * _BLOCK_ROWS, min(num_rows, (piece + 1) * _BLOCK_ROWS)):
            for j in range(0, width, WIDTH):
                store(row, 0, j, load(factors, i, j))
            for j in range(0, num_directions, WIDTH):
                sums = splat(np.float32(0))
                for c in range(np.uint64(width)):
                    sums = multiply_add(row[0, c], load(directions, c, j), sums)
                store(out, i, j, sums)


def strongest(factors: Float32Array, weight: Float32Array, count: int) -> Float32Array:
    """Find the `count` directions in which diag(√weight) · factors is greatest.

    Returns
    -------
    float32, shape (factors.shape[1], count rounded up to whole vectors)
        Orthonormal columns, the strongest first, and columns of 0.
    """
    products = weighted_products(factors, weight)
    # On one thread: the others would go on spinning beside the sweeps, and round otherwise.
    with _blas().limit(limits=1, user_api="blas"):
        _, vectors = np.linalg.eigh(products, UPLO="U")  # the weakest first
    width = factors.shape[1]
    count = min(count, width)
    directions = np.zeros((width, -(-count // WIDTH) * WIDTH), np.float32)
    directions[:, :count] = vectors[:, ::-1][:, :count]
    return directions


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController()


class Sketch:
    """The sum of samples' V Vᵀ, in `num_kept` columns and room for the next samples.

    Parameters
    ----------
    weight : float32, shape (feature_dim,)
        How much a feature matters: its rows.
    num_kept : int
        Columns kept when there is no more room.
    room : int
        Columns behind them.

    Attributes
    ----------
    factors : float32, shape (feature_dim, num_kept + room)
        B; B Bᵀ is the sum.
    num_used, num_samples : int64, shape (1,)
        Columns in use, and samples so far.
    """

    def __init__(self, weight: Float32Array, num_kept: int, room: int) -> None:
        self.num_kept = num_kept
        self._weight = weight
        width = -(-(num_kept + room) // WIDTH) * WIDTH
        self.factors = np.zeros((len(weight), width), np.float32)
        self.num_used = np.zeros(1, np.int64)
        self.num_samples = np.zeros(1, np.int64)

    def add(self, V: Float32Array) -> None:
        """Add a sample, float32, shape (feature_dim, num_factors)."""
        used, k = int(self.num_used[0]), V.shape[1]
        if used + k > self.factors.shape[1]:
            rotate(self.factors, strongest(self.factors, self._weight, self.num_kept), self.factors)
            used = self.num_kept
            self.factors[:, used:] = 0
        self.factors[:, used : used + k] = V
        self.num_used[0] = used + k
        self.num_samples += 1

    def mean(self) -> Float32Array:
        """Return all columns of the mean, float32, shape (feature_dim, columns)."""
        return self.factors / np.float32(math.sqrt(max(int(self.num_samples[0]), 1)))

    def truncated(self, num_factors: int) -> Float32Array:
        """Return the mean's strongest columns, float32, shape (feature_dim, num_factors)."""
        directions = strongest(self.factors, self._weight, num_factors)
        out = np.zeros((len(self.factors), directions.shape[1]), np.float32)
        rotate(self.factors, directions, out)
        if num_factors > out.shape[1]:
            out = np.pad(out, ((0, 0), (0, num_factors - out.shape[1])))
        root = np.float32(math.sqrt(max(int(self.num_samples[0]), 1)))
        return np.ascontiguousarray(out[:, :num_factors]) / root
