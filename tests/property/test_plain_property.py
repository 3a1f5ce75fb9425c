"""The ordinary machine of a field-weighted one has its margins."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.errors import UserError
from fm_algo.model import FieldWeights, FMModel, plain
from fm_algo.model.plain import as_plain
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace

FEATURES_PER_FIELD = 3


@st.composite
def models(draw, has_sets=False):
    """Draw a model of which each field has one feature per row, but for sets."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    num_fields, num_factors = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    R = draw(st.sampled_from([0.0, 1.0])) + rng.normal(size=(num_fields, num_fields))
    R = draw(st.sampled_from([0.0, 0.01, 1.0])) * (R + R.T)
    np.fill_diagonal(R, 1)
    if has_sets:
        sets = rng.permutation(num_fields)[: draw(st.integers(1, num_fields))]
        R[sets, sets] = draw(st.sampled_from([8.0, 0.5, -0.5])) + rng.normal(size=len(sets)) / 8
    feature_dim = num_fields * FEATURES_PER_FIELD
    fields = rng.permutation(np.repeat(np.arange(num_fields), FEATURES_PER_FIELD))
    names = [f"field {number}" for number in range(num_fields)]
    return FMModel(
        "regressor",
        rng.normal(size=1).astype(np.float32),
        rng.normal(size=feature_dim).astype(np.float32),
        rng.normal(size=(feature_dim, num_factors)).astype(np.float32),
        field_weights=FieldWeights(
            R.astype(np.float32), FeatureSpace.of_map(names, fields.astype(np.int32))
        ),
    )


def rows_of(model, seed, num_rows=20):
    """Return rows that have one feature of some fields, and several of sets."""
    rng = np.random.default_rng(seed)
    field_of, R = model.field_weights.space.field_map(), model.field_weights.R
    rows = []
    for _ in range(num_rows):
        row = []
        for field, own in enumerate(R.diagonal()):
            most = 1 if own == 1 else FEATURES_PER_FIELD
            row += rng.permutation(np.flatnonzero(field_of == field))[
                : rng.integers(0, most + 1)
            ].tolist()
        rows.append(row)
    lengths = [len(row) for row in rows]
    return CSRBatch(
        np.cumsum([0, *lengths]),
        np.array([*itertools.chain(*rows)], np.int32),
        rng.normal(size=sum(lengths)).astype(np.float32),
        None,
        model.feature_dim,
    )


def pair_weights(model):
    """Return what the ordinary machine makes of r_fg, by features whose factors say it."""
    made, _ = as_plain(model)
    R = np.full(model.field_weights.R.shape, np.nan)
    fields = model.field_weights.space.field_map()
    V, wide = model.V.astype(np.float64), made.V.astype(np.float64)
    for i, j in np.ndindex(len(V), len(V)):
        if i != j and abs(V[i] @ V[j]) > 0.1:
            R[fields[i], fields[j]] = (wide[i] @ wide[j]) / (V[i] @ V[j])
    return R


@given(models(), st.integers(0, 1000))
def test_margins_are_the_same_where_a_field_has_one_feature_per_row(model, seed):
    made, difference = as_plain(model)
    rows = rows_of(model, seed)

    size = 1 + np.abs(model.field_weights.R).max() * np.abs(rows.values).max(initial=0) ** 2
    np.testing.assert_allclose(made.margin(rows), model.margin(rows), rtol=1e-5, atol=1e-5 * size)
    assert made.field_weights is None
    assert made.predictor_type == model.predictor_type
    assert made.num_factors <= max(1, len(model.field_weights.R) - 1) * model.num_factors
    assert difference.error <= 2e-6 * np.abs(model.field_weights.R).max()


@given(models(has_sets=True), st.integers(0, 1000))
def test_pairs_within_sets_count_as_they_did_or_the_error_is_told(model, seed):
    made, difference = as_plain(model)
    rows = rows_of(model, seed)

    R, wide = model.field_weights.R, pair_weights(model)
    is_known = ~np.isnan(wide) & ~np.diag(R.diagonal() == 1)
    errors = np.abs(wide - R)[is_known]
    assert errors.max(initial=0) <= difference.error + 1e-4 * np.abs(R).max()
    of_sets = R[np.ix_(R.diagonal() != 1, R.diagonal() != 1)]
    if np.linalg.eigvalsh(of_sets)[0] > len(R) * np.abs(R).max() / 64:  # nothing in the way
        assert difference.error <= 2e-6 * np.abs(R).max()
        size = 1 + np.abs(R).max() * np.abs(rows.values).sum() ** 2
        np.testing.assert_allclose(
            made.margin(rows), model.margin(rows), rtol=1e-5, atol=1e-5 * size
        )


