r"""The metrics that AWS reads from a training job's log: names and regular expressions.

AWS knows them without being told only for its own images. The names are those that the built-in's
jobs show. Those of the validation channel and roc_auc_score are ours, in the same form. AWS allows
at most 40.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_QUALITY = r"#quality_metric: host=\S+, "
_BUILT_IN = {
    "rmse": ("rmse", "loss"),
    "mse": ("mse", "loss"),
    "absolute_loss": ("absolute_loss", "loss"),
    "binary_classification_accuracy": ("binary_classification_accuracy", "score"),
    "binary_classification_cross_entropy": ("binary_classification_cross_entropy", "loss"),
    "binary_f_beta": (r"binary_f_\S+", "score"),
}
"""Name at AWS -> its name in the log, and whether lower or higher is better."""
_OURS = {"roc_auc_score": ("roc_auc_score", "score")}
_RANKINGS = {name: (name, "score") for name in ("ndcg@10", "recall@10", "map@10")}
"""Those of a job with a table of items."""
_OF_REGRESSORS = ("rmse", "mse", "absolute_loss")
_OF_BOTH = ("train:progress", "train:throughput")


@dataclass(frozen=True, slots=True)
class MetricDefinition:
    """One number of the log.

    Attributes
    ----------
    name : str
        The name at AWS, e.g. test:rmse.
    regex : str
        Its only group is the number.
    goal : {"Minimize", "Maximize"} or None
        The better direction, if it may be the objective of tuning.
    """

    name: str
    regex: str
    goal: Literal["Minimize", "Maximize"] | None = None

    def as_request(self) -> dict[str, str]:
        """Return the form AWS takes."""
        return {"Name": self.name, "Regex": self.regex}


def _define() -> Iterator[MetricDefinition]:
    yield MetricDefinition("train:progress", r"#progress_metric: host=\S+, completed (\S+) %")
    yield MetricDefinition(
        "train:throughput",
        r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
    )
    for name, (text, kind) in (_BUILT_IN | _OURS).items():
        tail = rf"{text} <{kind}>=(\S+)"
        yield from _of_evaluations(name, text, kind)
        if name in _OURS:  # its metric per epoch would be the forty-first
            continue
        epoch = rf"{_QUALITY}epoch=\S+, "
        yield MetricDefinition(f"validation:{name}:epoch", f"{epoch}validation {tail}")
        yield MetricDefinition(f"train:{name}", f"{_QUALITY}train {tail}")
        yield MetricDefinition(f"train:{name}:epoch", f"{epoch}train {tail}")
        yield MetricDefinition(
            f"train:{name}:batch", rf"{_QUALITY}epoch=\S+, batch=\S+ train {tail}"
        )


def _of_evaluations(name: str, text: str, kind: str) -> Iterator[MetricDefinition]:
    """Define a metric of the test and validation channels."""
    tail = rf"{text} <{kind}>=(\S+)"
    goal: Literal["Minimize", "Maximize"] = "Minimize" if kind == "loss" else "Maximize"
    yield MetricDefinition(f"test:{name}", f"{_QUALITY}test {tail}", goal)
    yield MetricDefinition(f"validation:{name}", f"{_QUALITY}validation {tail}", goal)


def _of_comparisons(loss: str) -> Iterator[MetricDefinition]:
    """Define what a job with a ranking loss tells of the training rows."""
    for name, kind in ((loss, "loss"), ("pairs_in_order", "score")):
        tail = rf"train {name} <{kind}>=(\S+)"
        yield MetricDefinition(f"train:{name}", f"{_QUALITY}{tail}")
        yield MetricDefinition(f"train:{name}:epoch", rf"{_QUALITY}epoch=\S+, {tail}")


METRIC_DEFINITIONS = tuple(_define())
RANKING_DEFINITIONS = tuple(
    definition for name, of in _RANKINGS.items() for definition in _of_evaluations(name, *of)
)
OBJECTIVES = {
    definition.name: definition.goal for definition in METRIC_DEFINITIONS if definition.goal
}
"""Objective of tuning -> Minimize or Maximize."""
RANKING_OBJECTIVES = {
    definition.name: definition.goal for definition in RANKING_DEFINITIONS if definition.goal
}
"""Those of jobs with a table of items."""
PROGRESS = METRIC_DEFINITIONS[0]


def metrics_with_rankings(
    predictor_type: str, loss: str | None = None
) -> tuple[MetricDefinition, ...]:
    """Return the metrics of a job with a table of items; AWS has no room for those of both types.

    Parameters
    ----------
    predictor_type : str
        regressor or binary_classifier.
    loss : str, optional
        bpr or warp, whose jobs predict no labels.
    """
    if loss is not None:
        of_both = (metric for metric in METRIC_DEFINITIONS if metric.name in _OF_BOTH)
        return (*of_both, *_of_comparisons(loss), *RANKING_DEFINITIONS)
    is_regressor = predictor_type == "regressor"
    of_job = (
        metric
        for metric in METRIC_DEFINITIONS
        if metric.name in _OF_BOTH or (metric.name.split(":")[1] in _OF_REGRESSORS) == is_regressor
    )
    return (*of_job, *RANKING_DEFINITIONS)
