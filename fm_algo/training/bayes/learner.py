"""Learning by Gibbs sampling or alternating least squares: an epoch is a sweep."""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from typing import ClassVar

import numpy as np

from fm_algo.errors import AlgorithmError, UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.runtime import threads
from fm_algo.runtime.machine import usable_memory_bytes
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.bayes.chain import FIRST_AVERAGED, Chain
from fm_algo.training.bayes.groups import groups_by_first, groups_of_fields
from fm_algo.training.bayes.memory import Counts, planned_bytes
from fm_algo.training.bayes.units import Units
from fm_algo.training.initialization import zero_model
from fm_algo.training.learner import Learner, Step
from fm_algo.training.metrics import RegressionSums
from fm_algo.training.rows import Rows
from fm_algo.training.state import Forms, ParameterStore, State

_log = logging.getLogger(__name__)


MOST_FACTORS = 16
"""Factors of a sample, however many the model has. The mean of samples fills more: on
MovieLens-100k with side features, 64 saved factors of a chain of 16 have the mean's own rmse, and a
sweep takes time by the square of its factors."""


_FEWEST_SAMPLES = 20
"""Fewer samples score worse than the one model does; but all that are asked for may be fewer."""

_CALM_AFTER, _WORST_FIT = 10, 3.0


class BayesLearner(Learner):
    """Sweeps a `Chain`, and tells of the posterior mean so far.

    While it trains, rows are scored by the mean of all samples in a wide model. The model that is
    saved, and scored at the end, has num_factors columns. Alternating least squares has no samples,
    and one model.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        optimizer, feature_groups, posterior_samples, positive_weight, epochs, seed, num_threads and
        the shape; of als also linear_wd and factors_wd.
    """

    needs_rows: ClassVar[bool] = True
    saves_another: ClassVar[bool] = True
    advice: ClassVar[str] = "leave out columns that say the same, or use another optimizer"

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._hyperparameters = hyperparameters
        self._draws = hyperparameters.optimizer == "mcmc"
        most = MOST_FACTORS if self._draws else hyperparameters.num_factors
        self._rank = min(hyperparameters.num_factors, hyperparameters.feature_dim, most)
        self._num_threads = threads.set_up(hyperparameters.num_threads)
        self._start: FMModel | None = zero_model(hyperparameters)
        self._saved_state: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
        self._chain: Chain | None = None
        self._units = Units(None)
        self._model: FMModel | None = None

    @property
    def description(self) -> str:
        """What trains, for the log."""
        return f"{self._num_threads} CPU threads"

    def take_rows(self, rows: Rows) -> None:
        """Take the rows that all sweeps go over.

        Raises
        ------
        UserError
            If they, or what is needed beside them, do not fit in memory.
        """
        rows = rows.weighing_positives(self._hyperparameters.positive_weight)
        needed, usable = self._needed_bytes(rows), usable_memory_bytes()
        optimizer = self._hyperparameters.optimizer
        if rows.cached is None or needed > usable:
            budget = "" if rows.cached is not None else ", and memory_budget_mb must hold the rows"
            raise UserError(
                f"optimizer={optimizer} needs {needed >> 20} MiB with the training rows in memory, "
                f"of {usable >> 20} MiB that there are{budget}: use a larger instance, fewer "
                "num_factors or posterior_samples, or another optimizer"
            )
        _log.info("optimizer=%s plans %d MiB, rows included", optimizer, needed >> 20)
        self._warn_of_few_samples()
        chosen = self._hyperparameters
        self._units = Units.of(rows.cached, may_move=chosen.use_bias and chosen.use_linear)
        self._chain = self._make_chain(self._units.rows(rows.cached), rows.space)
        own = self._chain.state()
        for name, array in self._saved_state.items():
            own[name][...] = array
        self._start, self._saved_state = None, {}

    def _warn_of_few_samples(self) -> None:
        chosen = self._hyperparameters
        most = max(chosen.epochs - FIRST_AVERAGED, 0)
        if chosen.posterior_samples > most:
            _log.warning(
                "posterior_samples=%d: %d sweeps give %d samples, because the first %d do not "
                "count; fewer than %d are not kept",
                chosen.posterior_samples,
                chosen.epochs,
                most,
                FIRST_AVERAGED,
                min(_FEWEST_SAMPLES, chosen.posterior_samples),
            )

    def _needed_bytes(self, rows: Rows) -> int:
        chosen = self._hyperparameters
        counts = Counts.of(rows.blocks(0), chosen.feature_dim)
        in_units_bytes = 4 * counts.num_entries * counts.has_values
        return (
            counts.rows_bytes
            + in_units_bytes
            + planned_bytes(
                counts,
                self._rank,
                num_saved=chosen.num_factors,
                is_classifier=chosen.predictor_type == "binary_classifier",
                num_samples=chosen.posterior_samples,
                draws=self._draws,
            )
        )

    def _start_in_units(self) -> FMModel | None:
        if self._start is None:
            return None
        return self._units.model_in_units(_narrowed(self._start, self._rank))

    def _make_chain(self, rows: CSRBatch, space: FeatureSpace | None) -> Chain:
        chosen = self._hyperparameters
        groups = None if space is None else groups_of_fields(space)
        if chosen.feature_groups is not None:
            groups = groups_by_first([*chosen.feature_groups], chosen.feature_dim)
        return Chain(
            rows,
            chosen.predictor_type,
            self._rank,
            seed=chosen.seed,
            num_threads=chosen.num_threads,
            draws=self._draws,
            groups=groups,
            use_bias=chosen.use_bias,
            use_linear=chosen.use_linear,
            start=self._start_in_units(),
            num_saved=chosen.num_factors,
            precisions=(chosen.linear_wd, chosen.factors_wd),
            num_samples=chosen.posterior_samples,
            num_sweeps_planned=chosen.epochs,
        )

    def steps(self, epoch: int, first: int, should_stop: Callable[[], bool]) -> Iterator[Step]:
        """Sweep once; a sweep is a step, and a stop waits for it."""
        if first or should_stop():
            return
        chain, self._model = self._swept, None  # a model is large
        chain.sweep()
        margin = chain.mean_margin()
        self._check_fit(margin, chain.rows)
        yield Step.of_margins(margin, chain.rows)

    def _check_fit(self, margin: Float32Array, rows: CSRBatch) -> None:
        """Check that the mean fits the training rows at least as well as a constant, about.

        Raises
        ------
        AlgorithmError
            If it does not: then rounding has taken over.
        """
        chain = self._swept
        if self._hyperparameters.predictor_type != "regressor" or chain.num_sweeps < _CALM_AFTER:
            return
        sums = RegressionSums()
        sums.update(margin, rows.require_labels(), rows.weights)
        rmse = math.sqrt(sums.loss)
        if not rmse <= _WORST_FIT * chain.scale.deviation:
            raise AlgorithmError(
                f"training diverged in epoch {chain.num_sweeps - 1}: the rmse of the training rows "
                f"is {rmse:g}, and the deviation of their labels {chain.scale.deviation:g}; "
                f"{self.advice}"
            )

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the mean so far, float32, shape (num_rows,).

        Once `model` has been asked for, and until the next sweep, under that model.
        """
        if self._model is None and self._chain is not None:
            return self._chain.margin(self._units.rows(batch))
        return self.model().margin(batch)

    def model(self) -> FMModel:
        """Return the mean so far in num_factors columns, with the samples to be kept."""
        if self._model is None:
            chain = self._swept
            model, samples = self._units.model(chain.model()), chain.samples()
            if len(samples) >= min(_FEWEST_SAMPLES, self._hyperparameters.posterior_samples):
                plain = tuple(map(self._units.model, samples))
                model = dataclasses.replace(model, samples=plain)
            self._model = model
        return self._model

    def load(self, model: FMModel) -> None:
        """Take a model in place of the mean so far; sweeps go on as if it were not there."""
        self._model = model

    def writable_model(self) -> ParameterStore:
        """Return where a chain starts: factors that are left at 0 are drawn."""
        if self._start is None:
            raise RuntimeError("the chain has begun: its parameters follow from its sweeps")
        return self._start

    def state(self) -> State:
        """Return the chain's arrays."""
        return self._saved_state if self._chain is None else self._chain.state()

    def writable_state(self, forms: Forms | None = None) -> State:
        """Return the chain's arrays; before there are rows, arrays of these forms."""
        self._model = None
        if self._chain is None and forms is not None:
            self._saved_state = {
                name: np.zeros(form.shape, np.dtype(form.dtype)) for name, form in forms.items()
            }
        return self.state()

    @property
    def _swept(self) -> Chain:
        if self._chain is None:
            raise RuntimeError("there are no rows to train on yet")
        return self._chain


def _narrowed(model: FMModel, num_factors: int) -> FMModel:
    """Return the model with its strongest factors alone, or as it is."""
    if model.num_factors <= num_factors:
        return model
    _, directions = np.linalg.eigh(model.V.T @ model.V)  # the weakest first
    V = model.V @ directions[:, -num_factors:]
    return FMModel(model.predictor_type, model.w0, model.w, np.ascontiguousarray(V, np.float32))
