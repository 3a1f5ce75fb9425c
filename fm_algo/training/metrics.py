"""Metrics of predictions: rows are added batch by batch, results are those of all rows together.

The built-in algorithm defines the names, and which metrics are losses and which are scores. Only
roc_auc_score and those of rankings are ours. A row of weight 2 counts as two rows.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_algo.loss import LOSSES, RANKING_LOSSES, Objective, PredictorType, RankingLoss
from fm_algo.sparse import Float32Array
from fm_algo.training.auc import AUCHistogram

_Bools = NDArray[np.bool_]
_Numbers = NDArray[np.float64]

CUTOFF = 10
"""How many of the best items a ranking is judged by."""

RANKING_METRICS = (f"ndcg@{CUTOFF}", f"recall@{CUTOFF}", f"map@{CUTOFF}")
"""Metrics of rankings, which `fm_algo.training.ranking.metrics` computes."""


@dataclass(frozen=True, slots=True)
class Metric:
    """The value of one metric, and whether lower or higher is better.

    Attributes
    ----------
    name : str
        As in log lines.
    kind : {"loss", "score"}
        A loss is better when lower, a score when higher.
    value : float
    """

    name: str
    kind: Literal["loss", "score"]
    value: float


def metric_names(predictor_type: PredictorType) -> tuple[str, ...]:
    """Return the names of the metrics of validation and test rows."""
    if not LOSSES[predictor_type].is_classifier:
        return ("rmse", "mse", "absolute_loss")
    return (
        "binary_classification_accuracy",
        "binary_classification_cross_entropy",
        "binary_f_1.000",
        "roc_auc_score",
    )


def minimised_metric(objective: Objective) -> str:
    """Return the name of the metric that training minimises."""
    if objective == "bpr" or objective == "warp":  # noqa: PLR1714 - mypy understands this one
        return objective
    return LOSSES[objective].metric


class MetricSums(Protocol):
    """Sums over the rows seen so far, from which metrics are computed.

    Attributes
    ----------
    num_rows : int
    weight : float
        Sum of the rows' weights; num_rows if they have none.
    """

    num_rows: int
    weight: float

    @property
    def auc(self) -> AUCHistogram | None:
        """The histogram behind roc_auc_score; None if that is not wanted."""
        ...

    @property
    def loss(self) -> float:
        """Mean loss so far, which training minimizes; nan or inf if training diverged."""
        ...

    def update(
        self, margin: Float32Array, labels: Float32Array, weights: Float32Array | None = None
    ) -> None:
        """Add rows: margins, labels and perhaps weights, float32, shape (n,)."""
        ...

    def results(self) -> list[Metric]:
        """Return the metrics of all rows so far; an empty list if there were none of weight > 0."""
        ...

    def state(self) -> dict[str, float]:
        """Return the sums by name, for `restore`."""
        ...

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from the sums of another object of the same kind, without its histogram."""
        ...


def added_up(
    sums: MetricSums, add_up: Callable[[NDArray[Any]], NDArray[Any]], objective: Objective
) -> MetricSums:
    """Return the sums over all hosts; `add_up` adds up an array over the hosts."""
    total = metrics_for(objective, with_auc=sums.auc is not None)
    state = sums.state()
    numbers = add_up(np.array([*state.values()], np.float64))
    total.restore(dict(zip(state, numbers.tolist(), strict=True)))
    if sums.auc is not None and total.auc is not None:
        total.auc.counts[:] = add_up(sums.auc.counts)
    return total


def metrics_for(objective: Objective, *, with_auc: bool = False) -> MetricSums:
    """Make the sums for what is minimised; `with_auc` adds roc_auc_score for a classifier."""
    if objective == "bpr" or objective == "warp":  # noqa: PLR1714 - mypy understands this one
        return RankingSums(RANKING_LOSSES[objective])
    if not LOSSES[objective].is_classifier:
        return RegressionSums()
    return ClassificationSums(AUCHistogram() if with_auc else None)


