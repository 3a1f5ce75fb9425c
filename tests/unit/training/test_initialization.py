import math

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.initialization import initial_model, start_at_mean
from fm_algo.training.rows import Rows


def model_of(**changes):
    return initial_model(
        parse_hyperparameters(
            {
                "feature_dim": 20_000,
                "num_factors": 4,
                "predictor_type": "binary_classifier",
                **changes,
            }
        )
    )


def groups_of(model):
    return {"bias": model.w0, "linear": model.w, "factors": model.V}


def test_every_feature_has_parameters():
    model = model_of()

    assert model.predictor_type == "binary_classifier"
    assert (model.w0.shape, model.w.shape, model.V.shape) == ((1,), (20_000,), (20_000, 4))
    assert all(values.dtype == np.float32 for values in groups_of(model).values())
    assert np.count_nonzero(model.w) == 20_000
    assert np.count_nonzero(model.V) == 80_000


def test_normal_is_the_default_with_the_built_ins_sigmas():
    model = model_of()

    for values, sigma in ((model.w, 0.01), (model.V, 0.001)):
        assert values.mean() == pytest.approx(0, abs=sigma / 20)
        assert values.std() == pytest.approx(sigma, rel=0.03)
    assert 0 < abs(model.w0[0]) < 0.06


@pytest.mark.parametrize("group", ["bias", "linear", "factors"])
def test_uniform_goes_from_minus_to_plus_scale(group):
    values = groups_of(model_of(**{f"{group}_init_method": "uniform", f"{group}_init_scale": 0.3}))[
        group
    ]

    assert np.abs(values).max() <= 0.3
    if values.size > 1:
        assert values.min() < -0.29
        assert values.max() > 0.29
        assert values.std() == pytest.approx(0.3 / np.sqrt(3), rel=0.03)


@pytest.mark.parametrize("group", ["bias", "linear", "factors"])
def test_constant_is_one_number(group):
    model = model_of(**{f"{group}_init_method": "constant", f"{group}_init_value": -0.25})

    assert set(groups_of(model)[group].ravel().tolist()) == {-0.25}


@pytest.mark.parametrize("group", ["bias", "linear", "factors"])
def test_a_sigma_of_0_gives_zeros(group):
    assert not groups_of(model_of(**{f"{group}_init_sigma": 0}))[group].any()


def test_a_group_switched_off_is_0():
    assert not model_of(use_bias="false").w0.any()
    assert not model_of(use_linear="false").w.any()


def test_the_seed_decides():
    model, same, other = model_of(seed=3), model_of(seed=3), model_of(seed=4)

    for group, values in groups_of(model).items():
        np.testing.assert_array_equal(values, groups_of(same)[group])
        assert not np.array_equal(values, groups_of(other)[group])


def test_one_groups_method_leaves_the_others_numbers_alone():
    plain = model_of()
    changed = model_of(linear_init_method="uniform", linear_init_scale=1, use_bias="false")

    np.testing.assert_array_equal(plain.V, changed.V)


def test_groups_do_not_share_their_numbers():
    model = model_of(num_factors=1, linear_init_sigma=0.001)

    assert abs(np.corrcoef(model.w, model.V[:, 0])[0, 1]) < 0.03


def started_at_mean(labels, weights=None, **changes):
    """The bias of a model that starts at the mean of labels."""
    chosen = {"feature_dim": 2, "num_factors": 1, "bias_init_method": "mean", **changes}
    hyperparameters = parse_hyperparameters(chosen)
    model = initial_model(hyperparameters)
    rows = CSRBatch.of(np.ones((len(labels), 2)), labels, sample_weight=weights)
    start_at_mean(model, hyperparameters, Rows.in_memory(rows))
    return float(model.w0[0])


@pytest.mark.parametrize(
    ("predictor_type", "labels", "bias"),
    [
        ("regressor", [20, 24, 31], 25),
        ("binary_classifier", [1, 0, 0, 0], math.log(1 / 3)),
        ("binary_classifier", [1, 1, 1], math.log(3 / 0.5)),
        ("binary_classifier", [0, 0, 0], math.log(0.5 / 3)),
        ("regressor", [], 0),
    ],
)
def test_mean_starts_the_bias_where_the_labels_are(predictor_type, labels, bias):
    assert started_at_mean(labels, predictor_type=predictor_type) == pytest.approx(bias)


def test_the_mean_is_that_of_weighted_labels():
    assert started_at_mean([20, 26], [2, 1], predictor_type="regressor") == pytest.approx(22)
    classes = {"predictor_type": "binary_classifier", "positive_weight": 4}
    assert started_at_mean([1, 0, 0], [1, 2, 2], **classes) == pytest.approx(0)


def test_a_bias_that_is_off_does_not_start_at_the_mean():
    assert started_at_mean([3, 4], predictor_type="regressor", use_bias="false") == 0


def test_another_method_does_not_start_at_the_mean():
    changes = {"bias_init_method": "constant", "bias_init_value": "-2"}

    assert started_at_mean([3, 4], predictor_type="regressor", **changes) == -2
