"""Every hyperparameter, declared once: name, type, range, default, tuning range and text.

The documentation page and the checks come from this declaration. Names, ranges and defaults are
those of the SageMaker built-in Factorization Machines algorithm (its pages "hyperparameters" and
"tuning"). Where one is ours, its text says so.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from fm_algo.data.tables.columns import MIN_COUNT, Column, parse_columns
from fm_algo.hyperparameters.checks import check_all, find_conflicts
from fm_algo.hyperparameters.ranges import describe_range, typed
from fm_algo.loss import Objective, PredictorType, RankingLossName
from fm_algo.sparse import MAX_FEATURE_DIM
from fm_algo.sparse.feature_space import FeatureSpace

InitMethod = Literal["normal", "uniform", "constant"]
BiasInitMethod = Literal["normal", "uniform", "constant", "mean"]
Optimizer = Literal["adam", "adagrad", "rowwise_adagrad", "ftrl", "sgd", "als", "mcmc"]
Interaction = Literal["all", "field_weighted"]
Device = Literal["auto", "cpu", "gpu"]
Artifact = Literal["ours", "builtin", "both"]
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
    loss: Annotated[
        RankingLossName | None,
        _text(
            "Ours. Learn to rank items, not to predict labels: rows whose label is above 0, or who "
            "have none, are compared with drawn items that their users do not have. bpr raises all "
            "items of a user above the others, warp above all the top of the list. Needs an items "
            "channel; see docs/tables.md."
        ),
    ] = None
    num_negatives: Annotated[
        Count | None,
        _text(
            "Ours. Of bpr, how many items a row is compared with, by default 1. Of warp, how many "
            "are tried at most to find one that the row should be above and is not, by default 10."
        ),
    ] = None
    negative_sampling_power: Annotated[
        NotNegative,
        _text(
            "Ours. How bpr and warp draw items: 0 draws all alike, 1 as often as they occur in the "
            "training rows, other powers in between and beyond."
        ),
    ] = 0.0
    optimizer: Annotated[
        Optimizer,
        _text(
            "Ours. How the model is learnt. adam (the built-in's), adagrad, rowwise_adagrad, ftrl "
            "and sgd turn gradients of mini-batches into updates. als (alternating least squares) "
            "and mcmc (Gibbs sampling, which learns its regularisation) need no rates. They hold "
            "all rows in memory, and train on the processors of one host."
        ),
    ] = "adam"
    interaction: Annotated[
        Interaction,
        _text(
            "Ours. How much a pair of features counts. all: each pair alike. field_weighted: what "
            "is learnt for their two fields. Fields are the columns of tables, those of "
            "text/libffm, or feature_fields."
        ),
    ] = "all"
    feature_fields: Annotated[
        tuple[FeatureNumber, ...] | None,
        _text(
            "Ours. First features of the fields, for interaction=field_weighted on numbered "
            "features; such as [0, 943] for users and items."
        ),
    ] = None
    field_weights_lr: Annotated[
        NotNegative | None,
        _text(
            "Ours. Learning rate of the weights of pairs of fields; not set means factors_lr.",
            tunable=_CONTINUOUS,
        ),
    ] = None
    field_weights_wd: Annotated[
        NotNegative,
        _text("Ours. Weight decay (L2) of the weights of pairs of fields.", tunable=_CONTINUOUS),
    ] = 0.0
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
            "binary_classification_cross_entropy of a binary_classifier, and ndcg@10 with `loss`. "
            "ndcg@10, recall@10 and map@10 are of jobs with an items channel."
        ),
    ] = None
    validation_split: Annotated[
        Fraction | None,
        _text(
            "Ours. Part of the training rows, drawn by seed, that is not trained on but scored "
            "after each epoch."
        ),
    ] = None
    artifact: Annotated[
        Artifact,
        _text(
            "Ours. What the job leaves in the model directory: ours (model.safetensors), builtin "
            "(model_algo-1, for programs that read the built-in's) or both. The built-in's holds "
            "no samples and no tables, and weights of fields as more factors.",
            shapes_model=False,
            is_of_a_job=True,
        ),
    ] = "ours"
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
        for name, annotation in annotations().items():
            given = getattr(self, name)
            try:
                values[name] = typed(given, annotation)
            except msgspec.ValidationError:
                problems.append(f"{name}={given!r} is not {describe_range(annotation)}")
            else:
                msgspec.structs.force_setattr(self, name, values[name])
        set_values = {name: value for name, value in values.items() if value is not None}
        check_all(problems + find_conflicts(set_values, problems))

    @property
    def is_field_weighted(self) -> bool:
        """Whether pairs of fields have weights."""
        return self.interaction == "field_weighted"

    @property
    def numbered_fields(self) -> FeatureSpace | None:
        """The fields that feature_fields says, by name "0", "1", …; None without it."""
        if self.feature_fields is None:
            return None
        firsts = np.union1d([0], self.feature_fields).astype(np.int64)
        return FeatureSpace.of_columns(
            [str(number) for number in range(len(firsts))], firsts, self.feature_dim
        )

    @property
    def table_columns(self) -> dict[str, Column] | None:
        """What each column is, by name; None without `columns`."""
        return None if self.columns is None else parse_columns(self.columns, self.min_count)

    @property
    def objective(self) -> Objective:
        """What training minimises: the ranking loss, if there is one."""
        return self.predictor_type if self.loss is None else self.loss


OF_RANKINGS = ("loss", "num_negatives", "negative_sampling_power")
"""Hyperparameters that need a table of all items."""

OF_TABLES = ("columns", "min_count", "keep_seen")
"""Hyperparameters that say nothing to a program that knows numbered features only."""


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


def _declared(name: str) -> dict[str, Any]:
    """Return what `_text` noted of a hyperparameter besides its description."""
    extra: dict[str, Any] = annotations()[name].__metadata__[-1].extra
    return extra


@functools.cache
def annotations() -> Mapping[str, Any]:
    """Map name to annotation, in order of declaration; looked up only once, because it is slow."""
    return {field.name: field.type for field in msgspec.structs.fields(Hyperparameters)}
