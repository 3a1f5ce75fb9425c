"""The parameters of an estimator's constructor, drawn from `fm_algo.hyperparameters`.

They keep SageMaker's names, and its defaults but for a few: an estimator without any arguments
should learn a good model. Of labels it learns by mcmc, which needs no rates and no decay, where
Adam with the defaults of the built-in needs tuning. `num_factors`, which has no default there, is
64: mcmc's time hardly depends on it. docs/quality.md has the figures.

None stands for a default that depends on the optimizer, such as that of `epochs`.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from fm_algo.data.tables.columns import MIN_COUNT
from fm_algo.errors import UserError
from fm_algo.hyperparameters import (
    OF_RANKINGS,
    OF_TABLES,
    Hyperparameters,
    describe_range,
    has_own_default,
    is_of_a_job,
    parse_hyperparameters,
)
from fm_algo.model import FMModel, PredictorType

_C = TypeVar("_C", bound=type)
_F = TypeVar("_F", bound=Callable[..., None])


class _Own(NamedTuple):
    default: object
    allowed: str
    meaning: str


class Parameters:
    """The parameters of a kind of estimator.

    Parameters
    ----------
    without : collection of str
        Hyperparameters that are none: the rows and the class give them, or have no use for them.
    defaults : mapping of str to object
        Defaults that are not those of a job.
    own : mapping of str to _Own
        Parameters that are no hyperparameters of a training on rows of features.
    """

    def __init__(
        self, without: Collection[str], defaults: Mapping[str, object], own: Mapping[str, _Own]
    ) -> None:
        self._fields = {
            field.name: field
            for field in msgspec.structs.fields(Hyperparameters)
            if field.name not in without and not is_of_a_job(field.name)
        }
        self._own = own
        self._defaults: dict[str, object] = {
            **{
                name: defaults.get(name, None if has_own_default(name) else field.default)
                for name, field in self._fields.items()
            },
            **{name: each.default for name, each in own.items()},
        }
        this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in self._defaults.items()
        ]
        self._signature = inspect.Signature([this, *named])

    def taken(self, init: _F) -> _F:
        """Give a constructor the signature in which scikit-learn and notebooks look for names."""
        init.__signature__ = self._signature  # type: ignore[attr-defined]
        return init

    def complete(self, parameters: Mapping[str, object]) -> dict[str, object]:
        """Add the defaults to the parameters that a constructor was given.

        Raises
        ------
        TypeError
            If a name is unknown.
        """
        bound = self._signature.bind(None, **parameters)
        bound.apply_defaults()
        return {name: value for name, value in bound.arguments.items() if name != "self"}

    def documented(self, cls: _C) -> _C:
        """Write the parameters into a class's docstring, before its section Attributes."""
        lines = ["Parameters", "    ----------"]
        for name, field in self._fields.items():
            text = msgspec.inspect.type_info(field.type)
            if isinstance(text, msgspec.inspect.Metadata):
                lines += _entry(
                    f"{name} : {describe_range(field.type)}",
                    self._defaults[name],
                    (text.extra_json_schema or {})["description"],
                )
        for name, own in self._own.items():
            lines += _entry(f"{name} : {own.allowed}", own.default, own.meaning)
        parameters = "\n".join([*lines, "", "    Attributes\n    ----------"])
        cls.__doc__ = (cls.__doc__ or "").replace("Attributes\n    ----------", parameters, 1)
        return cls

    def hyperparameters(
        self, parameters: Mapping[str, Any], feature_dim: int, predictor_type: PredictorType
    ) -> Hyperparameters:
        """Return the hyperparameters of a training, checked as those of a job are.

        Parameters
        ----------
        parameters : mapping of str to object
            Those of an estimator; None means not set.
        feature_dim : int
            The rows'.
        predictor_type : {"regressor", "binary_classifier"}

        Raises
        ------
        UserError
            Lists every problem at once.
        """
        chosen = {name: _plain(parameters[name]) for name in self._fields}
        shape = {"feature_dim": feature_dim, "predictor_type": predictor_type}
        given = {name: value for name, value in chosen.items() if value is not None}
        return parse_hyperparameters(given | shape)

    def of_model(self, described: Mapping[str, object], model: FMModel) -> dict[str, object]:
        """Return the parameters of an estimator whose model an artifact describes.

        Parameters
        ----------
        described : mapping of str to object
            Hyperparameters as the artifact has them. If they are none of this release's, only the
            model's shape is used: a model can be used whatever is written beside it.
        model : FMModel
        """
        known = {name: value for name, value in described.items() if name in self._fields}
        of_tables = {name: described[name] for name in OF_TABLES if name in described}
        shape = {
            "feature_dim": model.feature_dim,
            "num_factors": model.num_factors,
            "predictor_type": model.predictor_type,
        }
        try:
            read = parse_hyperparameters(known | shape)
        except UserError:
            return {"num_factors": model.num_factors} | of_tables
        return {name: getattr(read, name) for name in self._fields} | of_tables


def _entry(head: str, default: object, meaning: str) -> list[str]:
    shown = "not set" if default is None else default
    return [f"    {head}; default: {shown}", f"        {meaning}"]


def _plain(value: object) -> object:
    """Turn a sequence of NumPy's or Python's into a list, as JSON has it."""
    return np.asarray(value).tolist() if isinstance(value, np.ndarray | tuple | list) else value


_GIVEN = ("feature_dim", "predictor_type")

_OF_LABELS: dict[str, _Own] = {
    "columns": _Own(
        None,
        "a dict by name",
        "What each column of a data frame is. X is then a table, not a matrix: docs/tables.md.",
    ),
    "min_count": _Own(
        MIN_COUNT,
        "a whole number >= 1",
        "How often a value of a category or set must occur to have a feature of its own, where "
        "`columns` does not say it.",
    ),
    "keep_seen": _Own(
        False,
        "true or false",
        "Whether to keep which items each user has in the training rows, so that `recommend` can "
        "leave them out.",
    ),
    "warm_start": _Own(
        False, "true or false", "Whether `fit` starts from the model of the last `fit`."
    ),
    "verbose": _Own(
        False, "true or false", "Whether `fit` shows a progress bar, on standard error."
    ),
}

OF_LABELS = Parameters(
    without=(*_GIVEN, *OF_RANKINGS),
    defaults={"num_factors": 64, "optimizer": "mcmc"},
    own=_OF_LABELS,
)
"""Of the regressor and the classifier."""

OF_RANKER = Parameters(
    without=(
        *_GIVEN,
        *("feature_fields", "feature_groups", "posterior_samples", "positive_weight"),
        *("validation_split", "use_bias"),
        *(field for field in Hyperparameters.__struct_fields__ if field.startswith("bias_")),
    ),
    defaults={
        **{field.name: field.default for field in msgspec.structs.fields(Hyperparameters)},
        "loss": "warp",
        "optimizer": "rowwise_adagrad",
        "num_factors": 64,
        "epochs": 30,
        "mini_batch_size": 250,
        "linear_lr": 0.03,
        "factors_lr": 0.03,
        "factors_init_sigma": 0.01,
    },
    own={
        "user": _Own("user", "a text", "The column of users."),
        "item": _Own("item", "a text", "The column of items."),
        **_OF_LABELS,
        "columns": _Own(
            None,
            "a dict by name",
            "What the other columns are, those of the tables of users and items included; of the "
            "users and items, if they are no categories: docs/tables.md.",
        ),
        "keep_seen": _OF_LABELS["keep_seen"]._replace(default=True),
    },
)
"""Of the ranker: without what a comparison of two items of one user has no use for."""
