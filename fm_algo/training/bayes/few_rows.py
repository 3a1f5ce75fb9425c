"""One feature with fewer rows than numbers: Matheron's rule, see `feature_step`."""

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.runtime.simd import WIDTH, load, prefetch, splat, store, total
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.columns import Columns
from fm_algo.training.bayes.feature_step import Priors, RowState, Step, Work
from fm_algo.training.bayes.gram import add_square, clear
from fm_algo.training.bayes.solve import factorize, substitute
from fm_algo.training.bayes.vector import multiply_add, transpose_tile

_ROWS_AHEAD = np.uint64(24)
_float32 = np.float32


@njit(nogil=True, error_model="numpy", cache=True)
def _pack(
    first: int,
    last: int,
    theta: Float32Array,
    columns: Columns,
    state: RowState,
    deviation: Float32Array,
    root_precision: np.float32,
    work: Work,
) -> int:
    """Set the panel to B, and work.reduced to the right-hand side of its rows.

    `theta` and `deviation` are (1, at least width + WIDTH); w's number is in column `width`, and
    what lies behind has the deviation 0, as have factors beyond the last. Rows of 0 fill the last
    vector of rows. Returns the number of rows with them.
    """
    q, e, weight, panel = state.factor_sums, state.residual, state.root_weight, work.panel
    width, num_rows, last_entry = q.shape[1], last - first, np.uint64(len(columns.rows) - 1)
    padded = -(-num_rows // WIDTH) * WIDTH
    epsilon_at = np.uint64(width + WIDTH)
    for n in range(np.uint64(num_rows)):
        p = np.uint64(first) + n
        prefetch(q, np.uint32(columns.rows[min(p + _ROWS_AHEAD, last_entry)]), 0)
        r, x = np.uint32(columns.rows[p]), columns.values[p]
        root = root_precision * weight[r] if len(weight) else root_precision
        scale = root * x
        row = scale * load(deviation, 0, width)
        store(panel, n, width, row)
        dot = row * load(work.offset, 0, width)
        for j in range(0, width, WIDTH):
            s = multiply_add(-x, load(theta, 0, j), load(q, r, j))
            row = scale * load(deviation, 0, j) * s
            store(panel, n, j, row)
            dot = multiply_add(row, load(work.offset, 0, j), dot)
        work.reduced[0, n] = root * e[r] - work.noise[0, epsilon_at + n] + total(dot)
    for n in range(num_rows, padded):
        work.reduced[0, n] = _float32(0)
        for j in range(0, width + WIDTH, WIDTH):
            store(panel, n, j, splat(_float32(0)))
    return padded


@njit(nogil=True, error_model="numpy", cache=True)
def change_by_rows(
    first: int,
    last: int,
    theta: Float32Array,
    columns: Columns,
    state: RowState,
    priors: Priors,
    group: int,
    step: Step,
    work: Work,
) -> None:
    """Find the change of a feature with at most `num_factors` rows; theta is (1, stride).

    Sets work.change, w's number at `width`.
    """
    mean, deviation = priors.mean[group : group + 1], priors.deviation[group : group + 1]
    root = priors.root_precision[group : group + 1]
    panel, matrix, num_rows = work.panel, work.matrix, last - first
    width, pull = matrix.shape[1], _float32(not step.is_proximal)
    for j in range(0, width + WIDTH, WIDTH):
        distance = pull * (load(theta, 0, j) - load(mean, 0, j))
        store(work.offset, 0, j, load(root, 0, j) * distance - load(work.noise, 0, j))
    padded = _pack(first, last, theta, columns, state, deviation, step.root_precision, work)
    for j in range(0, width + WIDTH, WIDTH):
        for n in range(0, padded, WIDTH):
            transpose_tile(panel, n, j, work.across, j, n)
    clear(matrix, padded)
    add_square(work.across, width + 1, padded, matrix)
    for n in range(np.uint64(padded)):
        matrix[n, n] += _float32(1)
    for n in range(0, padded, WIDTH):
        store(matrix, padded + 1, n, load(work.reduced, 0, n))
    factorize(matrix, padded, work.reduced, work.pivots)
    substitute(matrix, padded, work.reduced, work.pivots, work.rows_solution)
    # θ_new − θ = Λ^-½ (Bᵀ ζ − (Λ^½ (θ − μ) − z)).
    for j in range(0, width + WIDTH, WIDTH):
        sums = splat(_float32(0)) - load(work.offset, 0, j)
        for n in range(np.uint64(num_rows)):
            sums = multiply_add(work.rows_solution[0, n], load(panel, n, j), sums)
        store(work.change, 0, j, load(deviation, 0, j) * sums)
