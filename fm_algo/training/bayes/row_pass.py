"""What is recomputed of each training row before a sweep, and sums over rows.

Nothing of it is saved: it follows from the parameters alone, so that rounding errors do not add
up over sweeps and a chain goes on bit for bit from its parameters.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.philox import stream
from fm_algo.runtime.simd import WIDTH, load, prefetch, splat, store, total
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.bayes.polya_gamma import draw_polya_gamma, draw_row, polya_gamma_mean
from fm_algo.training.bayes.random import ROW

PIECE_ROWS = 1024
"""Rows whose sums are one of the numbers added up at the end."""

_ENTRIES_AHEAD = np.uint64(16)
_float32 = np.float32


def root_weights(rows: CSRBatch) -> Float32Array:
    """Square root of each row's weight, float32, (num_rows,); empty if the rows have none."""
    return np.zeros(0, np.float32) if rows.weights is None else np.sqrt(rows.weights)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def margins(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    theta: Float32Array,
    w0: np.float32,
    factor_sums: Float32Array,
    margin: Float32Array,
) -> None:
    """Set q, (num_rows, width), and the margin of each row; theta is (feature_dim, stride).

    Rendle, "Factorization Machines", ICDM 2010, lemma 3.1.
    """
    num_rows, width = factor_sums.shape
    last_entry = np.uint64(max(len(indices), 1) - 1)
    for piece in prange((num_rows + PIECE_ROWS - 1) // PIECE_ROWS):
        for r in range(piece * PIECE_ROWS, min(num_rows, (piece + 1) * PIECE_ROWS)):
            first, last = np.uint64(indptr[r]), np.uint64(indptr[r + 1])
            linear = _float32(0)
            pairwise = splat(_float32(0))
            for j in range(0, width, WIDTH):
                sums = squares = splat(_float32(0))
                for e in range(first, last):
                    i, x = np.uint32(indices[e]), values[e]
                    if j == 0:
                        ahead = np.uint32(indices[min(e + _ENTRIES_AHEAD, last_entry)])
                        prefetch(theta, ahead, 0)
                        prefetch(theta, ahead, 16)
                        linear += x * theta[i, width]
                    term = x * load(theta, i, j)
                    sums = sums + term
                    squares = squares + term * term
                store(factor_sums, r, j, sums)
                pairwise = pairwise + (sums * sums - squares)
            margin[r] = w0 + linear + _float32(0.5) * total(pairwise)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def add_up(residual: Float32Array, root_weight: Float32Array) -> NDArray[np.float64]:
    """Sum ω, ω e and ω e² over pieces of rows, float64 (num_pieces, 3); without weights ω is 1."""
    num_rows = len(residual)
    num_pieces = (num_rows + PIECE_ROWS - 1) // PIECE_ROWS
    sums = np.zeros((num_pieces, 3), np.float64)
    for piece in prange(num_pieces):
        weights = linear = squares = 0.0
        for r in range(piece * PIECE_ROWS, min(num_rows, (piece + 1) * PIECE_ROWS)):
            e = np.float64(residual[r])
            root = np.float64(root_weight[r]) if len(root_weight) else 1.0
            weights += root * root
            linear += root * root * e
            squares += root * root * e * e
        sums[piece, 0], sums[piece, 1], sums[piece, 2] = weights, linear, squares
    return sums


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def augment(
    margin: Float32Array,
    labels: Float32Array,
    weights: Float32Array,
    seed: int,
    sweep: int,
    draws: bool,
    residual: Float32Array,
    root_weight: Float32Array,
) -> None:
    """Draw ω of each row, or take its mean, and set the residual weight · (y − ½) / ω − m.

    `weights` may be empty: then all are 1.

    Polson, Scott, Windle, "Bayesian inference for logistic models using Pólya-Gamma latent
    variables", JASA 2013. The mean makes of it an EM algorithm for the logistic loss.
    """
    num_rows = len(margin)
    for piece in prange((num_rows + PIECE_ROWS - 1) // PIECE_ROWS):
        for r in range(piece * PIECE_ROWS, min(num_rows, (piece + 1) * PIECE_ROWS)):
            m = np.float64(margin[r])
            weight = np.float64(weights[r]) if len(weights) else 1.0
            if not draws:
                omega = weight * polya_gamma_mean(m)
            elif weight == 1.0:
                omega = draw_polya_gamma(m, stream(seed, sweep, ROW, r))
            else:
                omega = draw_row(weight, m, seed, sweep, r)
            residual[r] = weight * (np.float64(labels[r]) - 0.5) / omega - m
            root_weight[r] = np.sqrt(omega)
