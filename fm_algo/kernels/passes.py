"""The two parallel passes of the CPU kernel over the parameter rows that `parameters` describes."""

from typing import Any

import numpy as np
from numba import njit, prange

from fm_algo.kernels.optimizers import BETA1, BETA2, FTRL_BETA, OPTIMIZER_CODES
from fm_algo.kernels.parameters import CACHE_LINE
from fm_algo.kernels.simd import (
    WIDTH,
    clip,
    load,
    prefetch,
    splat,
    square_root,
    store,
    total,
)
from fm_algo.sparse import Float32Array, Int32Array, Int64Array

_ADAM, _ADAGRAD, _ROWWISE_ADAGRAD, _FTRL, _SGD = OPTIMIZER_CODES.values()

# Pieces of work that threads take: small enough to share out, large enough to be worth taking.
_ROWS_A_PIECE = 32
_COLUMNS_A_PIECE = 128

# How far ahead parameters are fetched: about one memory access's time (measured, benchmarks/).
_ENTRIES_AHEAD = 16
_COLUMNS_AHEAD = 8

_float32 = np.float32
_beta1, _beta2, _ftrl_beta = _float32(BETA1), _float32(BETA2), _float32(FTRL_BETA)
_one_minus_beta1, _one_minus_beta2 = _float32(1 - BETA1), _float32(1 - BETA2)

_Number = Any  # a float32 or a vector of them


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def forward_rows(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    labels: Float32Array,
    w0: np.float32,
    parameters: Float32Array,
    w_at: int,
    is_classifier: bool,
    margin: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
) -> None:
    """Pass 1. Pairwise part: ½ Σ_f (S_f² − Σ_i v_if² x_i²), Rendle 2010, lemma 3.1."""
    num_rows, width = factor_sums.shape
    zero = splat(_float32(0))
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        last_row = min(num_rows, (piece + 1) * _ROWS_A_PIECE)
        last_entry = indptr[last_row]
        for r in range(piece * _ROWS_A_PIECE, last_row):
            linear = _float32(0)
            squares = zero
            for j in range(0, width, WIDTH):
                store(factor_sums, r, j, zero)
            for e in range(indptr[r], indptr[r + 1]):
                if e + _ENTRIES_AHEAD < last_entry:
                    ahead = indices[e + _ENTRIES_AHEAD]
                    for j in range(0, width, CACHE_LINE):
                        prefetch(parameters, ahead, j)
                    prefetch(parameters, ahead, w_at)
                i, x = indices[e], values[e]
                linear += parameters[i, w_at] * x
                for j in range(0, width, WIDTH):
                    term = x * load(parameters, i, j)
                    store(factor_sums, r, j, load(factor_sums, r, j) + term)
                    squares = squares + term * term
            pairwise = zero - squares
            for j in range(0, width, WIDTH):
                s = load(factor_sums, r, j)
                pairwise = pairwise + s * s
            m = w0 + linear + _float32(0.5) * total(pairwise)
            margin[r] = m
            if is_classifier:
                small = np.exp(-abs(m))  # never overflows
                score = (_float32(1) if m >= 0 else small) / (_float32(1) + small)
                residual[r] = score - labels[r]
            else:
                residual[r] = m - labels[r]


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _apply(
    optimizer: int,
    theta: _Number,
    a: _Number,
    b: _Number,
    g: _Number,
    lr: np.float32,
    epsilon: np.float32,
    l1: np.float32,
) -> tuple[_Number, _Number, _Number]:
    """Update a parameter and its two states, as numbers or as vectors of them.

    The formulas are `fm_algo.kernels.optimizers`'; of row-wise Adagrad, a is the new state.
    """
    if optimizer == _ADAM:
        a = _beta1 * a + _one_minus_beta1 * g
        b = _beta2 * b + _one_minus_beta2 * g * g
        theta = theta - lr * a / (square_root(b) + epsilon)
    elif optimizer == _ADAGRAD:
        a = a + g * g
        theta = theta - lr * g / (square_root(a) + epsilon)
    elif optimizer == _ROWWISE_ADAGRAD:
        theta = theta - lr * g / (square_root(a) + epsilon)
    elif optimizer == _FTRL:
        n = b + g * g
        a = a + lr * g - (square_root(n) - square_root(b)) * theta
        b = n
        theta = (clip(a, lr * l1) - a) / (square_root(n) + _ftrl_beta)
    else:
        theta = theta - lr * g
    return theta, a, b


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _update_w(
    parameters: Float32Array,
    i: int,
    w_at: int,
    optimizer: int,
    gradient: np.float32,
    wd: np.float32,
    lr: np.float32,
    clip_limit: np.float32,
    epsilon: np.float32,
    l1: np.float32,
) -> None:
    """Update the linear weight of feature i from its rescaled gradient."""
    w = parameters[i, w_at]
    g = clip(gradient + wd * w, clip_limit)
    a = b = _float32(0)
    if optimizer != _SGD:
        a = parameters[i, w_at + 1]
    if optimizer in (_ADAM, _FTRL):
        b = parameters[i, w_at + 2]
    if optimizer == _ROWWISE_ADAGRAD:  # a row of one number
        a = a + g * g
    w, a, b = _apply(optimizer, w, a, b, g, lr, epsilon, l1)
    parameters[i, w_at] = w
    if optimizer != _SGD:
        parameters[i, w_at + 1] = a
    if optimizer in (_ADAM, _FTRL):
        parameters[i, w_at + 2] = b


@njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _update_v(
    parameters: Float32Array,
    i: int,
    w_at: int,
    num_factors: int,
    optimizer: int,
    gradients: Float32Array,
    lr: np.float32,
    epsilon: np.float32,
    l1: np.float32,
) -> None:
    """Update the factors of feature i from their finished gradients, (1, width)."""
    width = gradients.shape[1]
    zero = splat(_float32(0))
    row_state = zero
    if optimizer == _ROWWISE_ADAGRAD:
        squares = zero
        for j in range(0, width, WIDTH):
            g = load(gradients, 0, j)
            squares = squares + g * g
        parameters[i, w_at + 2] += total(squares) / _float32(num_factors)
        row_state = splat(parameters[i, w_at + 2])
    for j in range(0, width, WIDTH):
        a, b = row_state, zero
        if optimizer in (_ADAM, _ADAGRAD, _FTRL):
            a = load(parameters, i, width + j)
        if optimizer in (_ADAM, _FTRL):
            b = load(parameters, i, 2 * width + j)
        v, g = load(parameters, i, j), load(gradients, 0, j)
        v, a, b = _apply(optimizer, v, a, b, g, lr, epsilon, l1)
        store(parameters, i, j, v)
        if optimizer in (_ADAM, _ADAGRAD, _FTRL):
            store(parameters, i, width + j, a)
        if optimizer in (_ADAM, _FTRL):
            store(parameters, i, 2 * width + j, b)


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def update_columns(
    features: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    values: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
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
    """Pass 3. Gradient by v_if: Σ_r g_r x_ri S_rf − v_if Σ_r g_r x_ri²."""
    num_columns, width = len(features), factor_sums.shape[1]
    for piece in prange((num_columns + _COLUMNS_A_PIECE - 1) // _COLUMNS_A_PIECE):
        gradients = np.empty((1, width), np.float32)
        last_column = min(num_columns, (piece + 1) * _COLUMNS_A_PIECE)
        for c in range(piece * _COLUMNS_A_PIECE, last_column):
            if c + _COLUMNS_AHEAD < last_column:
                for j in range(0, w_at + 3, CACHE_LINE):
                    prefetch(parameters, features[c + _COLUMNS_AHEAD], j)
            i = features[c]
            linear = _float32(0)
            squares = _float32(0)
            for p in range(starts[c], starts[c + 1]):
                weighted = residual[rows[p]] * values[p]
                linear += weighted
                squares += weighted * values[p]
            if use_linear:
                _update_w(
                    parameters, i, w_at, optimizer, rescale * linear, linear_wd, linear_lr,
                    clip_limit, epsilon, l1,
                )  # fmt: skip
            for j in range(0, width, WIDTH):
                gradient = splat(_float32(0))
                for p in range(starts[c], starts[c + 1]):
                    r = rows[p]
                    gradient = gradient + residual[r] * values[p] * load(factor_sums, r, j)
                v = load(parameters, i, j)
                gradient = rescale * (gradient - squares * v) + factors_wd * v
                store(gradients, 0, j, clip(gradient, clip_limit))
            _update_v(
                parameters, i, w_at, num_factors, optimizer, gradients, factors_lr, epsilon, l1
            )
