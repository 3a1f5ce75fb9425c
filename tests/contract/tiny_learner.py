"""Another way of learning, and `train` with it: all rows at once, a step down their mean gradient.

Its linear weights are all that it learns. Like ways of learning to come, it takes no mini-batches
and keeps a number for each training row: what its models have said of the row so far, added up.
"""

import sys
import time

import numpy as np

from fm_algo.model import FMModel
from fm_algo.training.learner import Learner, Step
from fm_algo.training.select import LEARNERS


class TinyLearner(Learner):
    """Plain gradient descent on all rows, an epoch a step, for regressors."""

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
    """Be the program `train`, with the tiny learner in the place of one of its optimisers."""
    from container.training import train_job

    TinyLearner.pause_s = pause_s
    LEARNERS["sgd"] = TinyLearner
    train_job.main()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
