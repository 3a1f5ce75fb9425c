"""Every hyperparameter, declared once: name, type, range, default, tuning range and text.

The documentation page and the checks come from this declaration. Names, ranges and defaults are
those of the SageMaker built-in Factorization Machines algorithm (its pages "hyperparameters" and
"tuning"). Where one is ours, its text says so.
"""

import ast
import contextlib
import difflib
import functools
import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from fm_algo.data.tables.columns import MIN_COUNT, Column, parse_columns
from fm_algo.errors import UserError
from fm_algo.loss import PredictorType
from fm_algo.sparse import MAX_FEATURE_DIM

InitMethod = Literal["normal", "uniform", "constant"]
BiasInitMethod = Literal["normal", "uniform", "constant", "mean"]
Optimizer = Literal["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd", "als", "mcmc"]
WITHOUT_GRADIENTS: tuple[Optimizer, ...] = ("als", "mcmc")
"""Optimisers that go over all rows again and again, feature by feature."""

Device = Literal["auto", "cpu", "gpu"]
MetricName = Literal[
    "rmse",
    "mse",
    "absolute_loss",
    "binary_classification_accuracy",
    "binary_classification_cross_entropy",
    "binary_f_1.000",
    "roc_auc_score",
    "ndcg@10",
    "recall@10",
    "map@10",
]


Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
FactorCount = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
FeatureCount = Annotated[int, msgspec.Meta(ge=1, le=MAX_FEATURE_DIM)]
ThreadCount = Annotated[int, msgspec.Meta(ge=1, le=1024)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(gt=0, lt=1)]
SampleCount = Annotated[int, msgspec.Meta(ge=0, le=1000)]
FeatureNumber = Annotated[int, msgspec.Meta(ge=0, lt=MAX_FEATURE_DIM)]

_CONTINUOUS = (1e-8, 512.0)
"""The range the built-in's tuning page gives for each of its continuous hyperparameters."""


def _text(
    description: str,
    *,
    tunable: tuple[float, float] | None = None,
    shapes_model: bool = True,
    is_of_a_job: bool = False,
) -> msgspec.Meta:
    """Describe one hyperparameter.

    `tunable` is the range that a tuner should search. `shapes_model` says whether another value
    makes another model from the same mini-batches. `is_of_a_job` says whether only a job can use
    it, because it is about files or log lines.
    """
    extra = {"tunable": tunable, "shapes_model": shapes_model, "is_of_a_job": is_of_a_job}
    return msgspec.Meta(description=description, extra=extra)


