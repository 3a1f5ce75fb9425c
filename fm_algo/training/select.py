"""Which way of learning trains a job: the one place that knows them all."""

from collections.abc import Callable
from typing import Any

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters, Optimizer
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.select import make_kernel
from fm_algo.training.learner import Learner

LEARNERS: dict[Optimizer, Callable[[Hyperparameters], Learner]] = {}
"""What makes the learner of an optimiser that does not turn gradients into updates."""


def make_learner(hyperparameters: Hyperparameters, kernel: Kernel[Any] | None = None) -> Learner:
    """Make the learner that the hyperparameter `optimizer` asks for, its parameters 0.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    kernel : Kernel, optional
        One host's of several; by default `device` chooses one.

    Raises
    ------
    UserError
        If device is gpu and there is none, or its memory does not suffice; if hosts are to share
        out what only one host can learn.
    """
    make = LEARNERS.get(hyperparameters.optimizer)
    if make is None:
        return GradientLearner(kernel or make_kernel(hyperparameters), hyperparameters)
    if kernel is not None:
        raise UserError(
            f"optimizer={hyperparameters.optimizer} trains on one host, without GPUs: use one "
            "instance, or another optimizer"
        )
    return make(hyperparameters)
