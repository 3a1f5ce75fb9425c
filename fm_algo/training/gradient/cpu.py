"""The CPU kernel: three passes over a mini-batch, compiled by Numba, parallel without locks.

1. By rows: S_r = Σ x_ri v_i, the margin and the residual (`passes.forward_rows`).
2. Transpose: for each feature present, its (row, value) pairs (`transpose`).
3. By columns: a feature's gradient and its optimiser update in one visit
   (`passes.update_columns`).

One thread computes each number, in one order. So the result does not depend on the number of
threads.
"""

from typing import Self

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES, RANKING_LOSSES
from fm_algo.model import FMModel
from fm_algo.runtime import threads
from fm_algo.runtime.simd import aligned_rows
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient import Kernel, PreparedBatch
from fm_algo.training.gradient.optimizers import StepConstants
from fm_algo.training.gradient.parameters import Parameters
from fm_algo.training.gradient.passes import find_residuals, forward_rows, update_columns
from fm_algo.training.gradient.transpose import transpose
from fm_algo.training.state import State, write_model

_MARGIN_ROWS = 4096
"""Rows that `margin` scores at once."""


class CPUKernel(Kernel[PreparedBatch]):
    """Mini-batch training on CPU threads, with the formulas of `ReferenceKernel`.

    All parameters and states are 0 at first. Before the first step, write the initial parameters
    into `model()`, which is a view of them.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Shapes, optimiser, rates, decay, clipping, threads and which parameter groups exist.
    space : FeatureSpace, optional
        The fields whose pairs have weights; only `FieldCPUKernel` learns them.

    Attributes
    ----------
    num_threads : int
        Threads in use.
    """

    def __init__(self, hyperparameters: Hyperparameters, space: FeatureSpace | None = None) -> None:
        self.num_threads = threads.set_up(hyperparameters.num_threads)
        self._hyperparameters = hyperparameters
        self._loss = LOSSES[hyperparameters.predictor_type]
        self._constants = StepConstants.of(hyperparameters)
        self._parameters = Parameters(hyperparameters, space)

    @classmethod
    def starting_from(cls, model: FMModel, hyperparameters: Hyperparameters) -> Self:
        """Make a kernel whose parameters are a copy of `model`'s."""
        field_weights = model.field_weights
        kernel = cls(hyperparameters, None if field_weights is None else field_weights.space)
        write_model(model, kernel.model())
        return kernel

    @property
    def description(self) -> str:
        """What trains, for the log."""
        return f"{self.num_threads} CPU threads"

    @property
    def parameter_rows(self) -> tuple[Float32Array, int, bool]:
        """Parameters by feature, where in a row w stands, and whether it is read."""
        layout = self._parameters.layout
        return self._parameters.rows, layout.w_at, self._hyperparameters.use_linear

    def hold(self, rows: CSRBatch) -> None:
        """Leave the rows where they are: this kernel works in the same memory."""

    def prepare(self, batch: CSRBatch) -> PreparedBatch:
        """Transpose a mini-batch ahead of its step; may run during other steps."""
        return PreparedBatch(batch, transpose(batch))

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update the parameters once; return the margins before that, float32, (num_rows,)."""
        columns = prepared.columns or transpose(prepared.batch)
        margin, residual, factor_sums = self._forward_own(prepared.batch)
        if self._hyperparameters.loss is not None:
            residual = self._residuals(margin, prepared.batch)
        update_columns(
            columns.features, columns.starts, columns.rows, columns.values, residual, factor_sums,
            *self._begin_update(),
        )  # fmt: skip
        return margin

    def _residuals(self, margin: Float32Array, batch: CSRBatch) -> Float32Array:
        """Return the residual of each row, multiplied by its weight, (n,), if pass 1 did not."""
        labels, chosen = batch.require_labels(), self._hyperparameters.loss
        if chosen is not None:
            return batch.weigh(RANKING_LOSSES[chosen].residual(margin, labels))
        residual = np.empty(batch.num_rows, np.float32)
        find_residuals(margin, labels, self._loss.is_classifier, residual)
        return batch.weigh(residual)

    def _begin_update(self) -> tuple[Float32Array, Float32Array, int, StepConstants]:
        """Count the step; return the last arguments of `update_columns` or `apply_gradients`."""
        parameters = self._parameters
        parameters.before_first_step()
        parameters.num_steps += 1
        constants = self._constants.at(int(parameters.num_steps[0]), self._hyperparameters)
        return parameters.bias, parameters.rows, parameters.layout.w_at, constants

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, (num_rows,)."""
        starts = range(0, batch.num_rows, _MARGIN_ROWS)
        blocks = (batch.rows(start, min(start + _MARGIN_ROWS, batch.num_rows)) for start in starts)
        return np.concatenate([np.empty(0, np.float32), *(self._margins(b) for b in blocks)])

    def _margins(self, batch: CSRBatch) -> Float32Array:
        return self._forward_own(batch)[0]

    def model(self) -> FMModel:
        """Return the present parameters, not copied."""
        return self._parameters.model()

    def state(self) -> State:
        """Return all that later steps depend on: the kernel's own arrays, not copies."""
        return self._parameters.state()

    def _forward_own(self, batch: CSRBatch) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Return what `_forward` returns for the kernel's own parameters."""
        return self._forward(batch, self._parameters.rows, self._parameters.layout.w_at)

    def _forward(
        self, batch: CSRBatch, rows: Float32Array, w_at: int
    ) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Return the margin (n,), weighed residual (n,) and factor sums (n, width) of each row."""
        n = batch.num_rows
        margin, residual = np.empty(n, np.float32), np.empty(n, np.float32)
        factor_sums = aligned_rows(np.empty, n, self._parameters.layout.width)
        labels = np.zeros(n, np.float32) if batch.labels is None else batch.labels
        forward_rows(
            batch.indptr, batch.indices, batch.values, labels,
            self._parameters.bias[0, 0], rows, w_at, self._hyperparameters.use_linear,
            self._loss.is_classifier, margin, residual, factor_sums,
        )  # fmt: skip
        return margin, batch.weigh(residual), factor_sums
