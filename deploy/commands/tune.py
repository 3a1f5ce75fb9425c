"""`tune`: search hyperparameters with many training jobs."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.aws import job
from deploy.aws.call import Aws, Call
from deploy.aws.wait import Answer, Patience
from deploy.commands import arguments as flags
from deploy.commands import training_request
from deploy.commands.training_request import TrainingRequest
from deploy.console import Progress, say_table
from deploy.hyperparameter_specification import Tunable, tunables
from deploy.metric_definitions import OBJECTIVES, RANKING_OBJECTIVES
from deploy.settings import Settings
from fm_algo.errors import UserError
from fm_algo.hyperparameters import parse_hyperparameters

_LIMIT_S = 72 * 3600
_LONGEST_NAME = 32
_SCALES = ("Auto", "Linear", "Logarithmic", "ReverseLogarithmic")
_OBJECTIVES = OBJECTIVES | RANKING_OBJECTIVES
_DEFAULT_OBJECTIVES = {"regressor": "rmse", "binary_classifier": "binary_classification_accuracy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The range to search for one hyperparameter.

    Attributes
    ----------
    name : str
    low, high : str
    scale : str
        One of AWS's scaling types.
    is_integer : bool
    """

    name: str
    low: str
    high: str
    scale: str
    is_integer: bool

    def as_request(self) -> dict[str, str]:
        """Return the form AWS takes."""
        return {
            "Name": self.name,
            "MinValue": self.low,
            "MaxValue": self.high,
            "ScalingType": self.scale,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Tune:
    """Search hyperparameters with a tuning job.

    Attributes
    ----------
    name : str
        Name of the tuning job.
    request : TrainingRequest
        The request for each training job.
    ranges : tuple of Range
    objective : str
        Name of a metric.
    strategy : str
    max_jobs, max_parallel : int
    early_stopping : bool
        Whether to end training jobs that look bad.
    patience : Patience or None
        None means not to wait for the end.
    """

    name: str
    request: TrainingRequest
    ranges: tuple[Range, ...]
    objective: str
    strategy: str
    max_jobs: int
    max_parallel: int
    early_stopping: bool
    patience: Patience | None

    def calls(self) -> list[Call]:
        """Return the calls: uploads, then the tuning job."""
        return [*self.request.upload_calls(), self._create()]

    def run(self, aws: Aws) -> None:
        """Upload what is not in S3 yet, create the job, wait for its end, print the best."""
        self.request.upload(aws)
        job.create(aws, job.TUNING, self._create())
        if self.patience is not None:
            _report(job.finish(aws, job.TUNING, self.name, self.patience, self._show))

    def _show(self, answer: Answer, progress: Progress) -> None:
        ended = sum(answer.get("TrainingJobStatusCounters", {}).values())
        progress.show(f"{ended} jobs of {self.max_jobs}")

    def _create(self) -> Call:
        searched = {one.name for one in self.ranges}
        fixed = {
            name: value
            for name, value in self.request.hyperparameters.items()
            if name not in searched
        }
        parameters = {
            "HyperParameterTuningJobName": self.name,
            "HyperParameterTuningJobConfig": {
                "Strategy": self.strategy,
                "HyperParameterTuningJobObjective": {
                    "Type": _OBJECTIVES[self.objective],
                    "MetricName": self.objective,
                },
                "ResourceLimits": {
                    "MaxNumberOfTrainingJobs": self.max_jobs,
                    "MaxParallelTrainingJobs": self.max_parallel,
                },
                "ParameterRanges": {
                    "IntegerParameterRanges": self._ranges(is_integer=True),
                    "ContinuousParameterRanges": self._ranges(is_integer=False),
                    "CategoricalParameterRanges": [],
                },
                "TrainingJobEarlyStoppingType": "Auto" if self.early_stopping else "Off",
            },
            "TrainingJobDefinition": {
                **self.request.common(),
                "StaticHyperParameters": fixed,
                "HyperParameterTuningResourceConfig": self.request.resources(),
            },
        }
        return Call("sagemaker", "create_hyper_parameter_tuning_job", parameters)

    def _ranges(self, *, is_integer: bool) -> list[dict[str, str]]:
        return [one.as_request() for one in self.ranges if one.is_integer == is_integer]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    flags.add_name(parser, "tuning job")
    training_request.add_arguments(parser)
    parser.add_argument(
        "--range",
        dest="ranges",
        action="append",
        default=[],
        metavar="NAME[=LOW:HIGH[:SCALE]]",
        help="what to search, e.g. factors_lr=1e-5:0.1:Logarithmic; a name alone takes its "
        f"declared range; SCALE is one of {', '.join(_SCALES)}; default every rate and decay "
        "that -H leaves open",
    )
    parser.add_argument("--objective", choices=sorted(_OBJECTIVES), help="metric to make best")
    parser.add_argument(
        "--strategy", choices=["Bayesian", "Random"], default="Bayesian", help="default %(default)s"
    )
    parser.add_argument("--max-jobs", type=int, default=20, help="default %(default)s")
    parser.add_argument("--max-parallel", type=int, default=2, help="default %(default)s")
    parser.add_argument(
        "--early-stopping", action="store_true", help="end training jobs that do not look well"
    )
    flags.add_waiting(parser, _LIMIT_S)


def from_arguments(arguments: argparse.Namespace, settings: Settings) -> Tune:
    """Turn the flags into the command.

    Raises
    ------
    UserError
        If something is missing or not allowed.
    """
    request = training_request.from_arguments(arguments, settings)
    ranges = _ranges(arguments.ranges, request.hyperparameters)
    for ends in ({one.name: one.low for one in ranges}, {one.name: one.high for one in ranges}):
        parse_hyperparameters({**request.hyperparameters, **ends})
    return Tune(
        name=flags.name(arguments, _LONGEST_NAME),
        request=request,
        ranges=ranges,
        objective=_objective(arguments.objective, request),
        strategy=arguments.strategy,
        max_jobs=arguments.max_jobs,
        max_parallel=arguments.max_parallel,
        early_stopping=arguments.early_stopping,
        patience=flags.patience(arguments),
    )


def _ranges(texts: list[str], given: Mapping[str, str]) -> tuple[Range, ...]:
    allowed = tunables()
    if not texts:
        has_fields = given.get("interaction") == "field_weighted"
        texts = [
            name
            for name in allowed
            if name.endswith(("_lr", "_wd"))
            and name not in given
            and (has_fields or not name.startswith("field_weights"))
        ]
    names = [text.partition("=")[0] for text in texts]
    for name in names:
        if name not in allowed:
            raise UserError(f"--range {name}: tunable are {', '.join(sorted(allowed))}")
        if names.count(name) > 1:
            raise UserError(f"--range {name} is given twice")
    return tuple(_range(text, name, allowed[name]) for text, name in zip(texts, names, strict=True))


def _range(text: str, name: str, declared: Tunable) -> Range:
    ends = text.partition("=")[2] or f"{declared.low:g}:{declared.high:g}"
    low, _, rest = ends.partition(":")
    high, _, scale = rest.partition(":")
    scale = scale or "Auto"
    kind = int if declared.is_integer else float
    try:
        is_right = kind(low) < kind(high) and scale in _SCALES
    except ValueError:
        is_right = False
    if not is_right:
        noun = "whole numbers" if declared.is_integer else "numbers"
        raise UserError(
            f"--range {text}: give NAME=LOW:HIGH or NAME=LOW:HIGH:SCALE, two {noun}, the lower "
            f"first, SCALE one of {', '.join(_SCALES)}"
        )
    return Range(name=name, low=low, high=high, scale=scale, is_integer=declared.is_integer)


def _objective(chosen: str | None, request: TrainingRequest) -> str:
    if chosen is None:
        return _default_objective(request)
    if chosen not in {metric.name for metric in request.metrics}:
        needs = "--items" if chosen in RANKING_OBJECTIVES else "another predictor_type or no loss"
        raise UserError(f"--objective {chosen} is not a metric of these jobs: it needs {needs}")
    return chosen


def _default_objective(request: TrainingRequest) -> str:
    names = {channel.name for channel in request.channels}
    for channel in ("validation", "test"):
        if channel in names:
            chosen = request.hyperparameters
            is_ranking = chosen.get("loss") is not None
            metric = "ndcg@10" if is_ranking else _DEFAULT_OBJECTIVES[chosen["predictor_type"]]
            return f"{channel}:{metric}"
    raise UserError("tuning compares jobs by a validation or a test channel: add one of them")


def _report(answer: Answer) -> None:
    best = answer.get("BestTrainingJob")
    if not best:
        raise UserError(f"tuning job {answer['HyperParameterTuningJobName']} found no best job")
    metric = best.get("FinalHyperParameterTuningJobObjectiveMetric", {})
    say_table(
        {
            "best job": best["TrainingJobName"],
            metric.get("MetricName", "objective"): metric.get("Value", "not known"),
            **best.get("TunedHyperParameters", {}),
        }
    )
