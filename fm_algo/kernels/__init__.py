"""The training step on arrays: a slow reference, and fast kernels that must agree with it.

A kernel is made from an initial model and the hyperparameters, and holds parameters and optimiser
state in whatever layout suits it.
"""

from typing import Protocol

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array


class Kernel(Protocol):
    """What the trainer asks of a kernel."""

    def step(self, batch: CSRBatch) -> Float32Array:
        """Update the parameters once from a mini-batch with labels.

        Returns
        -------
        float32, shape (num_rows,)
            Each row's margin before the update.
        """
        ...

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, shape (num_rows,)."""
        ...

    def model(self) -> FMModel:
        """Return the present parameters; later steps may change them in place."""
        ...
