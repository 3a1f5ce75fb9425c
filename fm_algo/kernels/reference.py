"""The definition of right: every formula in NumPy, one after the other, slow and plain."""

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels.adam import BETA1, BETA2, AdamConstants, bias_correction
from fm_algo.model import FMModel, sigmoid
from fm_algo.sparse import CSRBatch, Float32Array


class ReferenceKernel:
    """Mini-batch training with MXNet's lazy Adam, as the built-in algorithm does it.

    Parameters
    ----------
    model : FMModel
        Where training starts; copied.
    hyperparameters : Hyperparameters
        Rates, decay, clipping and which parameter groups exist.

    Notes
    -----
    Gradient of the loss by a row's margin: score − label, for squared loss (½ error²) and log loss
    alike. By the parameters (Rendle 2010, equation 4): 1 for w0, x_i for w_i, and
    x_i S_f − v_if x_i² for v_if, with S_f = Σ_j v_jf x_j.

    Then, for each parameter (apache/mxnet 1.3, optimizer_op-inl.h, Adam on row-sparse weights)::

        g = clip(rescale · Σ_rows gradient + wd · θ)
        m = β1 m + (1 − β1) g
        s = β2 s + (1 − β2) g²
        θ = θ − lr · √(1 − β2^t) / (1 − β1^t) · m / (√s + ε)

    Only features present in the batch are touched, with their m and s; the bias always is.
    """

    def __init__(self, model: FMModel, hyperparameters: Hyperparameters) -> None:
        self._parameters = {
            "bias": model.w0.copy(),
            "linear": model.w.copy(),
            "factors": model.V.copy(),
        }
        self._moments = {
            name: (np.zeros_like(values), np.zeros_like(values))
            for name, values in self._parameters.items()
        }
        self._predictor_type = model.predictor_type
        self._hyperparameters = hyperparameters
        self._constants = AdamConstants.of(hyperparameters)
        self._num_steps = 0

    def step(self, batch: CSRBatch) -> Float32Array:
        """Update the parameters once; return the margins from before, float32, (num_rows,)."""
        margin = self.margin(batch)
        score = sigmoid(margin) if self._predictor_type == "binary_classifier" else margin
        residual = score - batch.require_labels()  # (n,)

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

    def _update(self, group: str, present: NDArray[np.intp], gradient: NDArray[np.float64]) -> None:
        """Apply the summed gradient of the parameters numbered `present`."""
        hyperparameters, constants = self._hyperparameters, self._constants
        rate = getattr(hyperparameters, f"{group}_lr") * bias_correction(self._num_steps)
        decay = getattr(hyperparameters, f"{group}_wd")
        values = self._parameters[group]
        first, second = self._moments[group]

        gradient = constants.rescale * gradient + decay * values[present]
        gradient = np.clip(gradient, -constants.clip, constants.clip)
        first[present] = BETA1 * first[present] + (1 - BETA1) * gradient
        second[present] = BETA2 * second[present] + (1 - BETA2) * gradient**2
        values[present] -= rate * first[present] / (np.sqrt(second[present]) + constants.epsilon)
