"""What the CPU kernel does otherwise where pairs of fields have weights (`fm_algo.model`).

With s_f = Σ_{i in f} v_i x_i over the entries of a row, and its residual g:

    margin        w0 + Σ w_i x_i + Σ_{f<g} r_fg <s_f, s_g> + Σ_f r_ff h_f,
                  h_f = ½ (|s_f|² - Σ_{i in f} |v_i x_i|²)
    by v_i        g x_i (t_f - r_ff x_i v_i) for i in f, with t_f = Σ_g r_fg s_g
    by r_fg       g <s_f, s_g>; by r_ff, g h_f

A place is a row and one of its fields, see `field_rows`.
"""

import numpy as np

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.simd import WIDTH, load, splat, store, total
from fm_algo.sparse import Float32Array, Int32Array, Int64Array
from fm_algo.training.gradient.optimizers import StepConstants
from fm_algo.training.gradient.passes import (
    entries_ahead,
    sum_entries,
    update_w,
)

_ROWS_A_PIECE = 64
_MOST_PARTS = 32
"""The most parts of a mini-batch whose gradients by R are added up one after the other."""

_float32 = np.float32


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def forward_fields(
    places: tuple[Int64Array, Int64Array, Int32Array],
    indices: Int32Array,
    values: Float32Array,
    w0: np.float32,
    parameters: Float32Array,
    w_at: int,
    use_linear: bool,
    R: Float32Array,
    margin: Float32Array,
    sums: Float32Array,
    weighted_sums: Float32Array,
    within: Float32Array,
) -> None:
    """Pass 1: find the margin of each row; s_f, t_f and h_f of each place.

    `places` are row_starts, starts and fields of `FieldRows`.
    """
    row_starts, starts, fields = places
    num_rows = len(row_starts) - 1
    reach = entries_ahead(w_at + use_linear)
    half = _float32(0.5)
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        for r in range(piece * _ROWS_A_PIECE, min(num_rows, (piece + 1) * _ROWS_A_PIECE)):
            first, last = row_starts[r], row_starts[r + 1]
            linear = own = _float32(0)
            for p in range(first, last):
                of_place, pairs = sum_entries(
                    starts[p], starts[p + 1], indices, values,
                    parameters, w_at, use_linear, reach, sums, p,
                )  # fmt: skip
                linear += of_place
                within[p] = half * total(pairs)
                own += R[fields[p], fields[p]] * within[p]
            across = _weigh_sums(first, last, fields, R, sums, weighted_sums)
            margin[r] = w0 + linear + own + half * across


