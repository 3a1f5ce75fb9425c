"""The two parallel passes of the CPU kernel over the parameter rows (see `parameters`)."""

from typing import Any

import numpy as np

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.simd import (
    CACHE_LINE,
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
from fm_algo.training.gradient.optimizers import (
    BETA1,
    BETA2,
    FTRL_BETA,
    OPTIMIZER_CODES,
    StepConstants,
)

_ADAM, _ADAGRAD, _ROWWISE_ADAGRAD, _FTRL, _SGD = OPTIMIZER_CODES.values()

# Pieces of work that threads take: small enough to share evenly, large enough to be worth taking.
_ROWS_A_PIECE = 64
_COLUMNS_A_PIECE = 256

# How far ahead parameters are fetched, measured: enough cache lines are on their way to hide the
# long wait for each. This holds for a piece's last rows too, because its thread mostly takes the
# next piece. Factor sums come from a nearer cache.
_LINES_AHEAD = 256
_LEAST_ENTRIES_AHEAD = 64
_COLUMNS_AHEAD = 24
_PAIRS_AHEAD = np.uint64(32)

_float32 = np.float32
_beta1, _beta2, _ftrl_beta = _float32(BETA1), _float32(BETA2), _float32(FTRL_BETA)
_one_minus_beta1, _one_minus_beta2 = _float32(1 - BETA1), _float32(1 - BETA2)

_Number = Any  # a float32 or a vector of them

# Functions that only passes call are inlined there, which Numba would not do by itself; this is
# worth a third of the time of pass 3. They do not call functions of arrays: Numba would count
# references for each column. Indices are unsigned: Numba tests signed ones for negative values.


@njit(nogil=True, error_model="numpy", forceinline=True)
def residual_of(margin: np.float32, label: np.float32, is_classifier: bool) -> np.float32:
    """Return score minus label: how the loss changes with the margin (`Loss.residual`)."""
    if not is_classifier:
        return margin - label
    small = np.exp(-abs(margin))  # never overflows
    score: np.float32 = (_float32(1) if margin >= 0 else small) / (_float32(1) + small)
    return score - label


@njit(nogil=True, error_model="numpy", cache=True)
def find_residuals(
    margin: Float32Array, labels: Float32Array, is_classifier: bool, residual: Float32Array
) -> None:
    """Compute score minus label of each row, where pass 1 does not know the margins yet."""
    for r in range(len(margin)):
        residual[r] = residual_of(margin[r], labels[r], is_classifier)


@njit(nogil=True, error_model="numpy", forceinline=True)
def entries_ahead(num_read: int) -> np.uint64:
    """Return how many entries ahead pass 1 fetches parameters, of which it reads `num_read`."""
    num_lines = (num_read + CACHE_LINE - 1) // CACHE_LINE
    return np.uint64(max(_LINES_AHEAD // num_lines, _LEAST_ENTRIES_AHEAD))


@njit(nogil=True, error_model="numpy", forceinline=True)
def sum_entries(
    first: int | np.uint64,
    last: int | np.uint64,
    indices: Int32Array,
    values: Float32Array,
    parameters: Float32Array,
    w_at: int,
    use_linear: bool,
    reach: np.uint64,
    sums: Float32Array,
    at: int | np.uint64,
) -> tuple[np.float32, _Number]:
    """Set row `at` of `sums` to Σ_e v_e x_e over some entries, and fetch those `reach` ahead.

    Returns Σ_e w_e x_e, and a vector whose total is |Σ_e v_e x_e|² - Σ_e |v_e x_e|².
    """
    width, num_read = sums.shape[1], w_at + use_linear
    last_entry = np.uint64(len(indices) - 1)
    zero = splat(_float32(0))
    linear = _float32(0)
    pairwise = zero
    # Two vectors at a time: their sums stay in registers, and the additions overlap.
    for j in range(0, width, 2 * WIDTH):
        is_first, is_pair = j == 0, j + WIDTH < width
        s0 = s1 = squares0 = squares1 = zero
        for e in range(np.uint64(first), np.uint64(last)):
            i, x = np.uint32(indices[e]), values[e]
            if is_first:
                ahead = np.uint32(indices[min(e + reach, last_entry)])
                for line in range(0, num_read, CACHE_LINE):
                    prefetch(parameters, ahead, line)
                if use_linear:
                    linear += parameters[i, w_at] * x
            term0 = x * load(parameters, i, j)
            s0 = s0 + term0
            squares0 = squares0 + term0 * term0
            if is_pair:
                term1 = x * load(parameters, i, j + WIDTH)
                s1 = s1 + term1
                squares1 = squares1 + term1 * term1
        store(sums, at, j, s0)
        pairwise = pairwise + (s0 * s0 - squares0)
        if is_pair:
            store(sums, at, j + WIDTH, s1)
            pairwise = pairwise + (s1 * s1 - squares1)
    return linear, pairwise


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def forward_rows(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    labels: Float32Array,
    w0: np.float32,
    parameters: Float32Array,
    w_at: int,
    use_linear: bool,
    is_classifier: bool,
    margin: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
) -> None:
    """Pass 1: find the margin, residual and factor sums of each row.

    Pairwise part: ½ Σ_f (S_f² − Σ_i v_if² x_i²), Rendle 2010, lemma 3.1. Without `use_linear`, w is
    0 and is not read.
    """
    num_rows = len(factor_sums)
    reach = entries_ahead(w_at + use_linear)
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        for r in range(piece * _ROWS_A_PIECE, min(num_rows, (piece + 1) * _ROWS_A_PIECE)):
            linear, pairwise = sum_entries(
                indptr[r], indptr[r + 1], indices, values,
                parameters, w_at, use_linear, reach, factor_sums, r,
            )  # fmt: skip
            m = w0 + linear + _float32(0.5) * total(pairwise)
            margin[r] = m
            residual[r] = residual_of(m, labels[r], is_classifier)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _apply(
    optimizer: int,
    theta: _Number,
    a: _Number,
    b: _Number,
    g: _Number,
    lr: np.float32,
    constants: StepConstants,
) -> tuple[_Number, _Number, _Number]:
    """Update a parameter and its two states, as numbers or as vectors of them.

    The formulas are those of `gradient.optimizers`.
    """
    if optimizer == _ADAM:
        a = _beta1 * a + _one_minus_beta1 * g
        b = _beta2 * b + _one_minus_beta2 * g * g
        theta = theta - lr * a / (square_root(b) + constants.epsilon)
    elif optimizer == _ADAGRAD:
        a = a + g * g
        theta = theta - lr * g / (square_root(a) + constants.epsilon)
    elif optimizer == _FTRL:
        n = b + g * g
        a = a + lr * g - (square_root(n) - square_root(b)) * theta
        b = n
        theta = (clip(a, lr * constants.l1) - a) / (square_root(n) + _ftrl_beta)
    else:
        theta = theta - lr * g
    return theta, a, b


@njit(nogil=True, error_model="numpy", forceinline=True)
def update_w(
    parameters: Float32Array,
    i: int,
    w_at: int,
    gradient: np.float32,
    lr: np.float32,
    wd: np.float32,
    constants: StepConstants,
) -> None:
    """Update the linear weight of feature i, or the bias, from its rescaled gradient."""
    optimizer = constants.optimizer
    w = parameters[i, w_at]
    g = clip(gradient + wd * w, constants.clip)
    a = b = _float32(0)
    if optimizer != _SGD:
        a = parameters[i, w_at + 1]
    if optimizer in (_ADAM, _FTRL):
        b = parameters[i, w_at + 2]
    rule = _ADAGRAD if optimizer == _ROWWISE_ADAGRAD else optimizer  # w is a row of one number
    w, a, b = _apply(rule, w, a, b, g, lr, constants)
    parameters[i, w_at] = w
    if optimizer != _SGD:
        parameters[i, w_at + 1] = a
    if optimizer in (_ADAM, _FTRL):
        parameters[i, w_at + 2] = b


@njit(nogil=True, error_model="numpy", forceinline=True)
def update_v(
    parameters: Float32Array,
    i: int,
    w_at: int,
    sums: Float32Array,
    decay: np.float32,
    constants: StepConstants,
) -> None:
    """Update the factors of feature i by their gradient: rescale · sums (1, width) + decay · v."""
    optimizer, rescale, lr = constants.optimizer, constants.rescale, constants.factors_lr
    width, states_at = sums.shape[1], w_at + WIDTH
    zero = splat(_float32(0))
    if optimizer == _ROWWISE_ADAGRAD:
        squares = zero
        for j in range(0, width, WIDTH):
            g = clip(rescale * load(sums, 0, j) + decay * load(parameters, i, j), constants.clip)
            squares = squares + g * g
        parameters[i, w_at + 2] += total(squares) / _float32(constants.num_factors)
        row_lr = lr / (square_root(parameters[i, w_at + 2]) + constants.epsilon)
        for j in range(0, width, WIDTH):
            v = load(parameters, i, j)
            g = clip(rescale * load(sums, 0, j) + decay * v, constants.clip)
            store(parameters, i, j, v - row_lr * g)
        return
    for j in range(0, width, WIDTH):
        a, b = zero, zero
        if optimizer != _SGD:
            a = load(parameters, i, states_at + j)
        if optimizer in (_ADAM, _FTRL):
            b = load(parameters, i, states_at + width + j)
        v = load(parameters, i, j)
        g = clip(rescale * load(sums, 0, j) + decay * v, constants.clip)
        v, a, b = _apply(optimizer, v, a, b, g, lr, constants)
        store(parameters, i, j, v)
        if optimizer != _SGD:
            store(parameters, i, states_at + j, a)
        if optimizer in (_ADAM, _FTRL):
            store(parameters, i, states_at + width + j, b)


@njit(nogil=True, error_model="numpy", forceinline=True)
def sum_column(
    first: int,
    last: int,
    rows: Int32Array,
    values: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
    sums: Float32Array,
    at: int,
) -> tuple[np.float32, np.float32]:
    """Set row `at` of `sums` to Σ_r g_r x_ri S_r over a column's pairs; it has at least one.

    Returns Σ_r g_r x_ri and Σ_r g_r x_ri².
    """
    width, last_pair = factor_sums.shape[1], np.uint64(len(rows) - 1)
    linear = squares = _float32(0)
    # Four vectors at a time: their sums stay in registers.
    for j in range(0, width, 4 * WIDTH):
        has_1, has_2, has_3 = j + WIDTH < width, j + 2 * WIDTH < width, j + 3 * WIDTH < width
        linear = squares = _float32(0)
        s0 = s1 = s2 = s3 = splat(_float32(0))
        for p in range(np.uint64(first), np.uint64(last)):
            ahead = np.uint32(rows[min(p + _PAIRS_AHEAD, last_pair)])
            prefetch(factor_sums, ahead, j)
            r, x = np.uint32(rows[p]), values[p]
            weighted = residual[r] * x
            linear += weighted
            squares += weighted * x
            s0 = s0 + weighted * load(factor_sums, r, j)
            if has_1:
                s1 = s1 + weighted * load(factor_sums, r, j + WIDTH)
            if has_2:
                prefetch(factor_sums, ahead, j + 2 * WIDTH)
                s2 = s2 + weighted * load(factor_sums, r, j + 2 * WIDTH)
            if has_3:
                s3 = s3 + weighted * load(factor_sums, r, j + 3 * WIDTH)
        store(sums, at, j, s0)
        if has_1:
            store(sums, at, j + WIDTH, s1)
        if has_2:
            store(sums, at, j + 2 * WIDTH, s2)
        if has_3:
            store(sums, at, j + 3 * WIDTH, s3)
    return linear, squares


@njit(nogil=True)
def _sum(values: Float32Array) -> np.float32:
    """Sum up on one thread, in float64."""
    sum_ = np.float64(0)
    for value in values:
        sum_ += value
    return _float32(sum_)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def update_columns(
    features: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    values: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
    bias: Float32Array,
    parameters: Float32Array,
    w_at: int,
    constants: StepConstants,
    of_fields: tuple[Float32Array, Int32Array, Float32Array] | None = None,
) -> None:
    """Pass 3: update the parameters. Gradient by v_if: Σ_r g_r x_ri S_rf − v_if Σ_r g_r x_ri².

    With weights of fields, `rows` are places and S_rf is t_f (see `field_passes`); `of_fields` has
    the residuals of the rows, the field of each column, and R. The last sum is multiplied by r_ff.
    """
    if constants.use_bias:
        by_row = residual if of_fields is None else of_fields[0]
        gradient = constants.rescale * _sum(by_row)
        update_w(bias, 0, 0, gradient, constants.bias_lr, constants.bias_wd, constants)
    num_columns, width = len(features), factor_sums.shape[1]
    # Taken apart out here and put together again in the loop: handed to its threads as a tuple, the
    # constants cost it 5 % of its time.
    (
        optimizer, num_factors, use_bias, use_linear, bias_lr, linear_lr, factors_lr,
        bias_wd, linear_wd, factors_wd, rescale, clip_limit, epsilon, l1,
    ) = constants  # fmt: skip
    for piece in prange((num_columns + _COLUMNS_A_PIECE - 1) // _COLUMNS_A_PIECE):
        own = StepConstants(
            optimizer=optimizer, num_factors=num_factors, use_bias=use_bias, use_linear=use_linear,
            bias_lr=bias_lr, linear_lr=linear_lr, factors_lr=factors_lr,
            bias_wd=bias_wd, linear_wd=linear_wd, factors_wd=factors_wd,
            rescale=rescale, clip=clip_limit, epsilon=epsilon, l1=l1,
        )  # fmt: skip
        sums = np.empty((1, width), np.float32)  # Σ_r g_r x_ri S_r
        last_column = min(num_columns, (piece + 1) * _COLUMNS_A_PIECE)
        for c in range(piece * _COLUMNS_A_PIECE, last_column):
            ahead = features[min(c + _COLUMNS_AHEAD, num_columns - 1)]
            for j in range(0, parameters.shape[1], CACHE_LINE):
                prefetch(parameters, ahead, j)
            i = features[c]
            linear, squares = sum_column(
                starts[c], starts[c + 1], rows, values, residual, factor_sums, sums, 0
            )
            if own.use_linear:
                update_w(
                    parameters, i, w_at, rescale * linear,
                    own.linear_lr, own.linear_wd, own,
                )  # fmt: skip
            if of_fields is not None:
                field = of_fields[1][c]
                squares *= of_fields[2][field, field]
            decay = own.factors_wd - rescale * squares
            update_v(parameters, i, w_at, sums, decay, own)
