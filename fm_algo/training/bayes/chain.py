"""`Chain`: sweeps over all parameters, and what they have come to."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.kernels import threads
from fm_algo.kernels.parameters import WIDTH, aligned_rows
from fm_algo.model import FMModel, PredictorType
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array
from fm_algo.training.bayes.columns import arrange
from fm_algo.training.bayes.feature_step import Priors, RowState, Step
from fm_algo.training.bayes.hyper import draw_priors, find_members, group_sums
from fm_algo.training.bayes.random import BIAS, gamma, normal, stream
from fm_algo.training.bayes.row_pass import add_up, augment, margins
from fm_algo.training.bayes.sweep import update_features

BIAS_PRECISION = 0.01


class Chain:
    def __init__(
        self,
        rows: CSRBatch,
        predictor_type: PredictorType,
        num_factors: int,
        *,
        seed: int,
        num_threads: int | None,
        draws: bool = True,
        groups: Int32Array | None = None,
        use_bias: bool = True,
        use_linear: bool = True,
        init_sigma: float = 0.1,
    ) -> None:
        threads.set_up(num_threads)
        self.rows, self.predictor_type, self.num_factors = rows, predictor_type, num_factors
        self.seed, self.draws = seed, draws
        self.use_bias, self.use_linear = use_bias, use_linear
        n, d = rows.num_rows, rows.feature_dim
        self.width = width = -(-num_factors // WIDTH) * WIDTH
        labels = rows.require_labels()
        self.center, self.scale = 0.0, 1.0
        if predictor_type == "regressor":
            self.center = float(labels.mean(dtype=np.float64))
            self.scale = float(labels.std(dtype=np.float64)) or 1.0
        self.target = ((labels - self.center) / self.scale).astype(np.float32)
        self.columns, self.schedule = arrange(rows)
        self.groups = np.zeros(d, np.int32) if groups is None else groups
        self.num_groups = int(self.groups.max()) + 1
        self.column_groups = self.groups[self.columns.features]
        self.members = find_members(self.columns.features, self.column_groups, self.num_groups)
        self.theta = aligned_rows(np.zeros, d, -(-(width + WIDTH) // 16) * 16)
        random = np.random.default_rng([seed, 1])
        self.theta[self.columns.features, :num_factors] = (
            random.standard_normal((len(self.columns.features), num_factors), np.float32)
            * np.float32(init_sigma)
        )
        shape = (self.num_groups, width + WIDTH)
        self.priors = Priors(*(np.zeros(shape, np.float32) for _ in range(4)))
        self.w0 = np.zeros(1, np.float32)
        self.alpha = np.ones(1, np.float64)
        self.sweeps = np.zeros(1, np.int64)
        self.margin = np.zeros(n, np.float32)
        weights = n if predictor_type == "binary_classifier" else 0
        self.state_rows = RowState(
            aligned_rows(np.zeros, n, width), np.zeros(n, np.float32), np.zeros(weights, np.float32)
        )

    def sweep(self) -> None:
        state, sweep = self.state_rows, int(self.sweeps[0])
        rows = self.rows
        margins(rows.indptr, rows.indices, rows.values, self.theta, self.w0[0], state.factor_sums, self.margin)
        if self.predictor_type == "binary_classifier":
            augment(self.margin, self.target, self.seed, sweep, self.draws, state.residual, state.root_weight)
        else:
            np.subtract(self.target, self.margin, out=state.residual)
        weights, linear, squares = add_up(state.residual, state.root_weight).sum(axis=0).tolist()
        if self.predictor_type == "regressor":
            shape, rate = 0.5 * (1 + rows.num_rows), 0.5 * (1 + squares)
            self.alpha[0] = gamma(shape, rate, stream(self.seed, sweep, BIAS, 0)) if self.draws else shape / rate
        alpha = float(self.alpha[0])
        if self.use_bias:
            precision = alpha * weights + BIAS_PRECISION
            change = (alpha * linear - BIAS_PRECISION * float(self.w0[0])) / precision
            if self.draws:
                change += normal(stream(self.seed, sweep, BIAS, 1)) / math.sqrt(precision)
            self.w0 += np.float32(change)
            state.residual[:] -= np.float32(change)
        step = Step(self.seed, sweep, self.num_factors, self.use_linear, self.draws, False, np.float32(math.sqrt(alpha)))
        draw_priors(group_sums(self.theta, self.width, self.members), self.members.counts, step, self.priors)
        update_features(self.theta, self.columns, self.schedule, state, self.priors, self.column_groups, step)
        self.sweeps += 1

    def current(self) -> FMModel:
        return FMModel(
            self.predictor_type,
            (self.center + self.scale * self.w0).astype(np.float32),
            np.ascontiguousarray(self.theta[:, self.width]) * np.float32(self.scale),
            np.ascontiguousarray(self.theta[:, : self.num_factors]) * np.float32(math.sqrt(self.scale)),
        )