@njit(nogil=True, error_model="numpy", forceinline=True)
def _weigh_sums(
    first: int,
    last: int,
    fields: Int32Array,
    R: Float32Array,
    sums: Float32Array,
    weighted_sums: Float32Array,
) -> np.float32:
    """Set t_f for the places of a row; return Σ_f <s_f, t_f - r_ff s_f>, each pair twice."""
    width = sums.shape[1]
    zero = splat(_float32(0))
    across = zero
    # Two places and two vectors at a time: their sums stay in registers.
    for p in range(np.uint64(first), np.uint64(last), np.uint64(2)):
        second = min(p + np.uint64(1), np.uint64(last - 1))
        f0, f1 = np.uint32(fields[p]), np.uint32(fields[second])
        r0, r1 = R[f0, f0], R[f1, f1]
        for j in range(0, width, 2 * WIDTH):
            is_pair = j + WIDTH < width
            t00 = t01 = t10 = t11 = zero
            for q in range(np.uint64(first), np.uint64(last)):
                g = np.uint32(fields[q])
                s = load(sums, q, j)
                t00 = t00 + R[f0, g] * s
                t10 = t10 + R[f1, g] * s
                if is_pair:
                    s = load(sums, q, j + WIDTH)
                    t01 = t01 + R[f0, g] * s
                    t11 = t11 + R[f1, g] * s
            store(weighted_sums, p, j, t00)
            s = load(sums, p, j)
            across = across + s * (t00 - r0 * s)
            if is_pair:
                store(weighted_sums, p, j + WIDTH, t01)
                s = load(sums, p, j + WIDTH)
                across = across + s * (t01 - r0 * s)
            if second != p:
                store(weighted_sums, second, j, t10)
                s = load(sums, second, j)
                across = across + s * (t10 - r1 * s)
                if is_pair:
                    store(weighted_sums, second, j + WIDTH, t11)
                    s = load(sums, second, j + WIDTH)
                    across = across + s * (t11 - r1 * s)
    twice: np.float32 = total(across)
    return twice


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add_products(
    first: int,
    last: int,
    fields: Int32Array,
    g: np.float32,
    sums: Float32Array,
    products: Float32Array,
    num_fields: int,
) -> None:
    """Add g <s_f, s_g> for all pairs of places of a row, as vectors that are not added up yet."""
    width = sums.shape[1]
    for p in range(np.uint64(first), np.uint64(last)):
        row = np.uint32(fields[p]) * np.uint32(num_fields)
        # Two vectors at a time: g s_f stays in registers.
        for j in range(0, width, 2 * WIDTH):
            is_pair = j + WIDTH < width
            s0 = s1 = g * load(sums, p, j)
            if is_pair:
                s1 = g * load(sums, p, j + WIDTH)
            for q in range(p + np.uint64(1), np.uint64(last)):
                pair = row + np.uint32(fields[q])
                product = s0 * load(sums, q, j)
                if is_pair:
                    product = product + s1 * load(sums, q, j + WIDTH)
                store(products, pair, 0, load(products, pair, 0) + product)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def sum_pairs(
    row_starts: Int64Array,
    fields: Int32Array,
    residual: Float32Array,
    sums: Float32Array,
    within: Float32Array,
    num_fields: int,
    place_residual: Float32Array,
) -> Float32Array:
    """Sum the gradient by R, (F, F), symmetric; set the residual of each place to its row's.

    The rows are summed up in parts, whose number does not depend on the number of threads.
    """
    num_rows = len(residual)
    rows_a_part = max(_ROWS_A_PIECE, (num_rows + _MOST_PARTS - 1) // _MOST_PARTS)
    num_parts = (num_rows + rows_a_part - 1) // rows_a_part
    parts = np.empty((num_parts, num_fields, num_fields), np.float32)
    for part in prange(num_parts):
        products = np.zeros((num_fields * num_fields, WIDTH), np.float32)
        own = np.zeros(num_fields, np.float32)
        for r in range(part * rows_a_part, min(num_rows, (part + 1) * rows_a_part)):
            first, last = row_starts[r], row_starts[r + 1]
            _add_products(first, last, fields, residual[r], sums, products, num_fields)
            for p in range(first, last):
                place_residual[p] = residual[r]
                own[fields[p]] += residual[r] * within[p]
        for f in range(num_fields):
            parts[part, f, f] = own[f]
            for g_ in range(f + 1, num_fields):
                of_pair = total(load(products, f * num_fields + g_, 0))
                parts[part, f, g_] = of_pair
                parts[part, g_, f] = of_pair
    gradient = np.zeros((num_fields, num_fields), np.float32)
    for part in range(num_parts):
        gradient += parts[part]
    return gradient


@njit(nogil=True, error_model="numpy", cache=True)
def update_pairs(
    gradient: Float32Array,
    pairs: Float32Array,
    lr: np.float32,
    wd: np.float32,
    constants: StepConstants,
) -> None:
    """Update the weights of pairs of fields that the mini-batch says something about."""
    flat = gradient.reshape(-1)
    for pair in range(len(flat)):
        if flat[pair] != 0:
            update_w(pairs, pair, 0, constants.rescale * flat[pair], lr, wd, constants)
