import dataclasses

import numpy as np
import pytest

from fm_algo.errors import UserError
from fm_algo.loss import sigmoid
from fm_algo.model import FMModel
from fm_algo.model import fm_model as model_module
from fm_algo.sparse import CSRBatch


def random_model(predictor_type="regressor", feature_dim=6, num_factors=3):
    random = np.random.default_rng(3)
    return FMModel(
        predictor_type,
        np.array([0.5], np.float32),
        random.normal(size=feature_dim).astype(np.float32),
        random.normal(size=(feature_dim, num_factors)).astype(np.float32),
    )


def sparse(dense):
    """The rows of a matrix, zeros not stored."""
    dense = np.asarray(dense, np.float32)
    rows, columns = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(len(dense) + 1)).astype(np.int64)
    return CSRBatch(indptr, columns.astype(np.int32), dense[rows, columns], None, dense.shape[1])


def random_rows(num_rows=20):
    random = np.random.default_rng(4)
    rows = random.normal(size=(num_rows, 6)) * (random.random((num_rows, 6)) < 0.5)
    rows[[0, num_rows // 2, num_rows - 1]] = 0
    return rows.astype(np.float32)


def margin_by_definition(model, row):
    """The double sum over pairs of features, as the definition has it."""
    margin = float(model.w0[0]) + float(model.w @ row)
    for i in range(len(row)):
        for j in range(i + 1, len(row)):
            margin += float(model.V[i] @ model.V[j]) * float(row[i]) * float(row[j])
    return margin


def test_the_margin_is_the_double_sum():
    model, rows = random_model(), random_rows()
    expected = [margin_by_definition(model, row) for row in rows]

    np.testing.assert_allclose(model.margin(sparse(rows)), expected, rtol=1e-5, atol=1e-5)


def test_the_margin_of_an_empty_row_is_the_bias():
    assert random_model().margin(sparse(np.zeros((2, 6)))).tolist() == [0.5, 0.5]


def test_no_rows_have_no_margins():
    margin = random_model().margin(CSRBatch.empty(6, labelled=False))

    assert margin.shape == (0,)
    assert margin.dtype == np.float32


@pytest.mark.parametrize("at_once", [1, 3, 10, 20])
def test_blocks_do_not_change_the_margins(monkeypatch, at_once):
    model, rows = random_model(), sparse(random_rows())
    whole = model.margin(rows)
    monkeypatch.setattr(model_module, "_GATHERED_NUMBERS", at_once)

    assert model.margin(rows).tolist() == whole.tolist()


def test_rows_of_another_width_are_refused():
    with pytest.raises(UserError, match="feature_dim 5"):
        random_model().score(sparse(np.ones((1, 5))))


def test_a_regressor_scores_with_the_margin():
    model, rows = random_model(), sparse(random_rows())

    assert model.score(rows).tolist() == model.margin(rows).tolist()
    assert model.predicted_label(model.score(rows)) is None


def test_a_classifier_scores_with_the_probability():
    model, rows = random_model("binary_classifier"), sparse(random_rows())
    expected = 1 / (1 + np.exp(-model.margin(rows).astype(np.float64)))

    np.testing.assert_allclose(model.score(rows), expected, rtol=1e-6)
    assert model.score(rows).dtype == np.float32


def test_a_score_of_one_half_is_label_1():
    score = np.array([0, np.nextafter(np.float32(0.5), np.float32(0)), 0.5, 1], np.float32)
    label = random_model("binary_classifier").predicted_label(score)

    assert label.tolist() == [0, 0, 1, 1]
    assert label.dtype == np.float32


def test_the_sigmoid_does_not_overflow():
    margin = np.array([-np.inf, -1e30, -50, 0, 50, 1e30, np.inf], np.float32)
    score = sigmoid(margin)

    np.testing.assert_allclose(score, [0, 0, np.exp(-50.0), 0.5, 1, 1, 1], rtol=1e-6)
    assert score.dtype == np.float32


def with_samples(predictor_type="regressor", num_samples=5, num_factors=2):
    """A model beside samples of another width that differ from it and from one another."""
    model, random = random_model(predictor_type), np.random.default_rng(8)
    samples = tuple(
        FMModel(
            predictor_type,
            *(
                random.normal(size=shape).astype(np.float32)
                for shape in (1, model.feature_dim, (model.feature_dim, num_factors))
            ),
        )
        for _ in range(num_samples)
    )
    return dataclasses.replace(model, samples=samples)


BOTH = pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])


@BOTH
@pytest.mark.parametrize("num_samples", [1, 5])
def test_a_score_is_the_mean_of_the_samples_scores(predictor_type, num_samples):
    model, rows = with_samples(predictor_type, num_samples), sparse(random_rows())
    scores = [sample.score(rows).astype(np.float64) for sample in model.samples]

    score = model.score(rows)

    assert score.dtype == np.float32
    np.testing.assert_allclose(score, np.mean(scores, axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model.link(model.margin(rows)), score)


@pytest.mark.parametrize("at_once", [1, 3, 10, 70])
def test_blocks_do_not_change_the_margins_of_samples(monkeypatch, at_once):
    model, rows = with_samples(), sparse(random_rows())
    whole = model.margin(rows)
    monkeypatch.setattr(model_module, "_GATHERED_NUMBERS", at_once)

    assert model.margin(rows).tolist() == whole.tolist()


def test_no_more_margins_of_samples_are_held_at_once_than_is_said(monkeypatch):
    model, rows = with_samples(), sparse(np.zeros((40, 6)))
    monkeypatch.setattr(model_module, "_GATHERED_NUMBERS", 20)

    blocks = [(rows, margins.shape) for rows, margins in model.sample_margins(rows)]

    assert blocks == [(slice(start, start + 4), (4, 5)) for start in range(0, 40, 4)]


def test_a_model_with_samples_scores_no_rows_and_refuses_others():
    model = with_samples()

    assert model.margin(CSRBatch.empty(6, labelled=False)).shape == (0,)
    with pytest.raises(UserError, match="feature_dim 5"):
        model.score(sparse(np.ones((1, 5))))


def test_margins_of_samples_that_cancel_each_other_are_summed_before_they_are_rounded():
    zeros = np.zeros((1, 1), np.float32)
    samples = tuple(
        FMModel("regressor", zeros[0], np.array([weight], np.float32), zeros)
        for weight in (3e38, -3e38)
    )
    model = FMModel("regressor", zeros[0], zeros[0], zeros, samples)

    assert model.margin(sparse([[10.0]])).tolist() == [0]


def test_a_model_knows_its_shape():
    model = random_model(feature_dim=6, num_factors=3)

    assert (model.feature_dim, model.num_factors) == (6, 3)


def test_a_copy_has_arrays_of_its_own():
    model = with_samples()
    strided = dataclasses.replace(model, V=np.asfortranarray(model.V))
    copy = strided.copy()
    rows = sparse(random_rows())

    assert np.array_equal(copy.score(rows), model.score(rows))
    for mine, theirs in zip([copy, *copy.samples], [strided, *strided.samples], strict=True):
        for name in ("w0", "w", "V"):
            array = getattr(mine, name)
            assert np.array_equal(array, getattr(theirs, name))
            assert array.flags.owndata
            assert array.flags.c_contiguous
            assert not np.shares_memory(array, getattr(theirs, name))
