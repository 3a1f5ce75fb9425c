"""Margins with weights of fields are those that the sum over pairs says."""

import itertools

import numpy as np
import pytest

from fm_algo.errors import UserError
from fm_algo.model import FieldWeights, FMModel, fm_model
from fm_algo.model.field_weights import MAX_FIELDS, check_num_fields
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace

FEATURE_DIM, NUM_FACTORS, NUM_FIELDS = 12, 3, 4


def random_model(seed=0, *, weights=True):
    random = np.random.default_rng(seed)
    R = random.normal(size=(NUM_FIELDS, NUM_FIELDS))
    space = FeatureSpace.of_map(
        ("a", "b", "c", "d"), random.integers(0, NUM_FIELDS, FEATURE_DIM).astype(np.int32)
    )
    return FMModel(
        "regressor",
        np.array([0.5], np.float32),
        random.normal(size=FEATURE_DIM).astype(np.float32),
        random.normal(size=(FEATURE_DIM, NUM_FACTORS)).astype(np.float32),
        field_weights=FieldWeights((R + R.T).astype(np.float32), space) if weights else None,
    )


def random_rows(seed, num_rows):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 7, num_rows)
    chosen = [random.permutation(FEATURE_DIM)[:length] for length in lengths]  # not in order
    return CSRBatch(
        np.append(0, np.cumsum(lengths)),
        np.concatenate([*chosen, np.empty(0)]).astype(np.int32),
        random.normal(size=lengths.sum()).astype(np.float32),
        None,
        FEATURE_DIM,
    )


def margin_by_pairs(model, row):
    fields = model.field_weights.space.field_map()
    entries = list(zip(row.indices.tolist(), row.values.astype(np.float64), strict=True))
    margin = float(model.w0[0]) + sum(float(model.w[i]) * x for i, x in entries)
    V = model.V.astype(np.float64)
    for (i, x), (j, y) in itertools.combinations(entries, 2):
        margin += float(model.field_weights.R[fields[i], fields[j]]) * (V[i] @ V[j]) * x * y
    return margin


@pytest.mark.parametrize("at_once", [1 << 17, 8, 1])
def test_a_margin_is_the_weighted_sum_over_pairs(monkeypatch, at_once):
    monkeypatch.setattr(fm_model, "_GATHERED_NUMBERS", at_once)
    model, rows = random_model(), random_rows(1, 50)

    expected = [margin_by_pairs(model, rows.rows(n, n + 1)) for n in range(50)]
    np.testing.assert_allclose(model.margin(rows), expected, rtol=1e-6, atol=1e-6)
    alone = [model.margin(rows.rows(n, n + 1))[0] for n in range(50)]
    np.testing.assert_array_equal(model.margin(rows), alone)


@pytest.mark.parametrize("num_factors", [1, 64, 100])
def test_a_row_scores_the_same_alone_where_each_of_its_fields_has_one_feature(num_factors):
    random, num_fields = np.random.default_rng(3), 10
    R = random.normal(size=(num_fields, num_fields)).astype(np.float32)
    space = FeatureSpace.of_map([*map(str, range(10))], np.arange(10, dtype=np.int32))
    model = FMModel(
        "regressor",
        *(random.normal(size=size).astype(np.float32) for size in (1, 10, (10, num_factors))),
        field_weights=FieldWeights(R + R.T, space),
    )
    lengths = random.integers(1, num_fields + 1, 300)
    rows = CSRBatch(
        np.cumsum([0, *lengths]),
        np.concatenate([np.arange(length) for length in lengths]).astype(np.int32),
        random.normal(size=lengths.sum()).astype(np.float32),
        None,
        num_fields,
    )

    alone = [model.margin(rows.rows(n, n + 1))[0] for n in range(300)]
    np.testing.assert_array_equal(model.margin(rows), alone)


def test_weights_of_one_make_an_ordinary_factorization_machine():
    model, rows = random_model(), random_rows(2, 20)
    plain = FMModel("regressor", model.w0, model.w, model.V)
    ones = FMModel(
        "regressor", model.w0, model.w, model.V,
        field_weights=FieldWeights.of_ones(model.field_weights.space),
    )  # fmt: skip

    np.testing.assert_allclose(ones.margin(rows), plain.margin(rows), rtol=1e-6, atol=1e-6)


def test_no_rows_have_no_margins():
    assert random_model().margin(random_rows(0, 0)).shape == (0,)


def test_a_copy_has_weights_of_its_own():
    model = random_model()
    copy = model.copy()
    copy.field_weights.R[:] = 0

    assert model.field_weights.R.all()


def test_too_many_fields_are_told():
    check_num_fields(MAX_FIELDS)
    with pytest.raises(UserError, match="513 fields, allowed are up to 512"):
        check_num_fields(MAX_FIELDS + 1)
