"""The passes of a step whose rows lie on several hosts: gradient here, update at the owner.

A row on its way is `v | w`, v padded to whole vectors as in `cpu`; so is a gradient. What `passes`
does in one visit is cut in two here, and ends in the same update.
"""

import numpy as np
from numba import njit, prange

from fm_algo.kernels.passes import CACHE_LINE, update_v, update_w
from fm_algo.kernels.simd import WIDTH, clip, load, prefetch, splat, store
from fm_algo.sparse import Float32Array, Int32Array, Int64Array

_ROWS_A_PIECE = 128  # of a loop: what a thread takes at once
_ROWS_AHEAD = 8  # how far ahead parameters are fetched

_float32 = np.float32


@njit(nogil=True, cache=True)
def renumber(
    starts: Int32Array,
    rows: Int32Array,
    values: Float32Array,
    places: Int32Array,
    indptr: Int64Array,
    to_indices: Int32Array,
    to_values: Float32Array,
) -> None:
    """Write a mini-batch by columns as rows again, column c being number places[c]."""
    next_entry = indptr[:-1].copy()
    for c in range(len(places)):
        for p in range(starts[c], starts[c + 1]):
            entry = next_entry[rows[p]]
            next_entry[rows[p]] = entry + 1
            to_indices[entry] = places[c]
            to_values[entry] = values[p]


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def pack_rows(parameters: Float32Array, w_at: int, rows: Int32Array, packed: Float32Array) -> None:
    """Copy the parameters of some rows, without their optimiser state, to be sent."""
    num_rows, width = len(rows), packed.shape[1] - 1
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        last_row = min(num_rows, (piece + 1) * _ROWS_A_PIECE)
        for r in range(piece * _ROWS_A_PIECE, last_row):
            if r + _ROWS_AHEAD < last_row:
                for j in range(0, width, CACHE_LINE):
                    prefetch(parameters, rows[r + _ROWS_AHEAD], j)
                prefetch(parameters, rows[r + _ROWS_AHEAD], w_at)
            for j in range(0, width, WIDTH):
                store(packed, r, j, load(parameters, rows[r], j))
            packed[r, width] = parameters[rows[r], w_at]


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def sum_gradients(
    places: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    values: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
    packed: Float32Array,
    gradients: Float32Array,
) -> None:
    """Gradient of this host's rows, summed, by v_if: Σ_r g_r x_ri S_rf − v_if Σ_r g_r x_ri².

    Column c is row places[c] of `packed` and `gradients`.
    """
    num_columns, width = len(places), factor_sums.shape[1]
    for piece in prange((num_columns + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        for c in range(piece * _ROWS_A_PIECE, min(num_columns, (piece + 1) * _ROWS_A_PIECE)):
            i = places[c]
            linear = _float32(0)
            squares = _float32(0)
            for p in range(starts[c], starts[c + 1]):
                weighted = residual[rows[p]] * values[p]
                linear += weighted
                squares += weighted * values[p]
            gradients[i, width] = linear
            for j in range(0, width, WIDTH):
                gradient = splat(_float32(0))
                for p in range(starts[c], starts[c + 1]):
                    r = rows[p]
                    gradient = gradient + residual[r] * values[p] * load(factor_sums, r, j)
                store(gradients, i, j, gradient - squares * load(packed, i, j))


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def apply_gradients(
    rows: Int32Array,
    starts: Int32Array,
    sources: Int32Array,
    gradients: Float32Array,
    parameters: Float32Array,
    w_at: int,
    num_factors: int,
    optimizer: int,
    use_linear: bool,
    linear_lr: np.float32,
    linear_wd: np.float32,
    factors_lr: np.float32,
    factors_wd: np.float32,
    rescale: np.float32,
    clip_limit: np.float32,
    epsilon: np.float32,
    l1: np.float32,
) -> None:
    """Add up what all hosts sent for a row, in the order of the hosts, and update it once.

    Row rows[c] gets the gradients number sources[starts[c]:starts[c + 1]].
    """
    num_rows, width = len(rows), gradients.shape[1] - 1
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        total = np.empty((1, width), np.float32)
        last_row = min(num_rows, (piece + 1) * _ROWS_A_PIECE)
        for c in range(piece * _ROWS_A_PIECE, last_row):
            if c + _ROWS_AHEAD < last_row:
                for j in range(0, w_at + 3, CACHE_LINE):
                    prefetch(parameters, rows[c + _ROWS_AHEAD], j)
            i = rows[c]
            if use_linear:
                linear = _float32(0)
                for p in range(starts[c], starts[c + 1]):
                    linear += gradients[sources[p], width]
                update_w(
                    parameters, i, w_at, optimizer, rescale * linear, linear_wd, linear_lr,
                    clip_limit, epsilon, l1,
                )  # fmt: skip
            for j in range(0, width, WIDTH):
                gradient = splat(_float32(0))
                for p in range(starts[c], starts[c + 1]):
                    gradient = gradient + load(gradients, sources[p], j)
                gradient = rescale * gradient + factors_wd * load(parameters, i, j)
                store(total, 0, j, clip(gradient, clip_limit))
            update_v(parameters, i, w_at, num_factors, optimizer, total, factors_lr, epsilon, l1)
