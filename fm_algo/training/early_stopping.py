"""Decide which epoch is the best, and when to stop waiting for a better one."""

import math

import msgspec

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES
from fm_algo.training.metrics import RANKING_METRICS, Metric, metric_names


class BestEpoch(msgspec.Struct, frozen=True):
    """The best epoch so far.

    Attributes
    ----------
    epoch : int
        From 0.
    value : float
        Its value of the judged metric.
    """

    epoch: int
    value: float


class EarlyStopping:
    """Judges epochs by a metric of the validation rows.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The early_stopping_* ones; without early_stopping_patience no epoch is judged.
    best : BestEpoch, optional
        The best epoch of the run that this one continues.

    Raises
    ------
    UserError
        If the predictor type does not have the metric.

    Attributes
    ----------
    best : BestEpoch or None
        None until an epoch has a number for the metric.
    """

    def __init__(self, hyperparameters: Hyperparameters, best: BestEpoch | None = None) -> None:
        self._patience = hyperparameters.early_stopping_patience
        self._tolerance = hyperparameters.early_stopping_tolerance
        self._metric = judged_metric(hyperparameters)
        self.best = None if self._patience is None else best

    def judge(self, epoch: int, metrics: list[Metric]) -> bool:
        """Look at an epoch's metrics; return whether it is the best so far.

        Raises
        ------
        UserError
            If the metric is not among them.
        """
        if self._patience is None:
            return False
        judged = next((metric for metric in metrics if metric.name == self._metric), None)
        if judged is None:
            raise UserError(
                f"early_stopping_metric={self._metric} has no value on the validation rows; "
                "roc_auc_score needs rows of both classes, and rankings an item that is relevant"
            )
        sign = 1 if judged.kind == "loss" else -1
        if self.best is None:
            is_best = not math.isnan(judged.value)
        else:
            is_best = sign * judged.value < sign * self.best.value - self._tolerance
        if is_best:
            self.best = BestEpoch(epoch, judged.value)
        return is_best

    def is_over(self, num_epochs: int) -> bool:
        """Whether training ends after `num_epochs` epochs."""
        best = -1 if self.best is None else self.best.epoch
        return self._patience is not None and num_epochs - 1 - best >= self._patience


def judged_metric(hyperparameters: Hyperparameters) -> str:
    """Check and return the name of the metric to judge by.

    By default it is the training loss, and with a ranking loss ndcg@10.

    Raises
    ------
    UserError
        If the predictor type does not have the metric.
    """
    predictor_type, chosen = hyperparameters.predictor_type, hyperparameters.early_stopping_metric
    what, names = f"a {predictor_type}", metric_names(predictor_type)
    default = LOSSES[predictor_type].metric
    if hyperparameters.loss is not None:
        what, names, default = f"loss={hyperparameters.loss}", (), RANKING_METRICS[0]
    if hyperparameters.columns is not None or hyperparameters.loss is not None:
        names += RANKING_METRICS
    if chosen is None:
        return default
    if chosen not in names:
        raise UserError(
            f"early_stopping_metric={chosen} is not a metric of {what}, allowed: one of "
            f"{', '.join(names)}"
        )
    return chosen
