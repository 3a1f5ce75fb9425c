"""Where a fast kernel's numbers lie: one row a feature, the same for CPU and GPU.

What training waits for is memory. So all numbers of a feature stand side by side in one row, on
cache lines of its own::

    v | first states of v | second states of v | w | states of w | one state of v as a whole | 0 …

where an optimiser has them, each part of v as wide as v.
"""

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import State
from fm_algo.kernels.optimizers import UPDATE_RULES, Constants, initial_ftrl_z
from fm_algo.kernels.simd import WIDTH
from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array

CACHE_LINE = 16
"""Floats of one cache line."""

_FTRL_ROWS = 1 << 16
"""Features whose states are set at once."""


class Parameters:
    """All parameters and optimiser states, 0 at first.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Shapes, optimiser and rates.

    Attributes
    ----------
    num_steps : int64, shape (1,)
        Mini-batches trained.
    w0 : float32, shape (1,)
    w0_states : float32, shape (num_states, 1)
    rows : float32, shape (feature_dim, stride)
        As above; each row starts a cache line.
    width : int
        Floats of v. Those beyond num_factors stay 0: their gradient, and so their update, is 0.
    w_at : int
        Where w stands in a row.
    """

    def __init__(self, hyperparameters: Hyperparameters) -> None:
        self._hyperparameters = hyperparameters
        num_states = UPDATE_RULES[hyperparameters.optimizer].num_states
        is_rowwise = hyperparameters.optimizer == "rowwise_adagrad"
        self.width = -(-hyperparameters.num_factors // WIDTH) * WIDTH
        self.w_at = self.width * (1 if is_rowwise else 1 + num_states)
        self.num_steps = np.zeros(1, np.int64)
        self.w0 = np.zeros(1, np.float32)
        self.w0_states = np.zeros((num_states, 1), np.float32)
        row_floats = self.w_at + 1 + num_states + is_rowwise
        self.rows = _aligned_zeros(hyperparameters.feature_dim, row_floats)

    def model(self) -> FMModel:
        """Return the present parameters, not copied."""
        w, V = self.rows[:, self.w_at], self.rows[:, : self._hyperparameters.num_factors]
        return FMModel(self._hyperparameters.predictor_type, self.w0, w, V)

    def state(self) -> State:
        """Return the arrays by name, not copied."""
        return {
            "num_steps": self.num_steps,
            "w0": self.w0,
            "w0_states": self.w0_states,
            "parameters": self.rows,
        }

    def before_first_step(self) -> None:
        """Set the states that follow from the initial parameters: FTRL's, so it starts there."""
        if self.num_steps[0] or self._hyperparameters.optimizer != "ftrl":
            return
        rates, l1 = self._hyperparameters, Constants.of(self._hyperparameters).l1
        width, w_at = self.width, self.w_at
        self.w0_states[0] = initial_ftrl_z(self.w0, rates.bias_lr, l1)
        for start in range(0, len(self.rows), _FTRL_ROWS):
            rows = self.rows[start : start + _FTRL_ROWS]
            rows[:, w_at + 1] = initial_ftrl_z(rows[:, w_at], rates.linear_lr, l1)
            rows[:, width : 2 * width] = initial_ftrl_z(rows[:, :width], rates.factors_lr, l1)


def _aligned_zeros(num_rows: int, row_floats: int) -> Float32Array:
    """Rows of zeros, each on cache lines of its own."""
    stride = -(-row_floats // CACHE_LINE) * CACHE_LINE
    memory = np.zeros(num_rows * stride + CACHE_LINE, np.float32)
    first = -(memory.ctypes.data // 4) % CACHE_LINE
    return memory[first : first + num_rows * stride].reshape(num_rows, stride)
