"""The reference kernel, slow and plain in NumPy; its formulas define what is right."""

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES, RANKING_LOSSES
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.gradient import Kernel, PreparedBatch
from fm_algo.training.gradient.optimizers import (
    UPDATE_RULES,
    Constants,
    initial_ftrl_z,
    learning_rate,
)
from fm_algo.training.state import State


class ReferenceKernel(Kernel[PreparedBatch]):
    """Mini-batch training, by default as the built-in algorithm does it: MXNet's lazy Adam.

    Parameters
    ----------
    model : FMModel
        Where training starts; copied.
    hyperparameters : Hyperparameters
        Rates, decay, clipping and which parameter groups exist.

    Notes
    -----
    The gradient of the loss by a row's margin is `Loss.residual` or `RankingLoss.residual`. The
    gradient of the margin by the parameters is (Rendle 2010, equation 4): 1 for w0, x_i for w_i,
    and x_i S_f − v_if x_i² for v_if, with S_f = Σ_j v_jf x_j.

    The optimiser's rule (`optimizers`) then updates each parameter θ by
    ``g = clip(rescale · Σ_rows weight · gradient + wd · θ)``. A step changes the bias and the
    features present in the batch, with their states. By default rescale is 1 / mini_batch_size,
    whatever the weights: a row of weight 2 pulls twice as hard.
    """

    def __init__(self, model: FMModel, hyperparameters: Hyperparameters) -> None:
        self._parameters = {
            "bias": model.w0.copy(),
            "linear": model.w.copy(),
            "factors": model.V.copy(),
        }
        self._predictor_type = model.predictor_type
        self._hyperparameters = hyperparameters
        self._constants = Constants.of(hyperparameters)
        self._rule = UPDATE_RULES[hyperparameters.optimizer]
        self._states = {name: self._initial_states(name) for name in self._parameters}
        self._num_steps = np.zeros(1, np.int64)

    @property
    def description(self) -> str:
        """What trains, for the log."""
        return "NumPy"

    def hold(self, rows: CSRBatch) -> None:
        """Leave the rows where they are: this kernel works in the same memory."""

    def prepare(self, batch: CSRBatch) -> PreparedBatch:
        """Return the mini-batch as it is."""
        return PreparedBatch(batch)

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update the parameters once; return the margins before that, float32, (num_rows,)."""
        batch = prepared.batch
        margin = self.margin(batch)
        chosen = self._hyperparameters.loss
        loss = LOSSES[self._predictor_type] if chosen is None else RANKING_LOSSES[chosen]
        residual = batch.weigh(loss.residual(margin, batch.require_labels()))  # (n,)

        rows = np.repeat(np.arange(batch.num_rows), np.diff(batch.indptr))  # (num_entries,)
        present, columns = np.unique(batch.indices.astype(np.intp), return_inverse=True)
        x = batch.values.astype(np.float64)
        V = self._parameters["factors"].astype(np.float64)
        factor_sums = np.zeros((batch.num_rows, V.shape[1]))  # S, (n, num_factors)
        np.add.at(factor_sums, rows, x[:, np.newaxis] * V[batch.indices])

        weighted = residual[rows] * x  # (num_entries,)
        linear = np.zeros(len(present))
        np.add.at(linear, columns, weighted)
        factors = np.zeros((len(present), V.shape[1]))
        np.add.at(factors, columns, weighted[:, np.newaxis] * factor_sums[rows])
        squares = np.zeros(len(present))
        np.add.at(squares, columns, weighted * x)
        factors -= V[present] * squares[:, np.newaxis]

        self._num_steps += 1
        if self._hyperparameters.use_bias:
            self._update(
                "bias", np.zeros(1, np.intp), np.array([np.sum(residual, dtype=np.float64)])
            )
        if self._hyperparameters.use_linear:
            self._update("linear", present, linear)
        self._update("factors", present, factors)
        return margin

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, (num_rows,)."""
        return self.model().margin(batch)

    def model(self) -> FMModel:
        """Return the present parameters, not copied."""
        w0, w, V = (self._parameters[name] for name in ("bias", "linear", "factors"))
        return FMModel(self._predictor_type, w0, w, V)

    def state(self) -> State:
        """Return all that later steps depend on: the kernel's own arrays, not copies."""
        states = {
            f"{group} state {number}": state
            for group, states in self._states.items()
            for number, state in enumerate(states)
        }
        return {"num_steps": self._num_steps} | self._parameters | states

    def _initial_states(self, group: str) -> list[Float32Array]:
        """Return zeros, except for FTRL, which must start from the initial values."""
        values = self._parameters[group]
        is_rowwise = self._hyperparameters.optimizer == "rowwise_adagrad"
        shape = (len(values), 1) if is_rowwise and values.ndim == 2 else values.shape
        states = [np.zeros(shape, np.float32) for _ in range(self._rule.num_states)]
        if self._hyperparameters.optimizer == "ftrl":
            lr = getattr(self._hyperparameters, f"{group}_lr")
            states[0] = initial_ftrl_z(values, lr, self._constants.l1)
        return states

    def _update(self, group: str, present: NDArray[np.intp], gradient: NDArray[np.float64]) -> None:
        """Apply the summed gradient of the parameters numbered `present`."""
        constants, optimizer = self._constants, self._hyperparameters.optimizer
        lr = learning_rate(
            optimizer, getattr(self._hyperparameters, f"{group}_lr"), int(self._num_steps[0])
        )
        wd = getattr(self._hyperparameters, f"{group}_wd")
        values, states = self._parameters[group], self._states[group]

        theta = values[present]
        g = np.clip(constants.rescale * gradient + wd * theta, -constants.clip, constants.clip)
        updated, new_states = self._rule.update(
            theta, [state[present] for state in states], g, lr, constants
        )
        values[present] = updated
        for state, new_state in zip(states, new_states, strict=True):
            state[present] = new_state