class RegressionSums:
    """Sums behind rmse, mse and absolute_loss."""

    auc = None

    def __init__(self) -> None:
        self.num_rows = 0
        self.weight = 0.0
        self._squares = 0.0
        self._absolutes = 0.0

    @property
    def loss(self) -> float:
        """Mean squared error so far."""
        return self._squares / (self.weight or 1)

    def update(
        self, margin: Float32Array, labels: Float32Array, weights: Float32Array | None = None
    ) -> None:
        """Add rows: predictions, labels and perhaps weights, float32, shape (n,)."""
        error = margin.astype(np.float64) - labels
        weighted = error if weights is None else error * weights
        self.num_rows += len(error)
        self.weight += _total_weight(weights, len(error))
        # Not by BLAS: its threads would go on spinning beside those that train.
        self._squares += float(np.einsum("i,i->", weighted, error))
        self._absolutes += float(np.abs(weighted).sum())

    def results(self) -> list[Metric]:
        """Return rmse (root of the mse of all rows, as in the built-in), mse and absolute_loss."""
        if not self.weight:
            return []
        return [
            Metric("rmse", "loss", math.sqrt(self.loss)),
            Metric("mse", "loss", self.loss),
            Metric("absolute_loss", "loss", self._absolutes / self.weight),
        ]

    def state(self) -> dict[str, float]:
        """Return the sums by name."""
        return {
            "rows": self.num_rows,
            "weight": self.weight,
            "squares": self._squares,
            "absolutes": self._absolutes,
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from the sums of another object."""
        self.num_rows, self.weight = _restored(state)
        self._squares, self._absolutes = state["squares"], state["absolutes"]


class ClassificationSums:
    """Sums behind accuracy, cross entropy (natural log) and F1; label 1 is the positive class.

    Parameters
    ----------
    auc : AUCHistogram, optional
        Collects what roc_auc_score needs.
    """

    def __init__(self, auc: AUCHistogram | None = None) -> None:
        self.num_rows = 0
        self.weight = 0.0
        self._cross_entropy = 0.0
        self._true_positives = 0.0
        self._predicted_positives = 0.0
        self._positives = 0.0
        self.auc = auc

    @property
    def loss(self) -> float:
        """Mean cross entropy so far."""
        return self._cross_entropy / (self.weight or 1)

    def update(
        self, margin: Float32Array, labels: Float32Array, weights: Float32Array | None = None
    ) -> None:
        """Add rows: log-odds, labels 0 or 1 and perhaps weights, float32, shape (n,)."""
        m = margin.astype(np.float64)
        predicted, actual = margin >= 0, labels == 1
        # −y log σ(m) − (1 − y) log(1 − σ(m)), without taking the log of a rounded 0.
        against = np.maximum(np.where(actual, -m, m), 0)
        cross_entropy = against + np.log(1 + np.exp(-np.abs(m)))
        if weights is not None:
            cross_entropy *= weights
        self.num_rows += len(m)
        self.weight += _total_weight(weights, len(m))
        self._cross_entropy += float(cross_entropy.sum())
        self._true_positives += _weight_where(predicted & actual, weights)
        self._predicted_positives += _weight_where(predicted, weights)
        self._positives += _weight_where(actual, weights)
        if self.auc is not None:
            self.auc.update(margin, actual, weights)

    def results(self) -> list[Metric]:
        """Return accuracy, cross entropy and F1, and roc_auc_score if both classes were seen.

        F1 is 0 if no row is positive, neither predicted nor actual.
        """
        if not self.weight:
            return []
        wrong = self._predicted_positives + self._positives - 2 * self._true_positives
        either = self._predicted_positives + self._positives
        f1 = 2 * self._true_positives / either if either else 0.0
        metrics = [
            Metric("binary_classification_accuracy", "score", 1 - wrong / self.weight),
            Metric("binary_classification_cross_entropy", "loss", self.loss),
            Metric("binary_f_1.000", "score", f1),
        ]
        area = self.auc.area() if self.auc is not None else None
        return metrics if area is None else [*metrics, Metric("roc_auc_score", "score", area)]

    def state(self) -> dict[str, float]:
        """Return the sums by name, except those for roc_auc_score."""
        return {
            "rows": self.num_rows,
            "weight": self.weight,
            "cross_entropy": self._cross_entropy,
            "true_positives": self._true_positives,
            "predicted_positives": self._predicted_positives,
            "positives": self._positives,
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from the sums of another object."""
        self.num_rows, self.weight = _restored(state)
        self._cross_entropy = state["cross_entropy"]
        self._true_positives = state["true_positives"]
        self._predicted_positives = state["predicted_positives"]
        self._positives = state["positives"]


class RankingSums:
    """Sums behind a ranking loss and pairs_in_order, over positives and sampled negatives.

    Parameters
    ----------
    ranking_loss : RankingLoss
    """

    auc = None

    def __init__(self, ranking_loss: RankingLoss) -> None:
        self.num_rows = 0
        self.weight = 0.0
        self._ranking_loss = ranking_loss
        self._losses = 0.0
        self._in_order = 0.0

    @property
    def loss(self) -> float:
        """Mean loss of a positive so far."""
        return self._losses / (self.weight or 1)

    def update(
        self, margin: Float32Array, labels: Float32Array, weights: Float32Array | None = None
    ) -> None:
        """Add groups of rows as `RankingLoss` has them; a group counts as one row."""
        differences = RankingLoss.differences(margin, labels)
        size = differences.shape[1] + 1
        losses = self._ranking_loss.of_difference(differences).mean(axis=1)
        in_order = (differences > 0).mean(axis=1)
        self.add(losses, in_order, None if weights is None else weights[::size])

    def add(
        self, losses: Float32Array, in_order: _Numbers | _Bools, weights: Float32Array | None = None
    ) -> None:
        """Add positives.

        Parameters
        ----------
        losses : float32, shape (n,)
        in_order : float64 or bool, shape (n,)
            Share of the negatives that each is above.
        weights : float32, shape (n,), optional
        """
        own = np.ones(len(losses)) if weights is None else weights.astype(np.float64)
        self.num_rows += len(losses)
        self.weight += float(own.sum())
        self._losses += float((own * losses).sum())
        self._in_order += float((own * in_order).sum())

    def results(self) -> list[Metric]:
        """Return the loss by its name, and the share of pairs in order, weighed by positive.

        Of warp, the pairs are those of the first negative that was drawn for a positive.
        """
        if not self.weight:
            return []
        return [
            Metric(self._ranking_loss.name, "loss", self.loss),
            Metric("pairs_in_order", "score", self._in_order / self.weight),
        ]

    def state(self) -> dict[str, float]:
        """Return the sums by name."""
        return {
            "rows": self.num_rows,
            "weight": self.weight,
            "losses": self._losses,
            "in_order": self._in_order,
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Continue from the sums of another object."""
        self.num_rows, self.weight = _restored(state)
        self._losses, self._in_order = state["losses"], state["in_order"]


def _total_weight(weights: Float32Array | None, num_rows: int) -> float:
    return float(num_rows if weights is None else weights.sum(dtype=np.float64))


def _weight_where(is_chosen: _Bools, weights: Float32Array | None) -> float:
    """Return the weight of the rows where `is_chosen` is True."""
    if weights is None:
        return float(np.count_nonzero(is_chosen))
    return float(weights.sum(dtype=np.float64, where=is_chosen))


def _restored(state: Mapping[str, float]) -> tuple[int, float]:
    """Return num_rows and weight; checkpoints of earlier releases know no weight."""
    return int(state["rows"]), float(state.get("weight", state["rows"]))