@given(models(has_sets=True), st.integers(1, 4))
def test_fewer_factors_are_no_more_than_asked_for_and_the_error_is_told(model, dimensions):
    full, _ = as_plain(model)
    made, difference = as_plain(model, max_factors=(dimensions + 1) * model.num_factors - 1)

    assert made.num_factors == min(full.num_factors, dimensions * model.num_factors)
    np.testing.assert_array_equal(made.V, full.V[:, : made.num_factors])
    names, R = model.field_weights.space.fields, model.field_weights.R
    first, second = map(names.index, difference.fields)
    fields, wide = model.field_weights.space.field_map(), made.V.astype(np.float64)
    if difference.error == 0:
        return
    i = int(np.flatnonzero(fields == first)[0])
    j = int(np.flatnonzero(fields == second)[-1])
    expected = (R[first, second] + difference.error * np.array([-1, 1])) * (model.V[i] @ model.V[j])
    np.testing.assert_allclose(np.abs(expected - wide[i] @ wide[j]).min(), 0, atol=1e-4)


@given(models(), st.integers(0, 1000), st.data())
def test_fields_that_do_not_matter_take_no_factors(model, seed, data):
    num_fields = len(model.field_weights.R)
    among = data.draw(st.lists(st.integers(0, num_fields - 1), min_size=1, max_size=2, unique=True))
    made, _ = as_plain(model, among=among)

    is_among = np.isin(model.field_weights.space.field_map(), among)
    assert made.num_factors == model.num_factors
    assert not made.V[~is_among].any()
    rows = rows_of(model, seed)
    values = np.where(is_among[rows.indices], rows.values, 0).astype(np.float32)
    rows = CSRBatch(rows.indptr, rows.indices, values, None, rows.feature_dim)
    size = 1 + np.abs(model.field_weights.R).max() * np.abs(values).max(initial=0) ** 2
    np.testing.assert_allclose(made.margin(rows), model.margin(rows), rtol=1e-5, atol=1e-5 * size)


def plain_example(R):
    R = np.array(R, np.float32)
    space = FeatureSpace.of_map(("user", "item", "tags")[: len(R)], np.arange(len(R), dtype="i4"))
    weights = FieldWeights(R, space)
    zeros, V = np.zeros(len(R), np.float32), np.ones((len(R), 2), np.float32)
    return FMModel("regressor", zeros[:1], zeros, V, field_weights=weights)


def test_weights_of_one_take_no_more_factors():
    made, difference = as_plain(plain_example(np.ones((3, 3))))

    np.testing.assert_allclose(np.abs(made.V), 1, rtol=1e-6)
    assert made.V.shape == (3, 2)
    assert difference.error < 1e-6


def test_an_ordinary_machine_stays_what_it_is():
    model = FMModel("regressor", *(np.ones(shape, np.float32) for shape in (1, 2, (2, 3))))

    assert as_plain(model) == (model, None)


def test_a_set_whose_pairs_count_against_each_other_cannot_be_had():
    _, difference = as_plain(plain_example([[1, 2, 3], [2, 1, 1], [3, 1, -0.5]]))

    assert difference.fields == ("tags", "tags")
    np.testing.assert_allclose(difference.error, 0.5 + 3 / 64)


def test_sets_that_count_nearly_alike_stay_as_they_are():
    # As after a little training: nearly singular, but what that would move hardly counts.
    R = np.array([[1, 1.002, 1.003], [1.002, 1.004, 1.0041], [1.003, 1.0041, 1.0043]])
    _, difference = as_plain(plain_example(R))

    assert difference.error < 2e-6


def test_blocks_of_features_make_no_difference(monkeypatch):
    model = plain_example([[1, 2, 3], [2, 1, -1], [3, -1, 7]])
    whole, _ = as_plain(model)
    monkeypatch.setattr(plain, "_NUMBERS_AT_ONCE", 1)

    np.testing.assert_array_equal(as_plain(model)[0].V, whole.V)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="1 factors, allowed are 2, as the model has, or more"):
        as_plain(plain_example(np.ones((3, 3))), max_factors=1)
    with pytest.raises(UserError, match="not all finite"):
        as_plain(plain_example(np.full((3, 3), np.nan)))