class Hyperparameters(msgspec.Struct, frozen=True, kw_only=True):
    """The hyperparameters of one job, checked however they are made.

    Each field's annotation carries its bounds, its text and, where tuning makes sense, its range.
    None means not set.

    Raises
    ------
    UserError
        If values are not allowed; names each one, its value and what is allowed.
    TypeError
        If a required one is missing or a name is unknown. `parse_hyperparameters` reports these
        with all the others.
    """

    feature_dim: Annotated[
        FeatureCount,
        _text("Number of features of a row. With `columns`, it follows from the tables."),
    ]
    num_factors: Annotated[
        FactorCount, _text("Number of factors of a feature; 64 is a good start.")
    ]
    predictor_type: Annotated[
        PredictorType, _text("What is predicted: the probability of label 1, or a number.")
    ]

    epochs: Annotated[
        Count,
        _text(
            "Passes over the training data; of als and mcmc, sweeps over all features, by default "
            "10, and 150 or, for a binary_classifier, 300. `epoch` is taken as well.",
            tunable=(1, 1000),
            shapes_model=False,
        ),
    ] = 1
    mini_batch_size: Annotated[
        Count, _text("Rows of one optimiser step.", tunable=(100, 10_000))
    ] = 1000

    bias_lr: Annotated[NotNegative, _text("Learning rate of the bias.", tunable=_CONTINUOUS)] = 0.1
    bias_wd: Annotated[
        NotNegative, _text("Weight decay (L2) of the bias.", tunable=_CONTINUOUS)
    ] = 0.01
    bias_init_method: Annotated[
        BiasInitMethod,
        _text(
            "Initial value of the bias: N(0, sigma), U(-scale, scale), a constant or, ours, what "
            "the training labels say: mean is their mean, of a binary_classifier its log-odds."
        ),
    ] = "normal"
    bias_init_sigma: Annotated[
        NotNegative, _text("Standard deviation of the bias, for normal.", tunable=_CONTINUOUS)
    ] = 0.01
    bias_init_scale: Annotated[
        NotNegative | None,
        _text("Half width of the range of the bias; required for uniform.", tunable=_CONTINUOUS),
    ] = None
    bias_init_value: Annotated[
        float | None,
        _text("Initial value of the bias; required for constant.", tunable=_CONTINUOUS),
    ] = None

    linear_lr: Annotated[
        NotNegative, _text("Learning rate of the linear weights.", tunable=_CONTINUOUS)
    ] = 0.001
    linear_wd: Annotated[
        NotNegative, _text("Weight decay (L2) of the linear weights.", tunable=_CONTINUOUS)
    ] = 0.001
    linear_init_method: Annotated[
        InitMethod,
        _text("Initial values of the linear weights: N(0, sigma), U(-scale, scale) or a constant."),
    ] = "normal"
    linear_init_sigma: Annotated[
        NotNegative,
        _text("Standard deviation of the linear weights, for normal.", tunable=_CONTINUOUS),
    ] = 0.01
    linear_init_scale: Annotated[
        NotNegative | None,
        _text(
            "Half width of the range of the linear weights; required for uniform.",
            tunable=_CONTINUOUS,
        ),
    ] = None
    linear_init_value: Annotated[
        float | None,
        _text("Initial value of the linear weights; required for constant.", tunable=_CONTINUOUS),
    ] = None

    factors_lr: Annotated[
        NotNegative, _text("Learning rate of the factors.", tunable=_CONTINUOUS)
    ] = 0.0001
    factors_wd: Annotated[
        NotNegative, _text("Weight decay (L2) of the factors.", tunable=_CONTINUOUS)
    ] = 0.00001
    factors_init_method: Annotated[
        InitMethod,
        _text("Initial values of the factors: N(0, sigma), U(-scale, scale) or a constant."),
    ] = "normal"
    factors_init_sigma: Annotated[
        NotNegative, _text("Standard deviation of the factors, for normal.", tunable=_CONTINUOUS)
    ] = 0.001
    factors_init_scale: Annotated[
        NotNegative | None,
        _text("Half width of the range of the factors; required for uniform.", tunable=_CONTINUOUS),
    ] = None
    factors_init_value: Annotated[
        float | None,
        _text("Initial value of the factors; required for constant.", tunable=_CONTINUOUS),
    ] = None

    clip_gradient: Annotated[
        float | None,
        _text("Each gradient, decay included, is cut to [-value, value]; 0 or less is off."),
    ] = None
    eps: Annotated[Positive | None, _text("Adam's epsilon; not set means 1e-8.")] = None
    rescale_grad: Annotated[
        float | None,
        _text("Factor of each gradient before decay; not set means 1 / mini_batch_size."),
    ] = None

    use_bias: Annotated[
        bool, _text("Whether the model has a bias. Undocumented in the built-in.")
    ] = True
    use_linear: Annotated[
        bool, _text("Whether the model has linear weights. Undocumented in the built-in.")
    ] = True
    batch_metrics_publish_interval: Annotated[
        Count,
        _text(
            "Batches between metric lines within an epoch. Undocumented in the built-in.",
            shapes_model=False,
            is_of_a_job=True,
        ),
    ] = 500

    columns: Annotated[
        dict[str, object] | None,
        _text(
            "Ours. What each column of a table is; the channels then hold tables, not numbered "
            "features. See docs/tables.md.",
            is_of_a_job=True,
        ),
    ] = None
    min_count: Annotated[
        Count,
        _text(
            "Ours. How often a value of a category or set must occur to have a feature of its own, "
            "where `columns` does not say it.",
            is_of_a_job=True,
        ),
    ] = MIN_COUNT
    keep_seen: Annotated[
        bool,
        _text(
            "Ours. Keep in the model which items each user has in the training rows, so that "
            "recommendations can leave them out.",
            is_of_a_job=True,
        ),
    ] = False
    optimizer: Annotated[
        Optimizer,
        _text(
            "Ours. How the model is learnt. adam (the built-in's), adagrad, rowwise_adagrad, ftrl "
            "and sgd turn gradients of mini-batches into updates. als (alternating least squares) "
            "and mcmc (Gibbs sampling, which learns its regularisation) need no rates. They hold "
            "all rows in memory, and train on the processors of one host."
        ),
    ] = "adam"
    l1: Annotated[
        NotNegative,
        _text("Ours. L1 strength of ftrl, in units of a rescaled gradient.", tunable=_CONTINUOUS),
    ] = 0.0
    feature_groups: Annotated[
        tuple[FeatureNumber, ...] | None,
        _text(
            "Ours. First features of the groups for which mcmc learns regularisation separately, "
            "such as [0, 943] for users and items. By default the rows tell: a run of features of "
            "which no row has two is a group."
        ),
    ] = None
    posterior_samples: Annotated[
        SampleCount,
        _text(
            "Ours. Samples of mcmc that are kept beside the model; 100 is a good number. Scores "
            "are then the means of theirs, and a request may ask how sure they are."
        ),
    ] = 0
    positive_weight: Annotated[
        Positive,
        _text(
            "Ours. Factor of the weight of training rows of label 1, for rare positives of a "
            "binary_classifier. Metrics of validation and test rows leave it out. With it, scores "
            "rank rows, but are no probabilities."
        ),
    ] = 1.0
    memory_budget_mb: Annotated[
        Count | None,
        _text(
            "Ours. MiB of decoded rows kept in memory; what does not fit is read again each epoch. "
            "By default half of what the container may use.",
            shapes_model=False,
            is_of_a_job=True,
        ),
    ] = None
    seed: Annotated[
        Seed,
        _text("Ours. Seed of initial values and shuffling: a job run twice gives the same model."),
    ] = 0
    shuffle: Annotated[
        bool,
        _text(
            "Ours. Take the rows in a new order each epoch; false is the built-in's stored order."
        ),
    ] = True
    device: Annotated[
        Device,
        _text(
            "Ours. Where training runs; auto takes a GPU where there is one. Either can go on from "
            "the other's checkpoints.",
            shapes_model=False,
        ),
    ] = "auto"
    num_threads: Annotated[
        ThreadCount | None,
        _text(
            "Ours. Threads of the CPU kernel, by default one a usable processor. "
            "The model does not depend on it.",
            shapes_model=False,
        ),
    ] = None
    checkpoint_interval: Annotated[
        Positive,
        _text(
            "Ours. Seconds between checkpoints; there is one at the end of each epoch, too.",
            shapes_model=False,
            is_of_a_job=True,
        ),
    ] = 300.0
    checkpoint_keep: Annotated[
        Count, _text("Ours. Checkpoints kept.", shapes_model=False, is_of_a_job=True)
    ] = 2
    early_stopping_patience: Annotated[
        Count | None,
        _text(
            "Ours. End after so many epochs without a better one, and save the best epoch's model. "
            "Judged on the validation channel or on validation_split.",
            shapes_model=False,
        ),
    ] = None
    early_stopping_tolerance: Annotated[
        NotNegative,
        _text("Ours. By how much an epoch must be better to count as better.", shapes_model=False),
    ] = 0.0
    early_stopping_metric: Annotated[
        MetricName | None,
        _text(
            "Ours. What is judged; by default rmse of a regressor, "
            "binary_classification_cross_entropy of a binary_classifier. ndcg@10, recall@10 and "
            "map@10 are of jobs with an items channel."
        ),
    ] = None
    validation_split: Annotated[
        Fraction | None,
        _text(
            "Ours. Part of the training rows, drawn by seed, that is not trained on but scored "
            "after each epoch."
        ),
    ] = None
    report: Annotated[
        bool,
        _text(
            "Ours. Whether the job writes report.html and metrics.json to output/data.",
            shapes_model=False,
            is_of_a_job=True,
        ),
    ] = True
    tensorboard: Annotated[
        bool | None,
        _text(
            "Ours. Whether the job writes TensorBoard's event files to output/tensorboard; by "
            "default where that directory exists.",
            shapes_model=False,
            is_of_a_job=True,
        ),
    ] = None

    def __post_init__(self) -> None:
        """Check every value. msgspec calls this for a changed copy, too."""
        values: dict[str, Any] = {}
        problems: list[str] = []
        for name, annotation in _annotations().items():
            given = getattr(self, name)
            try:
                values[name] = _typed(given, annotation)
            except msgspec.ValidationError:
                problems.append(f"{name}={given!r} is not {describe_range(annotation)}")
            else:
                msgspec.structs.force_setattr(self, name, values[name])
        set_values = {name: value for name, value in values.items() if value is not None}
        problems += _missing_init_values(set_values, problems)
        problems += _misplaced_bayes_values(set_values)
        problems += _wrong_columns(set_values)
        problems += _misplaced_weight(set_values)
        _report(problems)

    @property
    def table_columns(self) -> dict[str, Column] | None:
        """What each column is, by name; None without `columns`."""
        return None if self.columns is None else parse_columns(self.columns, self.min_count)


