"""Columns far from 0 count from their mean, and the model says the same of plain values."""

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.bayes.units import Units
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.trainer import train

FAR, NEAR, CONSTANT, SPARSE = range(4)


def table(num_rows=200):
    """Columns: years, a spread around 0, one value, and mostly 0."""
    random = np.random.default_rng(4)
    X = random.normal(size=(num_rows, 4)) * [3, 1, 0, 50] + [2000, 0.5, 7, 100]
    X[:, SPARSE] *= random.random(num_rows) < 0.3
    return X


def random_model(feature_dim=4, num_factors=3):
    random = np.random.default_rng(5)
    w, V = random.normal(size=feature_dim), random.normal(size=(feature_dim, num_factors))
    w0 = np.float32([0.3])
    return FMModel("regressor", w0, w.astype(np.float32), V.astype(np.float32))


def test_only_columns_that_are_in_every_row_and_far_from_0_are_moved():
    X = table()
    units = Units.of(CSRBatch.of(X))

    assert units.centers is not None
    assert np.flatnonzero(units.centers).tolist() == [FAR]
    assert units.centers[FAR] == pytest.approx(X[:, FAR].mean(), rel=1e-6)
    assert units.sizes[FAR] == pytest.approx(X[:, FAR].std(), rel=1e-3)
    assert units.sizes[CONSTANT] == 7


def test_without_a_bias_or_linear_weights_nothing_can_be_moved():
    assert Units.of(CSRBatch.of(table()), may_move=False).centers is None


def test_weights_weigh_in_the_mean():
    X = table()
    weights = np.random.default_rng(6).integers(1, 4, len(X))
    weighted = Units.of(CSRBatch.of(X, sample_weight=weights))
    copies = Units.of(CSRBatch.of(np.repeat(X, weights, axis=0)))

    assert weighted.centers == pytest.approx(copies.centers, rel=1e-6)
    assert weighted.sizes == pytest.approx(copies.sizes, rel=1e-4)


@pytest.mark.parametrize("lacking", [False, True])
def test_a_model_says_the_same_of_plain_values_and_of_values_in_units(lacking):
    X = table()
    units = Units.of(CSRBatch.of(X))
    of_units = random_model()
    if lacking:  # rows that were not trained on may lack what all those have
        X[3, FAR] = X[5] = 0
    rows = CSRBatch.of(X)
    plain = units.model(of_units)

    expected = of_units.margin(units.rows(rows))
    assert plain.margin(rows) == pytest.approx(expected, rel=1e-3, abs=0.02)
    assert np.array_equal(plain.V[SPARSE], of_units.V[SPARSE] / units.sizes[SPARSE])


def test_a_model_goes_into_units_and_back():
    units = Units.of(CSRBatch.of(table()))
    model = random_model()

    again = units.model(units.model_in_units(model))

    assert np.allclose(again.V, model.V, rtol=1e-5)
    assert again.w == pytest.approx(model.w, abs=1e-2)  # of products with 2000
    assert again.w0 == pytest.approx(model.w0, abs=2)


@pytest.mark.parametrize("place", [0, 100, 1000])
@pytest.mark.parametrize("num_features", [2, 3, 5])
@pytest.mark.parametrize("kind", ["linear", "product"])
def test_a_few_columns_far_from_0_are_learnt(place, num_features, kind):
    """Each of these ended in rounding before: of columns like the bias, or of too many factors."""
    random = np.random.default_rng(0)
    X = random.normal(place, 1, (300, num_features))
    Z = X - place
    y = Z[:, 0] * 2 - Z[:, 1] if kind == "linear" else Z[:, 0] * Z[:, 1]
    rows = CSRBatch.of(X, y + random.normal(0, 0.1, 300))
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": num_features,
            "num_factors": 64,
            "predictor_type": "regressor",
            "optimizer": "mcmc",
        }
    )
    learner = make_learner(hyperparameters)
    learner.take_rows(Rows.in_memory(rows))

    list(train(learner, hyperparameters))

    error = learner.model().margin(rows) - y
    assert learner.model().num_factors == 64
    assert np.sqrt(np.mean(error**2)) < 0.1 * y.std()
