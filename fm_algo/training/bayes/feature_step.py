"""All of one feature at once: its factors and its weight, drawn or solved for.

With h_r = x_r (1, s_r), s_r = q_r − x_r v, and e_r = t_r − m_r, the posterior of θ = (v, w) is
normal with precision P = Λ + Σ_r ρ_r² h_r h_rᵀ; ρ_r² = α ω_r. Its change δ from the present θ
solves P δ = Λ (μ − θ) + Σ_r ρ_r² h_r e_r. With P = UᵀU a draw is δ = U⁻¹ (U⁻ᵀ b + z), z ~ N(0, I).

Where a feature has fewer rows than numbers, its rows are the smaller system (Matheron's rule;
Doucet, "A note on efficient conditional simulation of Gaussian distributions", 2010): draw θ⁰ from
the prior and ε from N(0, I), then θ = θ⁰ + Λ^-½ Bᵀ (B Bᵀ + I)⁻¹ (ρ e + B Λ^½ (θ_old − θ⁰) − ε),
with the rows ρ_r h_rᵀ Λ^-½ of B.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.runtime.philox import stream
from fm_algo.runtime.simd import WIDTH, load, prefetch, splat, store, total
from fm_algo.sparse import Float32Array
from fm_algo.training.bayes.columns import Columns
from fm_algo.training.bayes.gram import add_product, clear
from fm_algo.training.bayes.normal import BATCH, fill_normal
from fm_algo.training.bayes.random import FEATURE
from fm_algo.training.bayes.solve import factorize, substitute, subtract_row
from fm_algo.training.bayes.vector import multiply_add

BLOCK_ROWS = 64
"""Rows of a panel: it stays in the nearest cache."""

_ROWS_AHEAD = np.uint64(16)
_float32 = np.float32


class RowState(NamedTuple):
    """What is kept for each training row.

    Attributes
    ----------
    factor_sums : float32, shape (num_rows, width)
        q_r = Σ_j x_rj v_j.
    residual : float32, shape (num_rows,)
        e_r: target less margin.
    root_weight : float32, shape (num_rows,), or (0,)
        √ω_r, ω_r the row's weight, or of a classifier Pólya-Gamma; none where all are 1.
    """

    factor_sums: Float32Array
    residual: Float32Array
    root_weight: Float32Array


class Priors(NamedTuple):
    """Normal priors of each group's numbers: those of v, and in column `width` that of w.

    All is 0 in columns without a number: of factors beyond the last, behind w, and w's own where
    there are no weights.

    Attributes
    ----------
    mean, precision, root_precision, deviation : float32, shape (num_groups, width + WIDTH)
        μ, λ, λ^½ and λ^-½.
    """

    mean: Float32Array
    precision: Float32Array
    root_precision: Float32Array
    deviation: Float32Array


class Step(NamedTuple):
    """The numbers of one sweep.

    Attributes
    ----------
    seed, sweep : int64
        What random numbers depend on.
    num_factors : int64
    use_linear : bool
        Whether there are weights; else they stay 0.
    draws : bool
        Whether to draw; else the posterior mean is taken.
    is_proximal : bool
        Whether each number's prior mean is the number itself, as it is.
    root_precision : float32
        √α.
    """

    seed: int
    sweep: int
    num_factors: int
    use_linear: bool
    draws: bool
    is_proximal: bool
    root_precision: np.float32


class Work(NamedTuple):
    """A thread's memory.

    Attributes
    ----------
    panel : float32, shape (max(BLOCK_ROWS, width), width + WIDTH)
    across : float32, shape (width + WIDTH, width)
        A panel of few rows, transposed.
    matrix : float32, shape (width + 3, width)
    noise : float32, shape (1, at least 2 width + WIDTH)
        Normal numbers for v, w at `width`, and rows behind them.
    reduced, pivots, rows_solution : float32, shape (1, width)
    offset, change : float32, shape (1, width + WIDTH)
        Of v, and w at `width`.
    """

    panel: Float32Array
    across: Float32Array
    matrix: Float32Array
    noise: Float32Array
    reduced: Float32Array
    pivots: Float32Array
    rows_solution: Float32Array
    offset: Float32Array
    change: Float32Array


@njit(nogil=True, error_model="numpy", cache=True)
def make_work(width: int) -> Work:
    """Allocate a thread's memory."""
    num_noise = -(-(2 * width + WIDTH) // BATCH) * BATCH
    return Work(
        np.zeros((max(BLOCK_ROWS, width), width + WIDTH), np.float32),
        np.zeros((width + WIDTH, width), np.float32),
        np.zeros((width + 3, width), np.float32),
        np.zeros((1, num_noise), np.float32),
        np.zeros((1, width), np.float32),
        np.zeros((1, width), np.float32),
        np.zeros((1, width), np.float32),
        np.zeros((1, width + WIDTH), np.float32),
        np.zeros((1, width + WIDTH), np.float32),
    )


@njit(nogil=True, error_model="numpy", cache=True)
def sum_rows(
    first: int,
    last: int,
    theta: Float32Array,
    columns: Columns,
    state: RowState,
    root_precision: np.float32,
    panel: Float32Array,
    matrix: Float32Array,
) -> None:
    """Set `matrix` to Σ ρ² h hᵀ and Σ ρ² h e over the entries first:last of the feature `theta`.

    `theta` is (1, stride). Below the system, see `solve`, stand w's row, the right-hand side and,
    in row width + 2, w's Σ ρ² x² and its right-hand side.
    """
    q, e, weight = state.factor_sums, state.residual, state.root_weight
    width, last_entry = q.shape[1], np.uint64(len(columns.rows) - 1)
    clear(matrix, width)
    squares = rhs = 0.0
    for block in range(first, last, BLOCK_ROWS):
        num_rows = min(BLOCK_ROWS, last - block)
        for n in range(np.uint64(num_rows)):
            p = np.uint64(block) + n
            prefetch(q, np.uint32(columns.rows[min(p + _ROWS_AHEAD, last_entry)]), 0)
            r, x = np.uint32(columns.rows[p]), columns.values[p]
            root = root_precision * weight[r] if len(weight) else root_precision
            scale = root * x
            for j in range(0, width, WIDTH):
                s = multiply_add(-x, load(theta, 0, j), load(q, r, j))
                store(panel, n, j, scale * s)
            target = root * e[r]
            panel[n, np.uint64(width)] = scale
            panel[n, np.uint64(width + 1)] = target
            squares += np.float64(scale * scale)
            rhs += np.float64(scale * target)
        add_product(panel, num_rows, width, matrix)
    matrix[width + 2, 0], matrix[width + 2, 1] = squares, rhs


@njit(nogil=True, error_model="numpy", cache=True)
def change_by_numbers(
    theta: Float32Array, priors: Priors, group: int, step: Step, work: Work
) -> None:
    """Find the change of a feature whose sums are in work.matrix; theta is (1, stride).

    Sets work.change, w's number at `width`.
    """
    matrix, mean, precision = work.matrix, priors.mean[group], priors.precision[group]
    width, k = matrix.shape[1], step.num_factors
    rhs, pull = width + 1, _float32(not step.is_proximal)
    for j in range(np.uint64(width)):
        matrix[j, j] += precision[j] if j < k else _float32(1)
        matrix[rhs, j] += pull * precision[j] * (mean[j] - theta[0, j])
    w_pivot = w_reduced = _float32(0)
    if step.use_linear:
        w_pivot = _float32(1) / np.sqrt(matrix[width + 2, 0] + precision[width])
        w_pull = pull * precision[width] * (mean[width] - theta[0, width])
        w_rhs = matrix[width + 2, 1] + w_pull
        w_reduced = w_pivot * w_rhs
        for j in range(0, width, WIDTH):
            row = w_pivot * load(matrix, width, j)
            store(matrix, width, j, row)
            store(matrix, rhs, j, multiply_add(-w_reduced, row, load(matrix, rhs, j)))
        for i in range(k):
            subtract_row(matrix, width, i, i - i % WIDTH, width)
        w_reduced += work.noise[0, width]
    factorize(matrix, width, work.reduced, work.pivots)
    for j in range(np.uint64(k)):
        work.reduced[0, j] += work.noise[0, j]
    substitute(matrix, width, work.reduced, work.pivots, work.change)
    known = splat(_float32(0))
    for j in range(0, width, WIDTH):
        known = known + load(matrix, width, j) * load(work.change, 0, j)
    work.change[0, width] = (w_reduced - total(known)) * w_pivot


@njit(nogil=True, error_model="numpy", cache=True)
def apply_change(
    first: int,
    last: int,
    theta: Float32Array,
    columns: Columns,
    state: RowState,
    change: Float32Array,
) -> None:
    """Bring the entries first:last up to date with a change, (1, width + WIDTH).

    `theta` is still the old one.
    """
    q, e = state.factor_sums, state.residual
    width = q.shape[1]
    own = splat(_float32(0))
    for j in range(0, width, WIDTH):
        own = own + load(theta, 0, j) * load(change, 0, j)
    own_part, w_part = total(own), change[0, width]
    for p in range(np.uint64(first), np.uint64(last)):
        r, x = np.uint32(columns.rows[p]), columns.values[p]
        dot = splat(_float32(0))
        for j in range(0, width, WIDTH):
            old, part = load(q, r, j), load(change, 0, j)
            dot = dot + old * part
            store(q, r, j, multiply_add(x, part, old))
        e[r] -= x * (w_part + total(dot) - x * own_part)


@njit(nogil=True, error_model="numpy", cache=True)
def add_change(theta: Float32Array, change: Float32Array) -> None:
    """Add a change to a feature; both (1, at least width + WIDTH)."""
    for j in range(0, change.shape[1], WIDTH):
        store(theta, 0, j, load(theta, 0, j) + load(change, 0, j))


@njit(nogil=True, error_model="numpy", cache=True)
def draw_noise(feature: int, num_rows: int, step: Step, work: Work) -> None:
    """Set work.noise to what a feature needs, for its rows too if they are few; or to 0."""
    if step.draws:
        width = work.matrix.shape[1]
        count = width + WIDTH + num_rows if num_rows <= step.num_factors else width + 1
        fill_normal(work.noise, count, stream(step.seed, step.sweep, FEATURE, feature))
