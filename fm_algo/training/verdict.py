"""Judge whether a model is any good: whether it beats the best constant, and if not, why not."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fm_algo.hyperparameters import WITHOUT_GRADIENTS, Hyperparameters
from fm_algo.loss import LOSSES, PredictorType
from fm_algo.sparse import Float32Array
from fm_algo.training.census import Facts
from fm_algo.training.metrics import metrics_for

_FAR = 0.5
"""How far from the labels' mean the scores' mean may lie, in deviations of the labels."""

_HARDLY_SPREAD = 0.3
"""Scores that spread less than this, in deviations of the labels, have hardly been learnt."""

_SURE = 2.0
"""Log-odds that spread more than this make a classifier sure: probabilities of 0.12 and 0.88."""

_FEW_STEPS = 1000
"""Fewer steps are few: 1000 of Adam at linear_lr=0.001, the default, move a weight by 1."""


_HARDLY_ANY_STEPS = 100
"""Fewer steps are too few whatever else is wrong."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of a training.

    Attributes
    ----------
    place : str
        Whose rows are scored: "validation", "test" or "training".
    margin, labels : float32, shape (n,)
        A sample of those rows, by the final model.
    train_losses : sequence of float
        Of each epoch, the metric that training minimises.
    num_steps : int
        Mini-batches trained on, all epochs together.
    weights : float32, shape (n,), or None
        Of those rows as training counts them, `positive_weight` included; None means 1.
    """

    place: str
    margin: Float32Array
    labels: Float32Array
    train_losses: Sequence[float]
    num_steps: int
    weights: Float32Array | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a model beats the best constant.

    Attributes
    ----------
    metric : str
        What is compared.
    place : str
    num_rows : int
        Of how many rows.
    loss, constant_loss : float
        The model's, and that of the mean of the training labels.
    positive_weight : float
        By what the weights of rows with label 1 are multiplied, as in training.
    reason, advice : str
        Why the model is no better, most likely, and what to set; empty if it is better.
    """

    metric: str
    place: str
    num_rows: int
    loss: float
    constant_loss: float
    positive_weight: float = 1.0
    reason: str = ""
    advice: str = ""

    @property
    def is_better(self) -> bool:
        """Whether the model's loss is lower; not if it is nan."""
        return self.loss < self.constant_loss

    def __str__(self) -> str:
        is_weighed = self.positive_weight != 1
        weighed = f" with positive_weight={self.positive_weight:g}" if is_weighed else ""
        compared = (
            f"{self.metric} {self.loss:.4g} on {self.num_rows} {self.place} rows{weighed}, against "
            f"{self.constant_loss:.4g} of the labels' mean"
        )
        if self.is_better:
            return f"the model is better than a constant: {compared}"
        return (
            f"the model is no better than a constant: {compared}; most likely {self.reason}: "
            f"{self.advice}"
        )


def judge(hyperparameters: Hyperparameters, facts: Facts, outcome: Outcome) -> Verdict:
    """Compare a model with the constant that is the mean of the training labels.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    facts : Facts
        Of the training rows.
    outcome : Outcome
    """
    predictor_type = hyperparameters.predictor_type
    loss = LOSSES[predictor_type]
    facts = _with_positives_weighed(facts, hyperparameters.positive_weight)
    constant = loss.margin_of_mean(facts.num_rows, facts.num_rows * facts.label_mean)
    same = np.full_like(outcome.margin, constant)
    own, of_constant = (
        mean_loss(predictor_type, margin, outcome.labels, outcome.weights)
        for margin in (outcome.margin, same)
    )
    compared = Verdict(
        metric=loss.metric,
        place=outcome.place,
        num_rows=len(outcome.labels),
        loss=own,
        constant_loss=of_constant,
        positive_weight=hyperparameters.positive_weight,
    )
    if own < of_constant:
        return compared
    for find in _REASONS:
        found = find(hyperparameters, facts, outcome)
        if found is not None:
            reason, advice = found
            return dataclasses.replace(compared, reason=reason, advice=advice)
    raise RuntimeError("the last reason always holds")


def _with_positives_weighed(facts: Facts, positive_weight: float) -> Facts:
    """Return the facts with the mean and deviation of labels that training sees."""
    if positive_weight == 1:
        return facts
    ones = positive_weight * facts.label_mean
    mean = ones / (ones + 1 - facts.label_mean)
    deviation = math.sqrt(mean * (1 - mean))
    return dataclasses.replace(facts, label_mean=mean, label_deviation=deviation)


def mean_loss(
    predictor_type: PredictorType,
    margin: Float32Array,
    labels: Float32Array,
    weights: Float32Array | None = None,
) -> float:
    """Return the metric that training minimises; nan without rows or where it overflows."""
    sums = metrics_for(predictor_type)
    with np.errstate(all="ignore"):  # of a model that has gone astray
        sums.update(margin, labels, weights)
    named = {metric.name: metric.value for metric in sums.results()}
    return named.get(LOSSES[predictor_type].metric, math.nan)


_Found = tuple[str, str] | None


def _one_label(_hyperparameters: Hyperparameters, facts: Facts, _outcome: Outcome) -> _Found:
    if not facts.has_one_label:
        return None
    return (
        f"all {facts.num_rows} training labels are {facts.label_min:g}, so that there is nothing "
        "to learn",
        "check where the labels come from",
    )


