"""The passes of a step on several hosts: each sums its gradients, a row's owner updates the row.

A row that is sent is `v | w`, with v padded to whole vectors as in `parameters`; so is a gradient.
`passes` sums and updates in one visit; here that takes two, with the same update at the end.
"""

import numpy as np

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.simd import CACHE_LINE, WIDTH, load, prefetch, store
from fm_algo.sparse import Float32Array, Int32Array, Int64Array
from fm_algo.training.gradient.optimizers import StepConstants
from fm_algo.training.gradient.passes import sum_column, update_v, update_w

_ROWS_A_PIECE = 128  # rows that a thread takes at once
_ROWS_AHEAD = 24  # how far ahead parameters are fetched


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
    """Turn a mini-batch by columns into rows again; column c becomes feature places[c]."""
    next_entry = indptr[:-1].copy()
    for c in range(len(places)):
        for p in range(starts[c], starts[c + 1]):
            entry = next_entry[rows[p]]
            next_entry[rows[p]] = entry + 1
            to_indices[entry] = places[c]
            to_values[entry] = values[p]


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def pack_rows(parameters: Float32Array, w_at: int, rows: Int32Array, packed: Float32Array) -> None:
    """Copy the parameters of some rows, without optimiser states, to send them."""
    num_rows, width = len(rows), packed.shape[1] - 1
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        for r in range(piece * _ROWS_A_PIECE, min(num_rows, (piece + 1) * _ROWS_A_PIECE)):
            ahead = rows[min(r + _ROWS_AHEAD, num_rows - 1)]
            for j in range(0, w_at + 1, CACHE_LINE):
                prefetch(parameters, ahead, j)
            for j in range(0, width, WIDTH):
                store(packed, r, j, load(parameters, rows[r], j))
            packed[r, width] = parameters[rows[r], w_at]


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
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
    """Sum this host's gradients; the one by v_if is Σ_r g_r x_ri S_rf − v_if Σ_r g_r x_ri².

    Column c is row places[c] of `packed` and `gradients`.
    """
    num_columns, width = len(places), factor_sums.shape[1]
    for piece in prange((num_columns + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        for c in range(piece * _ROWS_A_PIECE, min(num_columns, (piece + 1) * _ROWS_A_PIECE)):
            i = places[c]
            linear, squares = sum_column(
                starts[c], starts[c + 1], rows, values, residual, factor_sums, gradients, i
            )
            gradients[i, width] = linear
            for j in range(0, width, WIDTH):
                store(gradients, i, j, load(gradients, i, j) - squares * load(packed, i, j))


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def apply_gradients(
    rows: Int32Array,
    starts: Int32Array,
    sources: Int32Array,
    gradients: Float32Array,
    residual_sum: np.float32,
    bias: Float32Array,
    parameters: Float32Array,
    w_at: int,
    constants: StepConstants,
) -> None:
    """Add up the gradients of all hosts for a row, in the order of the hosts; update it once.

    Row rows[c] gets the gradients with the numbers sources[starts[c]:starts[c + 1]].
    """
    rescale = constants.rescale
    if constants.use_bias:
        gradient = rescale * residual_sum
        update_w(bias, 0, 0, gradient, constants.bias_lr, constants.bias_wd, constants)
    num_rows, width = len(rows), gradients.shape[1] - 1
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        sums = np.empty((1, width), np.float32)
        for c in range(piece * _ROWS_A_PIECE, min(num_rows, (piece + 1) * _ROWS_A_PIECE)):
            ahead = min(c + _ROWS_AHEAD, num_rows - 1)
            for j in range(0, parameters.shape[1], CACHE_LINE):
                prefetch(parameters, rows[ahead], j)
            for j in range(0, width + 1, CACHE_LINE):
                prefetch(gradients, sources[starts[ahead]], j)
            i = rows[c]
            linear = gradients[sources[starts[c]], width]
            for j in range(0, width, WIDTH):
                store(sums, 0, j, load(gradients, sources[starts[c]], j))
            for p in range(starts[c] + 1, starts[c + 1]):
                linear += gradients[sources[p], width]
                for j in range(0, width, WIDTH):
                    store(sums, 0, j, load(sums, 0, j) + load(gradients, sources[p], j))
            if constants.use_linear:
                update_w(
                    parameters, i, w_at, rescale * linear,
                    constants.linear_lr, constants.linear_wd, constants,
                )  # fmt: skip
            update_v(parameters, i, w_at, sums, constants.factors_wd, constants)
