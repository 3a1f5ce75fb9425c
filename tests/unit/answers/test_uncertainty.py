import dataclasses

import numpy as np
import pytest

from fm_algo.answers.uncertainty import score_uncertainty
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.model import fm_model as model_module
from fm_algo.sparse import CSRBatch

ROWS = CSRBatch.of(np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 3]] * np.float32([[1, 2, 1, 0, 5]]).T)
BOTH = pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])


def model_of(*weights, predictor_type="regressor"):
    """A model with a sample for each weight, which all features have."""
    zeros = np.zeros((4, 1), np.float32)
    samples = tuple(
        FMModel(predictor_type, zeros[0], np.full(4, weight, np.float32), zeros)
        for weight in weights
    )
    return FMModel(predictor_type, zeros[0], zeros[:, 0], zeros, samples)


@BOTH
def test_it_is_the_spread_of_the_samples_scores(predictor_type):
    model = model_of(*np.random.default_rng(1).normal(size=20), predictor_type=predictor_type)
    scores = np.array([sample.score(ROWS) for sample in model.samples], np.float64)

    known = score_uncertainty(model, ROWS)

    for numbers, expected in (
        (known.score_std, scores.std(axis=0, ddof=1)),
        (known.low, np.quantile(scores, 0.05, axis=0)),
        (known.high, np.quantile(scores, 0.95, axis=0)),
    ):
        assert numbers.dtype == np.float32
        np.testing.assert_allclose(numbers, expected, rtol=1e-6)
    assert known.score_std[3] == 0  # an empty row: all samples say 0


def test_two_samples_are_enough():
    known = score_uncertainty(model_of(1, 3), ROWS)

    assert known.score_std[0] == pytest.approx(np.sqrt(2))
    assert (known.low[0], known.high[0]) == pytest.approx((1.1, 2.9))


@pytest.mark.parametrize("num_samples", [0, 1])
def test_fewer_are_refused_with_what_to_set(num_samples):
    with pytest.raises(
        UserError,
        match=rf"^the model holds {num_samples} posterior samples, uncertainty needs 2 or more: "
        "train it with optimizer=mcmc and posterior_samples=20, say$",
    ):
        score_uncertainty(model_of(*range(num_samples)), ROWS)


@pytest.mark.parametrize("at_once", [1, 3, 11])
def test_blocks_do_not_change_it(monkeypatch, at_once):
    model = model_of(*np.random.default_rng(1).normal(size=4))
    whole = dataclasses.astuple(score_uncertainty(model, ROWS))
    monkeypatch.setattr(model_module, "_GATHERED_NUMBERS", at_once)

    np.testing.assert_array_equal(dataclasses.astuple(score_uncertainty(model, ROWS)), whole)


def test_no_rows_have_none():
    known = score_uncertainty(model_of(1, 2), CSRBatch.empty(4, labelled=False))

    assert [len(numbers) for numbers in dataclasses.astuple(known)] == [0, 0, 0]


def test_scores_too_large_for_float32_leave_no_number():
    known = score_uncertainty(model_of(3e38, 1), ROWS)

    assert not np.isfinite(known.score_std[1])
    assert np.isfinite(known.score_std[0])
