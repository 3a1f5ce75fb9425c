"""`Chain`: sweeps over all parameters, and the model that they come to."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FMModel, PredictorType
from fm_algo.runtime import threads
from fm_algo.runtime.philox import stream
from fm_algo.runtime.simd import WIDTH, aligned_rows
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array
from fm_algo.training.bayes.columns import arrange
from fm_algo.training.bayes.feature_step import RowState, Step
from fm_algo.training.bayes.groups import find_runs, groups_of_runs
from fm_algo.training.bayes.hyper import draw_priors, find_members, given_priors, group_sums
from fm_algo.training.bayes.polish import padded_rows, polish
from fm_algo.training.bayes.posterior import Posterior
from fm_algo.training.bayes.random import BIAS, gamma, normal
from fm_algo.training.bayes.row_pass import add_up, augment, margins, root_weights
from fm_algo.training.bayes.scale import Scale
from fm_algo.training.bayes.sweep import update_features
from fm_algo.training.bayes.units import weight_of_features

BIAS_PRECISION = 0.01
"""λ of the bias, whose prior mean is 0: wide beside targets of deviation 1 and beside log-odds."""

INIT_SIGMA = (0.3, 0.03)
"""Of the first factor and of the last, evenly in their logarithm between. Measured on
MovieLens-100k: if all start at 0.1, none comes out of its prior for 50 sweeps; at 0.3 all do, and
the mean is worse for it. So a few come out at once, and others where the rows ask for them."""

FIRST_AVERAGED = 5
"""The first sweep whose sample counts. Early samples are smooth, and their mean the better."""

POLISH_SWEEPS, POLISH_PRECISION = 3, 200.0
"""Measured on MovieLens-100k with side features: 16 factors lose 0.006 of rmse to truncation, and
win it back."""


class Chain:
    """Draw after draw of all parameters from their posterior, or alternating least squares.

    Parameters
    ----------
    rows : CSRBatch
        The training rows, with labels; 0 and 1 of a binary_classifier. All weights are above 0: a
        row of weight w counts as w rows. Its likelihood is taken to the power of w.
    predictor_type : {"regressor", "binary_classifier"}
    num_factors : int
        Of each sample.
    seed : int
        Random numbers follow from it, the sweep and the feature or row they are for.
    num_threads : int or None
        None means one per usable processor. The result does not depend on it.
    draws : bool
        True for Gibbs sampling. False for alternating least squares: each step takes the mean
        instead, and the model is that of the last sweep.
    groups : int32, shape (feature_dim,), or None
        Which features share a prior; None for `groups_of_runs`.
    use_bias, use_linear : bool
        Whether there is a bias, and whether there are weights; else they are 0.
    start : FMModel or None
        Where to start. None, or a feature's factors that are all 0, are drawn from N(0, σ²).
    init_sigma : tuple of float
        σ of the first factor and of the last.
    precisions : tuple of float
        λ of weights and of factors, of alternating least squares: sums of squares to which they are
        added are those of targets of deviation 1. A chain that draws learns its own. They are
        given, not learnt: the posterior mode of λ and factors together is at infinite λ and factors
        of 0, where alternating least squares ends if it may choose.
    num_saved : int or None
        Factors of `model()`, for which the sketch has room; None for num_factors.
    num_samples, num_sweeps_planned : int
        Keep so many samples, evenly spaced over the sweeps planned.

    Attributes
    ----------
    num_sweeps : int
        Sweeps done.
    precision : float
        α, of the targets, as of the last sweep; 1 for a classifier.
    posterior : Posterior
        The mean so far, in the units of `scale`.
    """

    def __init__(
        self,
        rows: CSRBatch,
        predictor_type: PredictorType,
        num_factors: int,
        *,
        seed: int,
        num_threads: int | None = None,
        draws: bool = True,
        groups: Int32Array | None = None,
        use_bias: bool = True,
        use_linear: bool = True,
        start: FMModel | None = None,
        init_sigma: tuple[float, float] = INIT_SIGMA,
        precisions: tuple[float, float] = (2.0, 10.0),
        num_saved: int | None = None,
        num_samples: int = 0,
        num_sweeps_planned: int = 0,
    ) -> None:
        threads.set_up(num_threads)
        self.rows, self.predictor_type, self.num_factors = rows, predictor_type, num_factors
        self.seed, self.draws = seed, draws
        self._is_classifier = predictor_type == "binary_classifier"
        self._use_bias, self._use_linear = use_bias, use_linear
        self._num_sweeps_planned = num_sweeps_planned
        labels = rows.require_labels()
        self.scale = Scale.of(labels, predictor_type, rows.weights, is_centered=use_bias)
        self._target = self.scale.targets(labels)
        self._weights = np.zeros(0, np.float32) if rows.weights is None else rows.weights
        self.columns, self._schedule = arrange(rows, find_runs(rows))
        self._groups = groups_of_runs(rows) if groups is None else groups
        self._column_groups = self._groups[self.columns.features]
        num_groups = int(self._groups.max(initial=0)) + 1
        self._members = find_members(self.columns.features, self._column_groups, num_groups)
        counts = weight_of_features(rows).astype(np.float32)
        self._unseen = np.flatnonzero(counts == 0)
        self._num_sweeps = np.zeros(1, np.int64)
        self._w0 = np.zeros(1, np.float32)
        self.precision = 1.0
        self._theta = padded_rows(rows.feature_dim, num_factors)
        self._width = -(-num_factors // WIDTH) * WIDTH
        self._priors = given_priors(num_groups, num_factors, *precisions, use_linear=use_linear)
        self._margin = np.zeros(rows.num_rows, np.float32)
        self._has_margins = False
        self._row_state = RowState(
            aligned_rows(np.zeros, rows.num_rows, self._width),
            np.zeros(rows.num_rows, np.float32),
            np.zeros(rows.num_rows, np.float32) if self._is_classifier else root_weights(rows),
        )
        self.num_saved = num_saved or num_factors
        num_columns = self.num_saved if draws else 0
        self.posterior = Posterior(counts, rows.num_rows, num_factors, num_columns, num_samples)
        self._start(start, init_sigma)

    def _start(self, start: FMModel | None, init_sigma: tuple[float, float]) -> None:
        k, seen = self.num_factors, self.columns.features
        if start is not None:
            w0, w, V = self.scale.to_targets(start)
            self._w0[:] = w0 if self._use_bias else 0
            self._theta[:, self._width] = w if self._use_linear else 0
            self._theta[:, :k] = V
        blank = seen[~self._theta[seen, :k].any(axis=1)]
        random = np.random.default_rng([self.seed, *b"bayes"])
        drawn = random.standard_normal((len(blank), k), np.float32)
        self._theta[blank, :k] = drawn * np.geomspace(*init_sigma, k).astype(np.float32)

    @property
    def num_sweeps(self) -> int:
        """Sweeps done."""
        return int(self._num_sweeps[0])

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that later sweeps and models depend on: the chain's own arrays, not copies.

        A new chain on the same rows whose arrays are set to these goes on bit for bit.
        """
        return {
            "num_sweeps": self._num_sweeps,
            "w0": self._w0,
            "theta": self._theta,
            **self.posterior.state(),
        }

    def sweep(self) -> None:
        """Draw everything once: precision or weights of the rows, bias, priors, each feature."""
        state, sweep = self._row_state, self.num_sweeps
        if not self._has_margins:
            self._margins()
        self._has_margins = False
        if self._is_classifier:
            augment(
                self._margin, self._target, self._weights, self.seed, sweep, self.draws,
                state.residual, state.root_weight,
            )  # fmt: skip
        else:
            np.subtract(self._target, self._margin, out=state.residual)
        self.precision = self._update_bias(add_up(state.residual, state.root_weight).sum(axis=0))
        step = Step(
            self.seed, sweep, self.num_factors, self._use_linear, self.draws, False,
            np.float32(math.sqrt(self.precision)),
        )  # fmt: skip
        if self.draws:
            sums = group_sums(self._theta, self._width, self._members)
            draw_priors(sums, self._members.counts, step, self._priors)
        update_features(
            self._theta, self.columns, self._schedule, state, self._priors, self._column_groups,
            step,
        )  # fmt: skip
        self._theta[self._unseen, : self._width + WIDTH] = self._priors.mean[
            self._groups[self._unseen]
        ]
        self._num_sweeps += 1
        if self.draws and self.num_sweeps > FIRST_AVERAGED:
            # The next sweep begins with them; a chain that goes on computes them anew.
            self._margins()
            self._has_margins = True
            self.posterior.add(
                float(self._w0[0]), self._theta[:, self._width],
                self._theta[:, : self.num_factors], self._margin, keep=self._is_kept(),
            )  # fmt: skip

    def _margins(self) -> None:
        margins(
            self.rows.indptr, self.rows.indices, self.rows.values, self._theta, self._w0[0],
            self._row_state.factor_sums, self._margin,
        )  # fmt: skip

    def _update_bias(self, sums: NDArray[np.float64]) -> float:
        """Draw the rows' precision α and the bias, of sums of ω, ω e and ω e²; return α.

        α ~ Gamma(½, ½) before any row is seen. Of a regressor ω is the row's weight, and Σω the
        number of rows.
        """
        weights, linear, squares = sums.tolist()
        sweep, alpha = self.num_sweeps, 1.0
        if self.draws and not self._is_classifier:
            shape, rate = 0.5 * (1 + weights), 0.5 * (1 + squares)
            alpha = gamma(shape, rate, stream(self.seed, sweep, BIAS, 0))
        if self._use_bias:
            precision = alpha * weights + BIAS_PRECISION
            change = (alpha * linear - BIAS_PRECISION * float(self._w0[0])) / precision
            if self.draws:
                change += normal(stream(self.seed, sweep, BIAS, 1)) / math.sqrt(precision)
            self._w0 += np.float32(change)
            self._row_state.residual[:] -= np.float32(change)
        return alpha

    def _is_kept(self) -> bool:
        """Whether this sweep's sample is kept: evenly spaced over the sweeps planned."""
        num_samples = len(self.posterior.sample_w0)
        span = max(self._num_sweeps_planned - FIRST_AVERAGED, num_samples, 1)
        done = self.num_sweeps - FIRST_AVERAGED
        return done * num_samples // span > (done - 1) * num_samples // span

    def mean_margin(self) -> Float32Array:
        """Return the mean margin of each training row so far, float32, shape (num_rows,).

        Before a sample counts, and of alternating least squares, that of the present parameters.
        """
        if int(self.posterior.count[0]) == 0:
            self._margins()
            margin = self._margin
        else:
            margin = self.posterior.margin
        return (self.scale.center + self.scale.deviation * margin).astype(np.float32)

    def current(self) -> FMModel:
        """Return the last sample, or of alternating least squares the model, copied.

        Factors beyond the chain's own are 0.
        """
        V = np.zeros((len(self._theta), max(self.num_saved, self.num_factors)), np.float32)
        V[:, : self.num_factors] = self._theta[:, : self.num_factors]
        return self.scale.model(self.predictor_type, self._w0, self._theta[:, self._width], V)

    def samples(self) -> list[FMModel]:
        """Return the samples kept, copied."""
        kept = self.posterior
        return [
            self.scale.model(
                self.predictor_type, kept.sample_w0[n : n + 1], kept.sample_w[n], kept.sample_V[n]
            )
            for n in range(int(kept.num_kept[0]))
        ]

    def model(self, num_factors: int | None = None) -> FMModel:
        """Return the mean of the samples so far as one model; the last one where there is none.

        Parameters
        ----------
        num_factors : int or None
            None for num_saved. A wider model is closer to the mean, up to four times as wide.
        """
        mean = self.posterior
        if mean.count[0] == 0:
            return self.current()
        k = num_factors or self.num_saved
        width = -(-k // WIDTH) * WIDTH
        theta, w0 = padded_rows(self.rows.feature_dim, k), mean.w0.astype(np.float32)
        theta[:, :k] = mean.sketch.truncated(k)
        theta[:, width] = mean.w
        polish(
            theta, w0, k, self.rows, self.columns, self._schedule, mean.margin,
            num_sweeps=POLISH_SWEEPS, precision=POLISH_PRECISION,
            use_bias=self._use_bias, use_linear=self._use_linear,
        )  # fmt: skip
        return self.scale.model(self.predictor_type, w0, theta[:, width], theta[:, :k])

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Return the mean margin of any rows so far, float32, shape (num_rows,).

        That of `mean_model`, whose factors are not copied for it; before a sample counts, and of
        alternating least squares, that of the present parameters.
        """
        mean, sketch = self.posterior, self.posterior.sketch
        if int(mean.count[0]) == 0:
            return self.current().margin(batch)
        nothing = np.zeros(1, np.float32)
        pairwise = FMModel("regressor", nothing, np.zeros_like(mean.w), sketch.factors)
        narrow = np.zeros((len(mean.w), 1), np.float32)
        linear = FMModel("regressor", mean.w0.astype(np.float32), mean.w, narrow)
        margin = linear.margin(batch) + pairwise.margin(batch) / max(int(sketch.num_samples[0]), 1)
        return (self.scale.center + self.scale.deviation * margin).astype(np.float32)

    def mean_model(self) -> FMModel:
        """Return the mean in all columns of the sketch: wide, and within its rounding the mean."""
        mean = self.posterior
        w0 = mean.w0.astype(np.float32)
        return self.scale.model(self.predictor_type, w0, mean.w, mean.sketch.mean())