OF_TABLES = ("columns", "min_count", "keep_seen")
"""Hyperparameters that say nothing to a program that knows numbered features only."""

_ALIASES = {"epoch": "epochs"}  # the spelling of the built-in's tuning page
_INIT_GROUPS = ("bias", "linear", "factors")
_UNSET = ("", "null", "None")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def parse_hyperparameters(raw: Mapping[str, object]) -> Hyperparameters:
    """Check the content of hyperparameters.json and turn it into typed values.

    Values are strings as any of the SDKs encodes them: plain or in JSON quotes, booleans as `True`
    or `true`. An empty string, `null` and `None` mean not set. Names that begin with `_` or
    `sagemaker_` belong to the platform and are ignored.

    Parameters
    ----------
    raw : mapping of str to object
        Name to value; strings, or JSON numbers, booleans, lists and objects.

    Returns
    -------
    Hyperparameters
        With `columns`, feature_dim is not known before the tables are read: it is 1 here.

    Raises
    ------
    UserError
        Lists every problem at once: name, value and what is allowed.
    """
    fields = {field.name: field for field in msgspec.structs.fields(Hyperparameters)}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for given_name, given in raw.items():
        if given_name.startswith(("_", "sagemaker_")):
            continue
        name = _ALIASES.get(given_name, given_name)
        text = _unwrap(given)
        if name not in fields:
            problems.append(_unknown(given_name, fields))
        elif text in _UNSET:
            continue
        elif name in values:
            problems.append(f"{name} is given twice, once as {_spellings(name)}")
        else:
            try:
                values[name] = _convert(text, fields[name].type)
            except msgspec.ValidationError:
                problems.append(f"{given_name}={text!r} is not {describe_range(fields[name].type)}")
    has_columns = "columns" in values or _mentioned("columns", problems)
    if has_columns and not _mentioned("feature_dim", problems):
        if "feature_dim" in values:
            given = values["feature_dim"]
            problems.append(f"feature_dim={given} must not be given: it follows from columns")
        values["feature_dim"] = 1
    problems += [
        f"{field.name} is required: {describe_range(field.type)}"
        for field in fields.values()
        if field.required and field.name not in values and not _mentioned(field.name, problems)
    ]
    problems += _missing_init_values(values, problems)
    problems += _misplaced_bayes_values(values)
    problems += _wrong_columns(values)
    problems += _misplaced_weight(values)
    _report(problems)
    return Hyperparameters(**(_own_defaults(values) | values))


