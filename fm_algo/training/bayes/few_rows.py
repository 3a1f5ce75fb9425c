"""One feature with fewer rows than numbers: Matheron's rule, see `feature_step`."""

import numpy as np

from fm_algo.jit import njit
from fm_algo.kernels.parameters import WIDTH
from fm_algo.kernels.simd import load, splat, store, total
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.columns import Columns
from fm_algo.training.bayes.feature_step import Priors, RowState, Step, Work
from fm_algo.training.bayes.gram import add_product, clear
from fm_algo.training.bayes.solve import factorize, substitute

_float32 = np.float32


@njit(nogil=True, error_model="numpy", cache=True)
def _pack(
    first: int,
    last: int,
    theta: Float32Array,
    columns: Columns,
    state: RowState,
    deviation: Float32Array,
    step: Step,
    work: Work,
) -> int:
    """Set the panel to Bᵀ, w's row last, and to ρ e − ε in place of ε in work.reduced.

    Returns the width of the panel: the rows in whole vectors.
    """
    q, e, weight, panel = state.factor_sums, state.residual, state.root_weight, work.panel
    num_rows, k, w_at = last - first, np.uint64(step.num_factors), np.uint64(q.shape[1])
    width = -(-num_rows // WIDTH) * WIDTH
    for c in range(step.num_factors + 1):
        for n in range(0, width + WIDTH, WIDTH):
            store(panel, c, n, splat(_float32(0)))
    for n in range(np.uint64(num_rows)):
        p = np.uint64(first) + n
        r, x = np.uint32(columns.rows[p]), columns.values[p]
        root = step.root_precision * weight[r] if len(weight) else step.root_precision
        scale = root * x
        for c in range(k):
            panel[c, n] = scale * (q[r, c] - x * theta[0, c]) * deviation[c]
        if step.use_linear:
            panel[k, n] = scale * deviation[w_at]
        work.reduced[n] = root * e[r] - work.reduced[n]
    return width


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
) -> np.float32:
    """Find the change of a feature with at most `num_factors` rows; theta is (1, stride).

    Sets work.solution to that of v; returns that of w.
    """
    mean, deviation = priors.mean[group], priors.deviation[group]
    panel, matrix, num_rows = work.panel, work.matrix, last - first
    w_at, k = matrix.shape[1], step.num_factors
    width = _pack(first, last, theta, columns, state, deviation, step, work)
    for c in range(np.uint64(k)):
        offset = (theta[0, c] - mean[c]) / deviation[c]
        panel[c, np.uint64(width + 1)] = offset - work.noise[c]
    if step.use_linear:
        offset = (theta[0, w_at] - mean[w_at]) / deviation[w_at]
        panel[k, width + 1] = offset - work.noise[k]
    clear(matrix, width)
    add_product(panel, k + 1, width, matrix)
    for n in range(np.uint64(num_rows)):
        matrix[n, n] += _float32(1)
        matrix[np.uint64(width + 1), n] += work.reduced[n]
    factorize(matrix, num_rows, width, work.reduced, work.pivots)
    # The solution is needed as a whole vector of the panel's width, beside that of v.
    substitute(matrix, num_rows, width, work.reduced, work.pivots, work.solution)
    for c in range(k + 1):
        dot = splat(_float32(0))
        for n in range(0, width, WIDTH):
            dot = dot + load(panel, c, n) * load(work.solution, 0, n)
        work.reduced[c] = total(dot) - panel[c, width + 1]
    # θ_new − θ = Λ^-½ (Bᵀ ζ + z) + μ − θ, and panel's last number is Λ^½ (θ − μ) − z.
    for j in range(0, w_at, WIDTH):
        store(work.solution, 0, j, splat(_float32(0)))
    for c in range(np.uint64(k)):
        work.solution[0, c] = work.reduced[c] * deviation[c]
    if not step.use_linear:
        return _float32(0)
    return work.reduced[k] * deviation[w_at]
