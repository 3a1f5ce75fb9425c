"""A tiny learner without mini-batches, and the program `train` with it.

Each epoch is one step down the mean gradient of all rows, and trains the linear weights only. The
learner keeps one number per training row: the sum of all its predictions for the row so far.
"""

import sys
import time

import numpy as np

from fm_algo.model import FMModel
from fm_algo.training.learner import Learner, Step
from fm_algo.training.select import LEARNERS


class TinyLearner(Learner):
    """Plain gradient descent on all rows, one step per epoch, for regressors."""

    description = "a tiny learner"
    pause_s = 0.0

    def __init__(self, hyperparameters):
        self._rate = np.float32(hyperparameters.linear_lr)
        d, k = hyperparameters.feature_dim, hyperparameters.num_factors
        self._model = FMModel("regressor", *(np.zeros(n, np.float32) for n in (1, d, (d, k))))
        self._said = np.zeros(0, np.float32)

    def take_rows(self, rows):
        self._rows = rows.cached
        if len(self._said) != self._rows.num_rows:
            self._said = np.zeros(self._rows.num_rows, np.float32)

    def steps(self, epoch, first, should_stop):
        if first or should_stop():
            return
        time.sleep(self.pause_s)
        rows = self._rows
        margin = self.margin(rows)
        self._said += margin
        residual = np.repeat(margin - rows.labels, np.diff(rows.indptr))
        gradient = np.bincount(rows.indices, residual * rows.values, len(self._model.w))
        self._model.w[:] -= self._rate * (gradient / rows.num_rows).astype(np.float32)
        yield Step(rows.num_rows, lambda sums: sums.update(self._said / (epoch + 1), rows.labels))

    def margin(self, batch):
        return self._model.margin(batch)

    def model(self):
        return self._model

    def writable_model(self):
        return self._model

    def state(self):
        return {"w0": self._model.w0, "w": self._model.w, "V": self._model.V, "said": self._said}

    def writable_state(self, forms=None):
        if forms and "said" in forms:
            self._said = np.zeros(forms["said"].shape, np.float32)
        return self.state()


def main(pause_s: float = 0.0) -> None:
    """Run the program `train`, with the tiny learner in place of one of its optimisers."""
    from container.training import train_job

    TinyLearner.pause_s = pause_s
    LEARNERS["sgd"] = TinyLearner
    train_job.main()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