def _unscaled(hyperparameters: Hyperparameters, facts: Facts, _outcome: Outcome) -> _Found:
    if not facts.num_large or hyperparameters.optimizer in WITHOUT_GRADIENTS:
        return None
    named = ", ".join(f"feature {feature} ({size:g})" for feature, size in facts.large)
    more = ", …" if facts.num_large > len(facts.large) else ""
    return (
        f"columns are not scaled, {facts.num_large} with values beyond 100: {named}{more}",
        "divide each by its largest value or its deviation",
    )


def _overfitted(hyperparameters: Hyperparameters, facts: Facts, outcome: Outcome) -> _Found:
    metric = LOSSES[hyperparameters.predictor_type].metric
    losses, constant = outcome.train_losses, _loss_of_mean(hyperparameters.predictor_type, facts)
    if outcome.place == "training" or not losses or not losses[-1] < constant:
        return None
    by_decay = "raise linear_wd and factors_wd, lower num_factors"
    without_decay = "lower num_factors, give more rows"
    return (
        f"it has learnt its training rows by heart ({metric} {losses[-1]:.4g} there)",
        f"{without_decay if hyperparameters.optimizer == 'mcmc' else by_decay}, or set "
        "early_stopping_patience",
    )


def _far_bias(hyperparameters: Hyperparameters, facts: Facts, outcome: Outcome) -> _Found:
    score = LOSSES[hyperparameters.predictor_type].link(outcome.margin)
    mean = float(np.average(score.astype(np.float64), weights=outcome.weights))
    is_near = abs(mean - facts.label_mean) <= _FAR * facts.label_deviation
    is_set = hyperparameters.use_bias and hyperparameters.bias_init_method == "mean"
    if (
        is_near
        or is_set
        or not math.isfinite(mean)
        or hyperparameters.optimizer in WITHOUT_GRADIENTS
    ):
        return None
    is_short = outcome.num_steps < _HARDLY_ANY_STEPS
    return (
        f"the bias is far from the labels' mean: scores average {mean:.4g}, labels "
        f"{facts.label_mean:.4g}" + (f", after only {outcome.num_steps} steps" if is_short else ""),
        ("set " if hyperparameters.use_bias else "set use_bias=true, ")
        + "bias_init_method=mean"
        + (", and raise epochs" if is_short else ""),
    )


def _too_fast(hyperparameters: Hyperparameters, facts: Facts, outcome: Outcome) -> _Found:
    if hyperparameters.optimizer in WITHOUT_GRADIENTS or _spread(hyperparameters, outcome) <= 1:
        return None
    losses = outcome.train_losses
    rises = len(losses) > 1 and losses[-1] > min(losses)
    return (
        "the rates are too high: scores spread more than labels"
        + (", and the loss has risen since its best epoch" if rises else ""),
        "lower bias_lr, linear_lr and factors_lr tenfold, or set clip_gradient",
    )


def _too_slow(hyperparameters: Hyperparameters, facts: Facts, outcome: Outcome) -> _Found:
    chosen = hyperparameters
    is_spread = _spread(hyperparameters, outcome) > _HARDLY_SPREAD
    if chosen.optimizer in WITHOUT_GRADIENTS or is_spread:
        return None
    defaults = {field: getattr(_DEFAULTS, field) for field in ("linear_lr", "factors_lr")}
    are_low = all(getattr(chosen, name) < value / 2 for name, value in defaults.items())
    if outcome.num_steps < _FEW_STEPS and not are_low:
        return (
            f"training was too short: {outcome.num_steps} steps in {chosen.epochs} epochs",
            "raise epochs, or linear_lr and factors_lr, or lower mini_batch_size",
        )
    return (
        f"the rates are too low (linear_lr={chosen.linear_lr:g}, factors_lr="
        f"{chosen.factors_lr:g}): after {outcome.num_steps} steps all scores are nearly alike",
        "raise linear_lr and factors_lr tenfold or more",
    )


def _unknown(hyperparameters: Hyperparameters, _facts: Facts, _outcome: Outcome) -> _Found:
    is_chain = hyperparameters.optimizer == "mcmc"
    return (
        "the features say little about the labels",
        "look for other features" if is_chain else "try optimizer=mcmc, which needs no rates",
    )


_REASONS: tuple[Callable[[Hyperparameters, Facts, Outcome], _Found], ...] = (
    _one_label,
    _unscaled,
    _overfitted,
    _too_fast,
    _far_bias,
    _too_slow,
    _unknown,
)
"""The likeliest first: what one finds may cause what the next ones would find."""

_DEFAULTS = Hyperparameters(feature_dim=1, num_factors=1, predictor_type="regressor")


def _spread(hyperparameters: Hyperparameters, outcome: Outcome) -> float:
    """Return how far margins spread: 1 is as far as labels do, 0 is not at all."""
    is_classifier = LOSSES[hyperparameters.predictor_type].is_classifier
    with np.errstate(all="ignore"):
        own, of_labels = (float(x.std(dtype=np.float64)) for x in (outcome.margin, outcome.labels))
    unit = _SURE if is_classifier else of_labels
    return own / unit if unit else math.inf


def _loss_of_mean(predictor_type: PredictorType, facts: Facts) -> float:
    """Return the loss of the labels' mean on the training rows themselves."""
    if not LOSSES[predictor_type].is_classifier:
        return facts.label_deviation
    p = facts.label_mean
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)
