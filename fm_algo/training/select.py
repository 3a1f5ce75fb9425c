"""Choose the learner of a job; the only module that knows all learners."""

from collections.abc import Callable
from typing import Any

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters, Optimizer
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.bayes.learner import BayesLearner
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.select import make_kernel
from fm_algo.training.learner import Learner
from fm_algo.training.ranking.learner import RankingLearner

LEARNERS: dict[Optimizer, Callable[[Hyperparameters], Learner]] = {
    "als": BayesLearner,
    "mcmc": BayesLearner,
}
"""Make the learners of those optimisers that do not turn gradients into updates."""


def make_learner(
    hyperparameters: Hyperparameters,
    kernel: Kernel[Any] | None = None,
    space: FeatureSpace | None = None,
) -> Learner:
    """Make the learner that the hyperparameter `optimizer` asks for, with all parameters 0.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    kernel : Kernel, optional
        The kernel of one of several hosts; by default the hyperparameter `device` chooses one.
    space : FeatureSpace, optional
        The fields of the features, for interaction=field_weighted. By default those that
        feature_fields says.

    Raises
    ------
    UserError
        If device is gpu and there is no GPU, or its memory is too small; or if pairs of fields have
        weights and nobody says which fields there are.
    """
    make = LEARNERS.get(hyperparameters.optimizer)
    if make is None:
        fields = _weighted_fields(hyperparameters, space)
        of_gradients = GradientLearner if hyperparameters.loss is None else RankingLearner
        return of_gradients(kernel or make_kernel(hyperparameters, fields), hyperparameters)
    return make(hyperparameters)


def _weighted_fields(
    hyperparameters: Hyperparameters, space: FeatureSpace | None
) -> FeatureSpace | None:
    """Return the fields whose pairs have weights; None if pairs of features count alike."""
    if not hyperparameters.is_field_weighted:
        return None
    fields = space or hyperparameters.numbered_fields
    if fields is None:
        raise UserError(
            "interaction=field_weighted must know the field of each feature: give feature_fields, "
            "such as [0, 943] for users and items, tables with columns, or text/libffm"
        )
    return fields


def trains_alone(hyperparameters: Hyperparameters, num_hosts: int) -> bool:
    """Tell whether the processors of one host train, whatever else there is.

    Raises
    ------
    UserError
        If there are more hosts than this one.
    """
    if num_hosts > 1 and hyperparameters.is_field_weighted:
        raise UserError(
            f"interaction=field_weighted trains on one host, and this job has {num_hosts}: use one "
            "instance, or interaction=all"
        )
    if hyperparameters.optimizer not in LEARNERS:
        return False
    if num_hosts > 1:
        raise UserError(
            f"optimizer={hyperparameters.optimizer} trains on one host, and this job has "
            f"{num_hosts}: use one instance, or another optimizer"
        )
    return True
