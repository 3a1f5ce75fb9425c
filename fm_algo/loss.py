"""What a predictor type means: its scores, its labels, and the loss that training minimises.

All code that depends on the predictor type asks this module. To add a loss, add a row to `LOSSES`,
or to `RANKING_LOSSES` if a row's residual depends on other rows. The loss of many rows is
Σ weight · loss of the row: whoever asks for residuals weighs them (`CSRBatch.weigh`).
The weight of a pair of features, as with fields, belongs to the model: it changes margins.

Compiled code repeats `link` and `residual`: `residual_of` in `training.gradient.passes` and
`_score_of` in `training.gradient.gpu_passes`. The tests compare them with these. They cannot stand
here, because a server scores with this module and must not load Numba.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fm_algo.errors import UserError
from fm_algo.sparse import Float32Array
from fm_algo.sparse.matrix import class_hint

PredictorType = Literal["regressor", "binary_classifier"]
RankingLossName = Literal["bpr", "warp"]
Objective = PredictorType | RankingLossName
"""What training minimises: a ranking loss, or else the loss of the predictor type."""

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a predictor type means.

    Attributes
    ----------
    predictor_type : {"regressor", "binary_classifier"}
        Its name.
    metric : str
        The metric that training minimises, by its name in `fm_algo.training.metrics`.
    link : callable
        Maps each margin to its score, float32, any shape.
    margin_of_mean : callable
        Of n labels and their sum, the margin of the best constant score, which is their mean.
    mean_margin : callable
        Of margins, float64 of shape (…, S), the margins of shape (…) whose scores are the means of
        the S scores.
    classes : tuple of float
        The allowed labels; empty if any finite number is one.
    """

    predictor_type: PredictorType
    metric: str
    link: Callable[[Float32Array], Float32Array]
    margin_of_mean: Callable[[float, float], float]
    mean_margin: Callable[[_Numbers], _Numbers]
    classes: tuple[float, ...] = ()

    @property
    def is_classifier(self) -> bool:
        """Whether labels are classes and a score is the probability of label 1."""
        return bool(self.classes)

    def residual(self, margin: Float32Array, labels: Float32Array) -> Float32Array:
        """Return the derivative of the loss with respect to each row's margin: score − label.

        This holds for ½ error² with the margin as score, and for log loss with its sigmoid,
        because each loss has its canonical link (McCullagh and Nelder, "Generalized Linear
        Models", 1989, section 2.2.4).

        Parameters
        ----------
        margin, labels : float32, shape (n,)

        Returns
        -------
        float32, shape (n,)
        """
        return self.link(margin) - labels

    def check_labels(self, labels: Float32Array, first_record: int = 0) -> None:
        """Check that the labels are classes, if the predictor type has classes.

        Parameters
        ----------
        labels : float32, shape (n,)
            Finite.
        first_record : int, optional
            Number of the first record, for the message.

        Raises
        ------
        UserError
            At the first label that is not a class.
        """
        wrong = self.wrong_label(labels)
        if wrong is not None:
            raise UserError(f"record {first_record + wrong[0]}: {wrong[1]}")

    def wrong_label(self, labels: Float32Array) -> tuple[int, str] | None:
        """Return the place of the first label that is not a class, and what is wrong with it."""
        if not self.is_classifier:
            return None
        wrong = np.flatnonzero(np.all([labels != known for known in self.classes], axis=0))
        if not len(wrong):
            return None
        n = int(wrong[0])
        return n, (
            f"label {labels[n]:g} is not {' or '.join(f'{known:g}' for known in self.classes)}, "
            f"the labels of a {self.predictor_type}{class_hint(labels)}"
        )


def sigmoid(margin: Float32Array) -> Float32Array:
    """1 / (1 + exp(-margin)), without overflow at either end.

    Parameters
    ----------
    margin : float32, any shape

    Returns
    -------
    float32, same shape
    """
    small = np.exp(-np.abs(margin))  # in (0, 1]: never overflows
    score: Float32Array = np.where(margin >= 0, np.float32(1), small) / (1 + small)
    return score


def _identity(margin: Float32Array) -> Float32Array:
    return margin


def _quotient(num_labels: float, total: float) -> float:
    return total / num_labels


