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
        goal: Literal["Minimize", "Maximize"] = "Minimize" if kind == "loss" else "Maximize"
        yield MetricDefinition(f"test:{name}", f"{_QUALITY}test {tail}", goal)
        yield MetricDefinition(f"validation:{name}", f"{_QUALITY}validation {tail}", goal)
        if name in _OURS:  # its metric per epoch would be the forty-first
            continue
        epoch = rf"{_QUALITY}epoch=\S+, "
        yield MetricDefinition(f"validation:{name}:epoch", f"{epoch}validation {tail}")
        yield MetricDefinition(f"train:{name}", f"{_QUALITY}train {tail}")
        yield MetricDefinition(f"train:{name}:epoch", f"{epoch}train {tail}")
        yield MetricDefinition(
            f"train:{name}:batch", rf"{_QUALITY}epoch=\S+, batch=\S+ train {tail}"
        )


METRIC_DEFINITIONS = tuple(_define())
OBJECTIVES = {
    definition.name: definition.goal for definition in METRIC_DEFINITIONS if definition.goal
}
"""Objective of tuning -> Minimize or Maximize."""
PROGRESS = METRIC_DEFINITIONS[0]
