"""A small model brought closer to a posterior mean: sweeps of least squares towards its margins."""

import numpy as np

from fm_algo.runtime.simd import CACHE_LINE, WIDTH, aligned_rows
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.bayes.columns import Columns, Schedule
from fm_algo.training.bayes.feature_step import RowState, Step
from fm_algo.training.bayes.hyper import given_priors
from fm_algo.training.bayes.row_pass import add_up, margins, root_weights
from fm_algo.training.bayes.sweep import update_features


def padded_rows(num_rows: int, num_factors: int) -> Float32Array:
    """Return rows of 0 that hold v, w behind it in a vector of its own: (num_rows, stride)."""
    width = -(-num_factors // WIDTH) * WIDTH
    stride = -(-(width + WIDTH) // CACHE_LINE) * CACHE_LINE
    return aligned_rows(np.zeros, num_rows, stride)


def polish(
    theta: Float32Array,
    w0: Float32Array,
    num_factors: int,
    rows: CSRBatch,
    columns: Columns,
    schedule: Schedule,
    target: Float32Array,
    *,
    num_sweeps: int,
    precision: float,
    use_bias: bool = True,
    use_linear: bool = True,
) -> None:
    """Bring a model's margins of the training rows closer to `target`, in place.

    Parameters
    ----------
    theta : float32, shape (feature_dim, stride)
        As `padded_rows`.
    w0 : float32, shape (1,)
    target : float32, shape (num_rows,)
        Margins.
    precision : float
        λ of each number; in each sweep its prior mean is the number itself, so that features with
        few rows stay where the mean of the chain has put them.
    """
    width = -(-num_factors // WIDTH) * WIDTH
    n = rows.num_rows
    state = RowState(aligned_rows(np.zeros, n, width), np.zeros(n, np.float32), root_weights(rows))
    priors = given_priors(1, num_factors, precision, precision, use_linear=use_linear)
    groups = np.zeros(len(columns.features), np.int32)
    margin = np.zeros(n, np.float32)
    step = Step(0, 0, num_factors, use_linear, False, True, np.float32(1))
    for _ in range(num_sweeps):
        margins(rows.indptr, rows.indices, rows.values, theta, w0[0], state.factor_sums, margin)
        np.subtract(target, margin, out=state.residual)
        if use_bias:
            weight_sum, error_sum, _ = add_up(state.residual, state.root_weight).sum(axis=0)
            change = np.float32(error_sum / weight_sum)
            w0 += change
            state.residual[:] -= change
        update_features(theta, columns, schedule, state, priors, groups, step)
