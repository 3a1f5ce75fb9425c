"""What the CPU kernel does otherwise where pairs of fields have weights (`fm_algo.model`).

With s_f = Σ_{i in f} v_i x_i over the entries of a row, and its residual g:

    margin        w0 + Σ w_i x_i + Σ_{f<g} r_fg <s_f, s_g> + Σ_f r_ff h_f,
                  h_f = ½ (|s_f|² - Σ_{i in f} |v_i x_i|²)
    by v_i        g x_i (t_f - r_ff x_i v_i) for i in f, with t_f = Σ_g r_fg s_g
    by r_fg       g <s_f, s_g>; by r_ff, g h_f

A place is a row and one of its fields, see `field_rows`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.simd import CACHE_LINE, WIDTH, load, prefetch, splat, store, total
from fm_algo.sparse import Float32Array, Int32Array, Int64Array
from fm_algo.training.gradient.field_rows import FieldRows
from fm_algo.training.gradient.optimizers import StepConstants
from fm_algo.training.gradient.passes import (
    entries_ahead,
    sum_entries,
    update_w,
)

_ROWS_A_PIECE = 64
_MOST_PARTS = 32
"""The most parts of a mini-batch whose gradients by R are added up one after the other."""

_SPARSE = 4
"""Where rows have less than one field in so many, their pairs are gone through one by one."""

_float32 = np.float32
_Number = Any  # a vector of float32


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
    num_rows = len(margin)
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        rows = piece * _ROWS_A_PIECE, min(num_rows, (piece + 1) * _ROWS_A_PIECE)
        _forward_piece(
            rows, places, indices, values, w0, (parameters, w_at, use_linear), R,
            margin, sums, weighted_sums, within,
        )  # fmt: skip


# Numba makes slow code of other loops in a parallel function, so this one is a function of its own.
@njit(nogil=True, error_model="numpy")
def _forward_piece(
    rows: tuple[int, int],
    places: tuple[Int64Array, Int64Array, Int32Array],
    indices: Int32Array,
    values: Float32Array,
    w0: np.float32,
    of_features: tuple[Float32Array, int, bool],
    R: Float32Array,
    margin: Float32Array,
    sums: Float32Array,
    weighted_sums: Float32Array,
    within: Float32Array,
) -> None:
    row_starts, starts, fields = places
    parameters, w_at, use_linear = of_features
    reach = entries_ahead(w_at + use_linear)
    # The weights of the fields of a row, side by side; most rows have those of the row before.
    weights = np.empty((len(R), len(R) + 3), np.float32)
    known_first = known_last = 0
    for r in range(rows[0], rows[1]):
        first, last = row_starts[r], row_starts[r + 1]
        linear = _sum_places(
            first, last, starts, indices, values, parameters, w_at, use_linear, reach,
            sums, within,
        )  # fmt: skip
        if not _are_alike(fields, first, last, known_first, known_last):
            _gather_weights(fields, first, last, R, weights)
            known_first, known_last = first, last
        _weigh_sums(first, last, weights, sums, weighted_sums)
        pairwise = _add_up(first, last, weights, sums, weighted_sums, within)
        margin[r] = w0 + linear + pairwise


@njit(nogil=True, error_model="numpy", forceinline=True)
def _sum_places(
    first: int,
    last: int,
    starts: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    parameters: Float32Array,
    w_at: int,
    use_linear: bool,
    reach: np.uint64,
    sums: Float32Array,
    within: Float32Array,
) -> np.float32:
    """Set s_f and h_f of the places of a row; return Σ w_i x_i."""
    linear = _float32(0)
    num_read, last_entry = w_at + use_linear, np.uint64(len(indices) - 1)
    e = np.uint64(starts[first])
    for p in range(np.uint64(first), np.uint64(last)):
        stop = np.uint64(starts[p + np.uint64(1)])
        if stop - e == np.uint64(1):
            # One entry, as mostly: there is nothing to add up, and h_f is exactly 0.
            i, x = np.uint32(indices[e]), values[e]
            ahead = np.uint32(indices[min(e + reach, last_entry)])
            for line in range(0, num_read, CACHE_LINE):
                prefetch(parameters, ahead, line)
            if use_linear:
                linear += parameters[i, w_at] * x
            for j in range(0, sums.shape[1], WIDTH):
                store(sums, p, j, x * load(parameters, i, j))
            within[p] = _float32(0)
        else:
            of_place, pairs = sum_entries(
                e, stop, indices, values, parameters, w_at, use_linear, reach, sums, p
            )
            linear += of_place
            within[p] = _float32(0.5) * total(pairs)
        e = stop
    return linear


@njit(nogil=True, error_model="numpy", forceinline=True)
def _are_alike(fields: Int32Array, first: int, last: int, other: int, other_last: int) -> bool:
    """Whether the places from `first` on and those from `other` on are of the same fields."""
    if last - first != other_last - other:
        return False
    for number in range(last - first):  # noqa: SIM110 - Numba has no generators
        if fields[first + number] != fields[other + number]:
            return False
    return True


@njit(nogil=True, error_model="numpy", forceinline=True)
def _gather_weights(
    fields: Int32Array, first: int, last: int, R: Float32Array, weights: Float32Array
) -> None:
    """Set weights[q, p] to the weight of the pair of places p and q of a row, and 3 more to 0."""
    num_places = last - first
    for q in range(num_places):
        for p in range(num_places):
            weights[q, p] = R[fields[first + q], fields[first + p]]
        for p in range(num_places, num_places + 3):
            weights[q, p] = 0


@njit(nogil=True, error_model="numpy", forceinline=True)
def _weigh_sums(
    first: int, last: int, weights: Float32Array, sums: Float32Array, weighted_sums: Float32Array
) -> None:
    """Set t_f = Σ_g r_fg s_g for the places of a row."""
    width, zero = sums.shape[1], splat(_float32(0))
    at, num_places = np.uint64(first), np.uint64(last - first)
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    # Four places and two vectors at a time: their sums stay in registers.
    for p in range(np.uint64(0), num_places, np.uint64(4)):
        has_1, has_2, has_3 = p + one < num_places, p + two < num_places, p + three < num_places
        for j in range(0, width, 2 * WIDTH):
            is_pair = j + WIDTH < width
            t0 = t1 = t2 = t3 = u0 = u1 = u2 = u3 = zero
            for q in range(num_places):
                r0, r1 = weights[q, p], weights[q, p + one]
                r2, r3 = weights[q, p + two], weights[q, p + three]
                s = load(sums, at + q, j)
                t0, t1, t2, t3 = t0 + r0 * s, t1 + r1 * s, t2 + r2 * s, t3 + r3 * s
                if is_pair:
                    s = load(sums, at + q, j + WIDTH)
                    u0, u1, u2, u3 = u0 + r0 * s, u1 + r1 * s, u2 + r2 * s, u3 + r3 * s
            _store_two(weighted_sums, at + p, j, t0, u0, is_pair)
            if has_1:
                _store_two(weighted_sums, at + p + one, j, t1, u1, is_pair)
            if has_2:
                _store_two(weighted_sums, at + p + two, j, t2, u2, is_pair)
            if has_3:
                _store_two(weighted_sums, at + p + three, j, t3, u3, is_pair)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _store_two(
    array: Float32Array, row: np.uint64, j: int, one: _Number, other: _Number, is_pair: bool
) -> None:
    store(array, row, j, one)
    if is_pair:
        store(array, row, j + WIDTH, other)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add_up(
    first: int,
    last: int,
    weights: Float32Array,
    sums: Float32Array,
    weighted_sums: Float32Array,
    within: Float32Array,
) -> np.float32:
    """Return ½ Σ_f <s_f, t_f - r_ff s_f> + Σ_f r_ff h_f over the places of a row."""
    own, across = _float32(0), splat(_float32(0))
    for p in range(np.uint64(first), np.uint64(last)):
        r = weights[p - np.uint64(first), p - np.uint64(first)]
        own += r * within[p]
        for j in range(0, sums.shape[1], WIDTH):
            s = load(sums, p, j)
            across = across + s * (load(weighted_sums, p, j) - r * s)
    pairwise: np.float32 = own + _float32(0.5) * total(across)
    return pairwise


def sum_pairs(
    rows: FieldRows,
    residual: Float32Array,
    sums: Float32Array,
    within: Float32Array,
    num_fields: int,
) -> tuple[Float32Array, Float32Array]:
    """Sum the gradient by R, and give each place the residual of its row.

    Parameters
    ----------
    rows : FieldRows
        n rows with p places.
    residual : float32, shape (n,)
    sums : float32, shape (p + 1, width)
        s_f of each place; the last row is of no place, and 0.
    within : float32, shape (p,)
        h_f of each place.
    num_fields : int

    Returns
    -------
    by_pair : float32, shape (T, F, F)
        Its sum over the T parts of the mini-batch, whose number does not depend on that of threads.
        Pairs (f, g) with f <= g alone are right.
    place_residual : float32, shape (p,)
    """
    num_rows = len(residual)
    rows_a_part = max(_ROWS_A_PIECE, -(-num_rows // _MOST_PARTS))
    num_padded = -(-num_fields // 12) * 12  # whole tiles
    parts = np.zeros((-(-num_rows // rows_a_part), num_padded, num_padded), np.float32)
    place_residual = np.empty(rows.num_places, np.float32)
    _sum_parts(
        rows_a_part, (rows.row_starts, rows.fields), residual, sums, within,
        num_fields, parts, place_residual,
    )  # fmt: skip
    return parts, place_residual


# Numba makes slow code of other loops in a parallel function: this one has no others.
@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def _sum_parts(
    rows_a_part: int,
    places: tuple[Int64Array, Int32Array],
    residual: Float32Array,
    sums: Float32Array,
    within: Float32Array,
    num_fields: int,
    parts: Float32Array,
    place_residual: Float32Array,
) -> None:
    for part in prange(len(parts)):
        rows = part * rows_a_part, min(len(residual), (part + 1) * rows_a_part)
        _sum_part(rows, places, residual, sums, within, num_fields, parts[part], place_residual)


@njit(nogil=True, error_model="numpy")
def _sum_part(
    rows: tuple[int, int],
    places: tuple[Int64Array, Int32Array],
    residual: Float32Array,
    sums: Float32Array,
    within: Float32Array,
    num_fields: int,
    products: Float32Array,
    place_residual: Float32Array,
) -> None:
    """Add what some rows say, a piece at a time."""
    row_starts, fields = places
    place_of = np.empty((_ROWS_A_PIECE, len(products)), np.uint32)
    for first in range(rows[0], rows[1], _ROWS_A_PIECE):
        last = min(rows[1], first + _ROWS_A_PIECE)
        num_places = row_starts[last] - row_starts[first]
        is_sparse = _SPARSE * num_places < (last - first) * num_fields
        if not is_sparse:
            place_of[:] = len(sums) - 1
        for r in range(first, last):
            for p in range(row_starts[r], row_starts[r + 1]):
                place_of[r - first, fields[p]] = p
                place_residual[p] = residual[r]
                products[fields[p], fields[p]] += residual[r] * within[p]
            if is_sparse:
                _add_row_alone(
                    row_starts[r], row_starts[r + 1], fields, residual[r], sums, products
                )
        if is_sparse:
            continue
        for f in range(0, num_fields, 3):
            for g in range((f + 1) // 4 * 4, num_fields, 4):  # the first with a pair f < g
                _add_tile(residual[first:last], sums, place_of, f, g, products)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add_row_alone(
    first: int,
    last: int,
    fields: Int32Array,
    residual: np.float32,
    sums: Float32Array,
    products: Float32Array,
) -> None:
    """Add g <s_f, s_g> for each pair of places of a row."""
    for p in range(np.uint64(first), np.uint64(last)):
        for q in range(p + np.uint64(1), np.uint64(last)):
            product = splat(_float32(0))
            for j in range(0, sums.shape[1], WIDTH):
                product = product + load(sums, p, j) * load(sums, q, j)
            products[fields[p], fields[q]] += residual * total(product)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add_tile(
    residual: Float32Array,
    sums: Float32Array,
    place_of: NDArray[np.uint32],
    f: int,
    g: int,
    products: Float32Array,
) -> None:
    """Add Σ_r g_r <s_f, s_g> for three fields from f on with four from g on, where f < g.

    Twelve sums stay in registers.
    """
    zero = splat(_float32(0))
    t00 = t01 = t02 = t03 = t10 = t11 = t12 = t13 = t20 = t21 = t22 = t23 = zero
    for r in range(np.uint64(len(residual))):
        p0, p1, p2 = place_of[r, f], place_of[r, f + 1], place_of[r, f + 2]
        q0, q1, q2, q3 = place_of[r, g], place_of[r, g + 1], place_of[r, g + 2], place_of[r, g + 3]
        for j in range(0, sums.shape[1], WIDTH):
            s0 = residual[r] * load(sums, p0, j)
            s1 = residual[r] * load(sums, p1, j)
            s2 = residual[r] * load(sums, p2, j)
            other = load(sums, q0, j)
            t00, t10, t20 = t00 + s0 * other, t10 + s1 * other, t20 + s2 * other
            other = load(sums, q1, j)
            t01, t11, t21 = t01 + s0 * other, t11 + s1 * other, t21 + s2 * other
            other = load(sums, q2, j)
            t02, t12, t22 = t02 + s0 * other, t12 + s1 * other, t22 + s2 * other
            other = load(sums, q3, j)
            t03, t13, t23 = t03 + s0 * other, t13 + s1 * other, t23 + s2 * other
    _add_row(products, f, g, (t00, t01, t02, t03))
    _add_row(products, f + 1, g, (t10, t11, t12, t13))
    _add_row(products, f + 2, g, (t20, t21, t22, t23))


@njit(nogil=True, error_model="numpy", forceinline=True)
def _add_row(products: Float32Array, f: int, g: int, sums: tuple[_Number, ...]) -> None:
    """Add four totals to those of f with g, g + 1, …; the pairs with f < g alone are wanted."""
    for number in range(4):
        if f < g + number:
            products[f, g + number] += total(sums[number])


@njit(nogil=True, error_model="numpy", cache=True)
def update_pairs(
    parts: Float32Array,
    pairs: Float32Array,
    num_fields: int,
    lr: np.float32,
    wd: np.float32,
    constants: StepConstants,
) -> None:
    """Update the weights of those pairs of fields that have a gradient, which `parts` add up to."""
    for f in range(num_fields):
        for g in range(f, num_fields):
            gradient = _float32(0)
            for part in range(len(parts)):
                gradient += parts[part, f, g]
            if gradient != 0:
                pair, mirrored = f * num_fields + g, g * num_fields + f
                update_w(pairs, pair, 0, constants.rescale * gradient, lr, wd, constants)
                pairs[mirrored] = pairs[pair]
