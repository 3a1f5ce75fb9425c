"""Find the first violator of each positive by the CPU kernel's parameters, in one compiled pass."""

import numpy as np

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.simd import WIDTH, load, splat, store, total
from fm_algo.sparse import Float32Array, Int32Array, Int64Array
from fm_algo.training.ranking.comparisons import RowArrays
from fm_algo.training.ranking.negatives import Drawing, Whose, draw_item, key_of

_POSITIVES_A_PIECE = 16

_float32 = np.float32

ParameterRows = tuple[Float32Array, int, bool]
"""Rows of parameters as `fm_algo.training.gradient.parameters` lays them out, where in a row w
stands, and whether there is one."""


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def find_violators(
    whose: Whose,
    chosen: Int64Array,
    items: Int32Array,
    contexts: RowArrays,
    of_items: RowArrays,
    drawing: Drawing,
    parameters: ParameterRows,
    found: tuple[Int32Array, Int32Array, Float32Array],
) -> None:
    """Draw for each chosen positive until a negative is above its margin less 1.

    A margin of a context c and an item i is m_c + m_i + ⟨S_c, S_i⟩ with S = Σ x v, because they
    share no feature. m_c is the same for all items, so it is left out.

    Parameters
    ----------
    whose, drawing
        As for `key_of` and `draw_item`.
    chosen : int64, shape (n,)
    items : int32, shape (num_positives,)
        The item of each positive.
    contexts, of_items : RowArrays
    parameters : ParameterRows
    found : int32 (n,), int32 (n,), float32 (n, 2)
        The last draw of each, and how many there were: at first, the most that are allowed. How far
        the positive is above the last draw, and above the first.
    """
    num_positives = len(chosen)
    for piece in prange((num_positives + _POSITIVES_A_PIECE - 1) // _POSITIVES_A_PIECE):
        first = piece * _POSITIVES_A_PIECE
        stop = min(num_positives, first + _POSITIVES_A_PIECE)
        _search(
            (first, stop), whose, chosen, items, (contexts, of_items), drawing, parameters, found
        )


# A function of its own: Numba makes slower code of what stands in a parallel one.
@njit(nogil=True, error_model="numpy")
def _search(
    piece: tuple[int, int],
    whose: Whose,
    chosen: Int64Array,
    items: Int32Array,
    rows_of: tuple[RowArrays, RowArrays],
    drawing: Drawing,
    parameters: ParameterRows,
    found: tuple[Int32Array, Int32Array, Float32Array],
) -> None:
    negatives, tries, above = found
    rows, w_at, use_linear = parameters
    (indptr, indices, values), (item_indptr, item_indices, item_values) = rows_of
    sums = np.empty((1, w_at), np.float32)  # S of a context
    for n in range(piece[0], piece[1]):
        positive = chosen[n]
        key = key_of(whose, positive)
        _sum_up(indptr[positive], indptr[positive + 1], indices, values, rows, sums)
        own = _float32(0)
        for t in range(tries[n] + 1):
            item = items[positive]
            if t > 0:
                item = draw_item(key, np.uint64(t - 1), positive, drawing)
            first, last = item_indptr[item], item_indptr[item + 1]
            margin = _pairwise(first, last, item_indices, item_values, rows, sums)
            if use_linear:
                for e in range(first, last):
                    margin += rows[item_indices[e], w_at] * item_values[e]
            if t == 0:
                own = margin
                continue
            negatives[n], above[n, 0] = item, own - margin
            if t == 1:
                above[n, 1] = own - margin
            if own - margin < _float32(1):
                tries[n] = t
                break


@njit(nogil=True, error_model="numpy", forceinline=True)
def _sum_up(
    first: int,
    last: int,
    indices: Int32Array,
    values: Float32Array,
    rows: Float32Array,
    sums: Float32Array,
) -> None:
    """Set row 0 of `sums` to Σ x v."""
    for j in range(0, sums.shape[1], WIDTH):
        s = splat(_float32(0))
        for e in range(first, last):
            s = s + values[e] * load(rows, indices[e], j)
        store(sums, 0, j, s)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _pairwise(
    first: int,
    last: int,
    indices: Int32Array,
    values: Float32Array,
    rows: Float32Array,
    sums: Float32Array,
) -> np.float32:
    """Return ⟨sums, S⟩ + ½ Σ_f (S_f² − Σ_i v_if² x_i²) of some entries."""
    half = _float32(0.5)
    pairwise = splat(_float32(0))
    for j in range(0, sums.shape[1], WIDTH):
        s = squares = splat(_float32(0))
        for e in range(first, last):
            term = values[e] * load(rows, indices[e], j)
            s = s + term
            squares = squares + term * term
        pairwise = pairwise + (load(sums, 0, j) * s + half * (s * s - squares))
    sum_: np.float32 = total(pairwise)
    return sum_