def shapes_model(name: str) -> bool:
    """Return whether another value of a hyperparameter makes another model.

    The mini-batches are the same.

    Parameters
    ----------
    name : str
        Name of the hyperparameter.

    Returns
    -------
    bool
        False if it only says how long, where or how closely watched a job runs. Then a job can
        continue from a checkpoint made with another value.
    """
    return bool(_declared(name)["shapes_model"])


def is_of_a_job(name: str) -> bool:
    """Return whether only a job can use a hyperparameter: it is about files or log lines."""
    return bool(_declared(name)["is_of_a_job"])


def has_own_default(name: str) -> bool:
    """Return whether als or mcmc has a default of its own for a hyperparameter."""
    return any(name in _own_defaults({"optimizer": each}) for each in WITHOUT_GRADIENTS)


def describe_range(annotation: Any) -> str:  # noqa: ANN401 - a type annotation has no type of its own
    """Say in words what values a declared field takes, e.g. "a whole number >= 1"."""
    info = value_type(annotation)
    if isinstance(info, msgspec.inspect.LiteralType):
        return f"one of {', '.join(str(value) for value in info.values)}"
    if isinstance(info, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(info, msgspec.inspect.VarTupleType):
        return "a list of whole numbers, such as [0, 943], ascending, below feature_dim"
    if isinstance(info, msgspec.inspect.DictType):
        return 'a JSON object, such as {"rating": "label", "user": "category"}'
    if not isinstance(info, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        raise TypeError(f"no words for {annotation}")
    noun = "a whole number" if isinstance(info, msgspec.inspect.IntType) else "a finite number"
    bounds = [(">=", info.ge), (">", info.gt), ("<=", info.le), ("<", info.lt)]
    limits = " and ".join(f"{sign} {bound}" for sign, bound in bounds if bound is not None)
    return f"{noun} {limits}".rstrip()


def value_type(annotation: Any) -> msgspec.inspect.Type:  # noqa: ANN401 - as above
    """Return the type of the values, without description and `| None`."""
    info = msgspec.inspect.type_info(annotation)
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    if isinstance(info, msgspec.inspect.UnionType):
        info = next(kind for kind in info.types if not isinstance(kind, msgspec.inspect.NoneType))
    return info


def _unwrap(value: object) -> str:
    """Strip what an SDK puts around a value: blanks, then one pair of JSON quotes."""
    text = (json.dumps(value) if isinstance(value, dict | list) else str(value)).strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    return text


def _convert(text: str, annotation: Any) -> object:  # noqa: ANN401 - as above
    """Turn text into a value of the annotated type; msgspec checks the bounds.

    Raises
    ------
    msgspec.ValidationError
        If it is not one of the allowed values.
    """
    if isinstance(value_type(annotation), msgspec.inspect.DictType):
        return msgspec.convert(_object(text), annotation)
    if isinstance(value_type(annotation), msgspec.inspect.VarTupleType):
        in_brackets = text if text.startswith("[") else f"[{text}]"
        try:
            return msgspec.json.decode(in_brackets.encode(), type=annotation)
        except msgspec.DecodeError as error:
            raise msgspec.ValidationError(str(error)) from error
    return _finite(msgspec.convert(_plain_number(text), annotation, strict=False))


def _object(text: str) -> object:
    """Read a JSON object: as it is, encoded once more, or as Python writes it."""
    for read in (
        json.loads,
        lambda text: json.loads(json.loads(f'"{text}"')),  # the quotes are off already
        ast.literal_eval,
    ):
        with contextlib.suppress(ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return read(text)
    return text


def _typed(value: object, annotation: Any) -> object:  # noqa: ANN401 - as above
    """Check a Python or NumPy value and return it as the annotated type.

    Raises
    ------
    msgspec.ValidationError
        If it is not one of the allowed values.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    return _finite(msgspec.convert(plain, annotation))


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        # msgspec lets inf through where no bound forbids it.
        raise msgspec.ValidationError("not finite")
    return value


def _report(problems: list[str]) -> None:
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise UserError(f"{count} in the hyperparameters: {'; '.join(problems)}")


def _declared(name: str) -> dict[str, Any]:
    """Return what `_text` noted of a hyperparameter besides its description."""
    extra: dict[str, Any] = _annotations()[name].__metadata__[-1].extra
    return extra


@functools.cache
def _annotations() -> Mapping[str, Any]:
    """Map name to annotation, in order of declaration; looked up only once, because it is slow."""
    return {field.name: field.type for field in msgspec.structs.fields(Hyperparameters)}


def _plain_number(text: str) -> str:
    """Rewrite numbers as people and tuners write them: 1e3 and 1000.0 become 1000, .5 is 0.5."""
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    if not number.is_integer():  # nor is inf
        return repr(number)
    return str(int(number)) if abs(number) < 2**53 else text


def _unknown(name: str, known: Mapping[str, object]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{name} is not a hyperparameter{hint}"


def _spellings(name: str) -> str:
    return " and once as ".join([name, *(alias for alias, of in _ALIASES.items() if of == name)])


def _mentioned(name: str, problems: list[str]) -> bool:
    """Return whether a problem with this hyperparameter's value is already reported."""
    return any(problem.startswith(f"{name}=") for problem in problems)


def _misplaced_bayes_values(values: Mapping[str, Any]) -> list[str]:
    """Find what is asked of mcmc and als in vain, and groups that are none."""
    problems = []
    optimizer, num_samples = values.get("optimizer", "adam"), values.get("posterior_samples", 0)
    if num_samples and optimizer != "mcmc":
        problems.append(f"posterior_samples={num_samples} needs optimizer=mcmc, not {optimizer}")
    if optimizer in WITHOUT_GRADIENTS and values.get("device") == "gpu":
        problems.append(f"device=gpu: optimizer={optimizer} trains on processors, use auto or cpu")
    if optimizer == "als":
        problems += [
            f"{name}=0.0 is not a finite number > 0, which optimizer=als needs"
            for name in ("linear_wd", "factors_wd")
            if values.get(name) == 0
        ]
    groups = values.get("feature_groups")
    if groups is not None and optimizer != "mcmc":
        problems.append(
            f"feature_groups={json.dumps(groups)} needs optimizer=mcmc, not {optimizer}"
        )
    elif groups is not None and (
        not groups
        or any(second <= first for first, second in itertools.pairwise(groups))
        or groups[-1] >= values.get("feature_dim", MAX_FEATURE_DIM)
    ):
        allowed = describe_range(_annotations()["feature_groups"])
        problems.append(f"feature_groups={json.dumps(groups)} is not {allowed}")
    return problems


def _wrong_columns(values: Mapping[str, Any]) -> list[str]:
    """Find mistakes in columns, and what needs columns or does not go with them."""
    columns = values.get("columns")
    if columns is None:
        return [
            f"{name}={json.dumps(values[name])} needs columns"
            for name, default in (("min_count", MIN_COUNT), ("keep_seen", False))
            if values.get(name, default) != default
        ]
    problems = []
    if values.get("feature_groups") is not None:
        problems.append("feature_groups must not be given with columns: each column is a group")
    try:
        parsed = parse_columns(columns, values.get("min_count", MIN_COUNT))
    except UserError as error:
        return [*problems, error.message]
    if not any(column.kind == "label" for column in parsed.values()):
        problems.append('columns: none is the label, expected one, such as "rating": "label"')
    return problems


def _misplaced_weight(values: Mapping[str, Any]) -> list[str]:
    """Find a weight of positives where there are no classes."""
    weight, predictor_type = values.get("positive_weight", 1), values.get("predictor_type")
    if weight == 1 or predictor_type != "regressor":
        return []
    return [f"positive_weight={weight} needs predictor_type=binary_classifier, not regressor"]


def _own_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that als and mcmc have for themselves.

    Their initial factors come from the labels' scale unless a sigma is given: hence 0. Measured on
    MovieLens-100k: the mean of a chain is hardly better after more sweeps than these, and als fits
    noise after ten. For als, decay is λ of the weights and the factors where labels have deviation
    1, and is not learnt: the posterior mode of λ and the factors together is at factors of 0.
    """
    optimizer = values.get("optimizer")
    if optimizer not in WITHOUT_GRADIENTS:
        return {}
    start = {f"{group}_init_sigma": 0.0 for group in _INIT_GROUPS}
    if optimizer == "als":
        return start | {"epochs": 10, "linear_wd": 2.0, "factors_wd": 10.0}
    is_classifier = values.get("predictor_type") == "binary_classifier"
    return start | {"epochs": 300 if is_classifier else 150}


def _missing_init_values(values: Mapping[str, Any], problems: list[str]) -> list[str]:
    """Find the initialisers whose only parameter is not set and has no default."""
    needs = {"uniform": "scale", "constant": "value"}
    return [
        f"{name} is required when {group}_init_method is {method}"
        for group in _INIT_GROUPS
        if (method := values.get(f"{group}_init_method")) in needs
        and (name := f"{group}_init_{needs[method]}") not in values
        and not _mentioned(name, problems)
    ]
