"""The reference kernel, slow and plain in NumPy; its formulas define what is right."""

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES, RANKING_LOSSES
from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient import Kernel, PreparedBatch
from fm_algo.training.gradient.optimizers import (
    UPDATE_RULES,
    Constants,
    field_weights_lr,
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
    whatever the weights: a row of weight 2 pulls twice as hard. The weight of a pair of fields
    changes where the mini-batch has a gradient for it, that is, rows with both.
    """

    def __init__(self, model: FMModel, hyperparameters: Hyperparameters) -> None:
        self._parameters = {
            "bias": model.w0.copy(),
            "linear": model.w.copy(),
            "factors": model.V.copy(),
        }
        self._space = None
        if model.field_weights is not None:
            self._space = model.field_weights.space
            self._parameters["field_weights"] = model.field_weights.R.reshape(-1).copy()
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

        self._num_steps += 1
        if self._space is not None:
            self._step_with_fields(batch, residual, self._space)
            return margin
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

        self._update_all(residual, present, linear, factors)
        return margin

    def _step_with_fields(
        self, batch: CSRBatch, residual: Float32Array, space: FeatureSpace
    ) -> None:
        """Update the parameters row by row as `FieldWeights` says, with s_f (F, num_factors)."""
        num_fields = len(space.fields)
        V = self._parameters["factors"].astype(np.float64)
        R = self._parameters["field_weights"].astype(np.float64).reshape(num_fields, num_fields)
        present, columns = np.unique(batch.indices.astype(np.intp), return_inverse=True)
        linear, factors = np.zeros(len(present)), np.zeros((len(present), V.shape[1]))
        by_pair = np.zeros((num_fields, num_fields))
        for r in range(batch.num_rows):
            entries = slice(int(batch.indptr[r]), int(batch.indptr[r + 1]))
            g, x = float(residual[r]), batch.values[entries].astype(np.float64)
            v = V[batch.indices[entries]]
            fields = space.field_of(batch.indices[entries])
            sums, squares = np.zeros((num_fields, V.shape[1])), np.zeros(num_fields)
            np.add.at(sums, fields, x[:, np.newaxis] * v)
            np.add.at(squares, fields, ((x[:, np.newaxis] * v) ** 2).sum(axis=1))
            # t_f - r_ff x_i v_i, with t_f = Σ_g r_fg s_g
            others = (R @ sums)[fields] - (R.diagonal()[fields] * x)[:, np.newaxis] * v
            np.add.at(linear, columns[entries], g * x)
            np.add.at(factors, columns[entries], g * x[:, np.newaxis] * others)
            products = sums @ sums.T
            # Exactly 0 where a field has one entry: so its r_ff stays.
            np.fill_diagonal(products, 0.5 * ((sums**2).sum(axis=1) - squares))
            by_pair += g * products
        self._update_all(residual, present, linear, factors)
        told = np.flatnonzero(by_pair)
        self._update("field_weights", told, by_pair.reshape(-1)[told])

    def _update_all(
        self,
        residual: Float32Array,
        present: NDArray[np.intp],
        linear: NDArray[np.float64],
        factors: NDArray[np.float64],
    ) -> None:
        """Apply the summed gradients of the bias and of the features `present`."""
        if self._hyperparameters.use_bias:
            self._update(
                "bias", np.zeros(1, np.intp), np.array([np.sum(residual, dtype=np.float64)])
            )
        if self._hyperparameters.use_linear:
            self._update("linear", present, linear)
        self._update("factors", present, factors)

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, (num_rows,)."""
        return self.model().margin(batch)

    def model(self) -> FMModel:
        """Return the present parameters, not copied."""
        w0, w, V = (self._parameters[name] for name in ("bias", "linear", "factors"))
        field_weights = None
        if self._space is not None:
            num_fields = len(self._space.fields)
            R = self._parameters["field_weights"].reshape(num_fields, num_fields)
            field_weights = FieldWeights(R, self._space)
        return FMModel(self._predictor_type, w0, w, V, field_weights=field_weights)

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
            lr = self._lr(group)
            states[0] = initial_ftrl_z(values, lr, self._constants.l1)
        return states

    def _lr(self, group: str) -> float:
        chosen = self._hyperparameters
        if group == "field_weights":
            return field_weights_lr(chosen)
        return float(getattr(chosen, f"{group}_lr"))

    def _update(self, group: str, present: NDArray[np.intp], gradient: NDArray[np.float64]) -> None:
        """Apply the summed gradient of the parameters numbered `present`."""
        constants, optimizer = self._constants, self._hyperparameters.optimizer
        lr = learning_rate(optimizer, self._lr(group), int(self._num_steps[0]))
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