def _log_odds(num_labels: float, total: float) -> float:
    """Log-odds of label 1; a class that no label has counts as half a label."""
    return math.log(max(total, 0.5) / max(num_labels - total, 0.5))


def _mean(margins: _Numbers) -> _Numbers:
    mean: _Numbers = margins.mean(axis=-1)
    return mean


def _logit_of_mean_sigmoid(margins: _Numbers) -> _Numbers:
    """Log Σ σ(m) − log Σ σ(−m): exact where the mean itself is too near 0 or 1 for a float64."""
    log_ones: _Numbers = np.logaddexp.reduce(-np.logaddexp(0, -margins), axis=-1)
    log_zeros: _Numbers = np.logaddexp.reduce(-np.logaddexp(0, margins), axis=-1)
    return log_ones - log_zeros


LOSSES: dict[PredictorType, Loss] = {
    loss.predictor_type: loss
    for loss in (
        Loss("regressor", "rmse", _identity, _quotient, _mean),
        Loss(
            "binary_classifier",
            "binary_classification_cross_entropy",
            sigmoid,
            _log_odds,
            _logit_of_mean_sigmoid,
            (0, 1),
        ),
    )
}
"""Every loss by its predictor type."""


@dataclass(frozen=True, slots=True)
class RankingLoss:
    """A loss of comparisons: how far a positive scores above negatives, items that are none.

    Rows come in groups of equal size: a positive, of label 1, and its negatives, of label 0. The
    loss of a group is the mean over its negatives of the loss of d = margin of the positive −
    margin of the negative. All rows of a group have the group's weight.

    Attributes
    ----------
    name : {"bpr", "warp"}
    of_difference, slope : callable
        The loss of each difference d, and its derivative by d; float32, any shape.
    """

    name: RankingLossName
    of_difference: Callable[[Float32Array], Float32Array]
    slope: Callable[[Float32Array], Float32Array]

    @staticmethod
    def differences(margin: Float32Array, labels: Float32Array) -> Float32Array:
        """Return how far each positive is above its negatives.

        Parameters
        ----------
        margin, labels : float32, shape (n,)

        Returns
        -------
        float32, shape (num_groups, num_negatives)
        """
        groups = margin.reshape(max(int(np.count_nonzero(labels)), 1), -1)
        with np.errstate(invalid="ignore"):  # of a model that has gone astray
            difference: Float32Array = groups[:, :1] - groups[:, 1:]
        return difference

    def residual(self, margin: Float32Array, labels: Float32Array) -> Float32Array:
        """Return the derivative of the groups' losses with respect to each row's margin.

        Parameters
        ----------
        margin, labels : float32, shape (n,)

        Returns
        -------
        float32, shape (n,)
        """
        differences = self.differences(margin, labels)
        slopes = self.slope(differences) / np.float32(max(differences.shape[1], 1))
        of_positives = slopes.sum(axis=1, keepdims=True, dtype=np.float32)
        return np.concatenate([of_positives, -slopes], axis=1).reshape(-1)


def _bpr(difference: Float32Array) -> Float32Array:
    """−log σ(d), without overflow."""
    loss: Float32Array = np.maximum(-difference, 0) + np.log1p(np.exp(-np.abs(difference)))
    return loss


def _bpr_slope(difference: Float32Array) -> Float32Array:
    slope: Float32Array = -sigmoid(-difference)
    return slope


def _hinge(difference: Float32Array) -> Float32Array:
    """max(0, 1 − d)."""
    loss: Float32Array = np.maximum(1 - difference, np.float32(0))
    return loss


def _hinge_slope(difference: Float32Array) -> Float32Array:
    return np.where(difference < 1, np.float32(-1), np.float32(0))


RANKING_LOSSES: dict[RankingLossName, RankingLoss] = {
    loss.name: loss
    for loss in (
        RankingLoss("bpr", _bpr, _bpr_slope),
        RankingLoss("warp", _hinge, _hinge_slope),
    )
}
"""Every ranking loss by its name.

bpr is −log σ(d): Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized
Ranking from Implicit Feedback", UAI 2009, section 4.1. warp is the hinge max(0, 1 − d) of a
negative that was looked for until d < 1, its weight a guess of the positive's rank: Weston, Bengio,
Usunier, "WSABIE", IJCAI 2011, section 3; `fm_algo.training.ranking.learner` finds both.
"""
