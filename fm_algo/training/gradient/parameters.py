"""The parameters and optimiser states of the fast kernels: one row per feature.

Training mostly waits for memory. So all numbers of a feature stand side by side in one row, on
cache lines of its own::

    v | w, its states, the state of v as a whole, 0 … | first states of v | second states of v | 0 …

An optimiser that has fewer states leaves the others out. Each part of v is as wide as v, the part
of w is one vector wide. So pass 1 finds all it needs at the start of a row.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FieldWeights, FMModel
from fm_algo.model.field_weights import check_num_fields
from fm_algo.runtime.simd import CACHE_LINE, WIDTH, aligned_rows
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient.optimizers import (
    UPDATE_RULES,
    Constants,
    field_weights_lr,
    initial_ftrl_z,
)

PARAMETER_ROWS = "parameter_rows"
"""The name of `Parameters.rows` in a kernel's state."""

PAIR_ROWS = "pair_rows"
"""The name of `Parameters.pairs` there."""

_FTRL_ROWS = 1 << 16
"""Features whose states are set at once."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the numbers of a feature stand in its row.

    Attributes
    ----------
    num_factors : int
    width : int
        Floats of v. Those beyond num_factors stay 0, because their gradient is 0.
    num_v_states : int
        Number of states that are as wide as v.
    """

    num_factors: int
    width: int
    num_v_states: int

    @classmethod
    def of(cls, hyperparameters: Hyperparameters) -> Self:
        """Return the layout for a job's hyperparameters."""
        k, optimizer = hyperparameters.num_factors, hyperparameters.optimizer
        is_rowwise = optimizer == "rowwise_adagrad"
        num_v_states = 0 if is_rowwise else UPDATE_RULES[optimizer].num_states
        return cls(k, -(-k // WIDTH) * WIDTH, num_v_states)

    @property
    def w_at(self) -> int:
        """Where w stands; its states follow it."""
        return self.width

    @property
    def states_at(self) -> int:
        """Where the first states of v begin."""
        return self.w_at + WIDTH

    @property
    def stride(self) -> int:
        """Floats per row, in whole cache lines."""
        row_floats = self.states_at + self.width * self.num_v_states
        return -(-row_floats // CACHE_LINE) * CACHE_LINE

    @property
    def num_bytes(self) -> int:
        """Bytes per row."""
        return self.stride * np.dtype(np.float32).itemsize


class Parameters:
    """All parameters and optimiser states, 0 at first.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Shapes, optimiser and rates.
    space : FeatureSpace, optional
        The fields whose pairs have weights, with interaction=field_weighted.

    Raises
    ------
    UserError
        If there are too many fields.

    Attributes
    ----------
    num_steps : int64, shape (1,)
        Mini-batches trained so far.
    bias : float32, shape (1, 3)
        w0 and its states, laid out like w's part of a row.
    rows : float32, shape (feature_dim, layout.stride)
        Laid out as above; each row starts a cache line.
    pairs : float32, shape (F * F, 3)
        The weight of each pair of F fields and its states, laid out like the bias; both (f, g) and
        (g, f) stand there. Empty without fields.
    layout : Layout
    """

    def __init__(self, hyperparameters: Hyperparameters, space: FeatureSpace | None = None) -> None:
        self._hyperparameters = hyperparameters
        self._space = space
        num_fields = 0 if space is None else len(space.fields)
        check_num_fields(num_fields)
        self.pairs = np.zeros((num_fields * num_fields, 3), np.float32)
        self.layout = Layout.of(hyperparameters)
        self.num_steps = np.zeros(1, np.int64)
        self.bias = np.zeros((1, 3), np.float32)
        self.rows = aligned_rows(np.zeros, hyperparameters.feature_dim, self.layout.stride)

    def model(self) -> FMModel:
        """Return the present parameters, not copied."""
        w, V = self.rows[:, self.layout.w_at], self.rows[:, : self.layout.num_factors]
        field_weights = None
        if self._space is not None:
            num_fields = len(self._space.fields)
            R = self.pairs[:, 0].reshape(num_fields, num_fields)  # a view, though not contiguous
            field_weights = FieldWeights(R, self._space)
        return FMModel(
            self._hyperparameters.predictor_type,
            self.bias[0, :1],
            w,
            V,
            field_weights=field_weights,
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, not copied."""
        arrays: dict[str, NDArray[Any]]
        arrays = {"num_steps": self.num_steps, "bias_row": self.bias, PARAMETER_ROWS: self.rows}
        return arrays if self._space is None else arrays | {PAIR_ROWS: self.pairs}

    def before_first_step(self) -> None:
        """Set FTRL's states from the initial parameters, so that training starts there."""
        rates = self._hyperparameters
        if self.num_steps[0] or rates.optimizer != "ftrl":
            return
        l1, layout = Constants.of(rates).l1, self.layout
        width, w_at = layout.width, layout.w_at
        self.bias[:, 1] = initial_ftrl_z(self.bias[:, 0], rates.bias_lr, l1)
        self.pairs[:, 1] = initial_ftrl_z(self.pairs[:, 0], field_weights_lr(rates), l1)
        for start in range(0, len(self.rows), _FTRL_ROWS):
            rows = self.rows[start : start + _FTRL_ROWS]
            rows[:, w_at + 1] = initial_ftrl_z(rows[:, w_at], rates.linear_lr, l1)
            states = rows[:, layout.states_at : layout.states_at + width]
            states[:] = initial_ftrl_z(rows[:, :width], rates.factors_lr, l1)
