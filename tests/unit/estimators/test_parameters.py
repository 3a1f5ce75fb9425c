"""The constructor's parameters are the hyperparameters, as they are declared."""

import inspect
import re

import msgspec
import numpy as np
import pytest
from sklearn.base import clone

from fm_algo import FMClassifier, FMRegressor
from fm_algo.data.tables.columns import MIN_COUNT
from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters

OF_A_JOB = {
    "artifact",
    "batch_metrics_publish_interval",
    "checkpoint_interval",
    "checkpoint_keep",
    "columns",
    "keep_seen",
    "memory_budget_mb",
    "min_count",
    "report",
    "tensorboard",
}
OF_RANKINGS = {"loss", "num_negatives", "negative_sampling_power"}
FROM_ELSEWHERE = {"feature_dim", "predictor_type"} | OF_RANKINGS
OF_TABLES = {"columns": None, "min_count": MIN_COUNT, "keep_seen": False}
OURS = {"warm_start": False, "verbose": False} | OF_TABLES
OTHER_DEFAULTS = {"num_factors": 64, "optimizer": "mcmc"}
BY_OPTIMIZER = {
    "epochs", "linear_wd", "factors_wd",
    "bias_init_sigma", "linear_init_sigma", "factors_init_sigma",
}  # fmt: skip


@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
def test_the_signature_is_the_declaration(kind):
    parameters = dict(inspect.signature(kind).parameters)
    declared = {field.name: field for field in msgspec.structs.fields(Hyperparameters)}

    assert set(parameters) == set(declared) - OF_A_JOB - FROM_ELSEWHERE | set(OURS)
    assert list(kind().get_params()) == sorted(parameters)
    for name, parameter in parameters.items():
        expected = (OURS | OTHER_DEFAULTS).get(name, name in declared and declared[name].default)
        assert parameter.default == (None if name in BY_OPTIMIZER else expected), name
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
def test_the_docstring_tells_of_every_parameter(kind):
    told = re.findall(r"^    (\w+) : .+; default: .+$", kind.__doc__, re.MULTILINE)

    assert told == list(inspect.signature(kind).parameters)
    assert kind.__doc__.index("    Parameters\n    -----") < kind.__doc__.index("Attributes\n")


def test_a_name_that_is_none_is_refused_at_once():
    with pytest.raises(TypeError, match="num_factor"):
        FMRegressor(num_factor=3)


def test_a_copy_has_the_same_parameters_and_shows_those_that_were_set():
    estimator = FMRegressor(num_factors=3, feature_groups=[0, 2], epochs=4)

    assert clone(estimator).get_params() == estimator.get_params()
    shown = re.sub(r"\s+", " ", repr(estimator))
    assert shown == "FMRegressor(epochs=4, feature_groups=[0, 2], num_factors=3)"


def test_all_problems_are_told_at_once_when_training_begins(ratings):
    estimator = FMRegressor(num_factors=-3, epochs=1.5, seed="x")

    with pytest.raises(UserError, match="3 problems in the hyperparameters") as caught:
        estimator.fit(ratings.X, ratings.y)

    for name in ("num_factors", "epochs", "seed"):
        assert f"{name}=" in caught.value.message


@pytest.mark.parametrize("groups", [[0, 40], (0, 40), np.array([0, 40])])
def test_values_may_be_those_of_numpy(groups, ratings):
    estimator = FMRegressor(
        feature_groups=groups, epochs=np.int64(3), linear_wd=np.float32(0.5), use_bias=np.True_
    )

    estimator.fit(ratings.X, ratings.y)

    assert estimator.n_iter_ == 3
    assert estimator.hyperparameters_["feature_groups"] == (0, 40)
    assert estimator.hyperparameters_["linear_wd"] == 0.5


def test_what_is_not_set_is_the_optimizers_default(ratings):
    by_gradients = FMRegressor(optimizer="adam").fit(ratings.X, ratings.y)
    by_sweeps = FMRegressor(optimizer="als").fit(ratings.X, ratings.y)

    assert (by_gradients.n_iter_, by_sweeps.n_iter_) == (1, 10)
    assert by_gradients.hyperparameters_["linear_wd"] == 0.001
    assert by_sweeps.hyperparameters_["linear_wd"] == 2
