"""The CPU kernel: three passes over a mini-batch, compiled by Numba, parallel without locks.

1. By rows: S_r = Σ x_ri v_i, the margin and the residual (`passes.forward_rows`).
2. Transpose: for each feature present, its (row, value) pairs (`transpose`).
3. By columns: a feature's gradient and its optimiser update in one visit
   (`passes.update_columns`).

Each number is computed by one thread in one order, so that the result does not depend on how many
threads there are. What the passes wait for is memory. So all numbers of a feature stand side by
side in one row of `parameters`, on cache lines of its own::

    v | w, its states, the state of v as a whole, 0 … | first states of v | second states of v | 0 …

where an optimiser has them. Each part of v is as wide as v, that of w one vector. So pass 1 finds
all it needs at a row's start.
"""

from typing import Any, Self

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import PreparedBatch, State, threads
from fm_algo.kernels.optimizers import UPDATE_RULES, Constants, initial_ftrl_z, learning_rate
from fm_algo.kernels.passes import OPTIMIZER_CODES, forward_rows, update_columns
from fm_algo.kernels.simd import CACHE_LINE, WIDTH
from fm_algo.kernels.transpose import transpose
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array

PARAMETER_ROWS = "parameter_rows"
"""Name of the array of a kernel's state that has a row for each feature."""

_MARGIN_ROWS = 4096
"""Rows scored at once by `margin`."""

_FTRL_ROWS = 1 << 16
"""Features whose states are set at once."""


class CPUKernel:
    """Mini-batch training; the formulas are `ReferenceKernel`'s.

    All parameters and states are 0 at first: write the initial ones into `model()`, which is a view
    of them, before the first step.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Shapes, optimiser, rates, decay, clipping, threads and which parameter groups exist.

    Attributes
    ----------
    num_threads : int
        Threads in use.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self.num_threads = threads.set_up(hyperparameters.num_threads)
        self._hyperparameters = hyperparameters
        self._constants = Constants.of(hyperparameters)
        self._rule = UPDATE_RULES[hyperparameters.optimizer]
        self._num_steps = np.zeros(1, np.int64)

        # Columns beyond num_factors stay 0: their gradient, and so their update, is 0.
        self._width = -(-hyperparameters.num_factors // WIDTH) * WIDTH
        self._w_at, self._states_at = self._width, self._width + WIDTH
        is_rowwise = hyperparameters.optimizer == "rowwise_adagrad"
        row_floats = self._states_at + self._width * (0 if is_rowwise else self._rule.num_states)
        self._parameters = _aligned_zeros(hyperparameters.feature_dim, row_floats)
        self._bias = np.zeros((1, 3), np.float32)  # w0 and its states, laid out like w's

    @classmethod
    def starting_from(cls, model: FMModel, hyperparameters: Hyperparameters) -> Self:
        """Make a kernel whose parameters are a copy of `model`'s."""
        kernel = cls(hyperparameters)
        own = kernel.model()
        own.w0[:], own.w[:], own.V[:] = model.w0, model.w, model.V
        return kernel

    def _start_ftrl(self) -> None:
        """Set the first states so that FTRL starts from the initial parameters."""
        l1, width = self._constants.l1, self._width
        rates = self._hyperparameters
        self._bias[:, 1] = initial_ftrl_z(self._bias[:, 0], rates.bias_lr, l1)
        for start in range(0, len(self._parameters), _FTRL_ROWS):
            rows = self._parameters[start : start + _FTRL_ROWS]
            rows[:, self._w_at + 1] = initial_ftrl_z(rows[:, self._w_at], rates.linear_lr, l1)
            states = rows[:, self._states_at : self._states_at + width]
            states[:] = initial_ftrl_z(rows[:, :width], rates.factors_lr, l1)

    def prepare(self, batch: CSRBatch) -> PreparedBatch:
        """Transpose a mini-batch, ahead of its step; may run beside other steps."""
        return PreparedBatch(batch, transpose(batch))

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update the parameters once; return the margins from before, float32, (num_rows,)."""
        columns = prepared.columns or transpose(prepared.batch)
        margin, residual, factor_sums = self._forward(prepared.batch, self._parameters, self._w_at)
        update_columns(
            columns.features, columns.starts, columns.rows, columns.values, residual, factor_sums,
            *self._begin_update(),
        )  # fmt: skip
        return margin

    def _begin_update(self) -> tuple[Any, ...]:
        """Count the step; return what a pass that updates takes after what gradients come from."""
        if self._num_steps[0] == 0 and self._hyperparameters.optimizer == "ftrl":
            self._start_ftrl()
        self._num_steps += 1
        hyperparameters, constants = self._hyperparameters, self._constants
        optimizer, step = hyperparameters.optimizer, int(self._num_steps[0])
        return (
            self._bias, self._parameters, self._w_at, hyperparameters.num_factors,
            OPTIMIZER_CODES[optimizer], hyperparameters.use_bias, hyperparameters.use_linear,
            np.float32(learning_rate(optimizer, hyperparameters.bias_lr, step)),
            np.float32(hyperparameters.bias_wd),
            np.float32(learning_rate(optimizer, hyperparameters.linear_lr, step)),
            np.float32(hyperparameters.linear_wd),
            np.float32(learning_rate(optimizer, hyperparameters.factors_lr, step)),
            np.float32(hyperparameters.factors_wd),
            np.float32(constants.rescale), np.float32(constants.clip),
            np.float32(constants.epsilon), np.float32(constants.l1),
        )  # fmt: skip

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, (num_rows,)."""
        starts = range(0, batch.num_rows, _MARGIN_ROWS)
        blocks = (batch.rows(start, min(start + _MARGIN_ROWS, batch.num_rows)) for start in starts)
        return np.concatenate([np.empty(0, np.float32), *(self._margin(b) for b in blocks)])

    def model(self) -> FMModel:
        """Return the present parameters, not copied."""
        hyperparameters = self._hyperparameters
        w, V = self._parameters[:, self._w_at], self._parameters[:, : hyperparameters.num_factors]
        return FMModel(hyperparameters.predictor_type, self._bias[0, :1], w, V)

    def state(self) -> State:
        """Return all that later steps depend on: the kernel's own arrays, not copies."""
        return {
            "num_steps": self._num_steps,
            "bias_row": self._bias,
            PARAMETER_ROWS: self._parameters,
        }

    def _margin(self, batch: CSRBatch) -> Float32Array:
        return self._forward(batch, self._parameters, self._w_at)[0]

    def _forward(
        self, batch: CSRBatch, parameters: Float32Array, w_at: int
    ) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Margin (n,), residual (n,) and factor sums (n, width) of each row."""
        n = batch.num_rows
        margin, residual = np.empty(n, np.float32), np.empty(n, np.float32)
        factor_sums = np.empty((n, self._width), np.float32)
        labels = np.zeros(n, np.float32) if batch.labels is None else batch.labels
        is_classifier = self._hyperparameters.predictor_type == "binary_classifier"
        forward_rows(
            batch.indptr, batch.indices, batch.values, labels,
            self._bias[0, 0], parameters, w_at, is_classifier,
            margin, residual, factor_sums,
        )  # fmt: skip
        return margin, residual, factor_sums


def _aligned_zeros(num_rows: int, row_floats: int) -> Float32Array:
    """Rows of zeros, each on cache lines of its own."""
    stride = -(-row_floats // CACHE_LINE) * CACHE_LINE
    memory = np.zeros(num_rows * stride + CACHE_LINE, np.float32)
    first = -(memory.ctypes.data // 4) % CACHE_LINE
    return memory[first : first + num_rows * stride].reshape(num_rows, stride)
