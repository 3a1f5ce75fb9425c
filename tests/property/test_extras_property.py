"""Explanations and recommendations against the model scoring rows one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.answers import catalogue, recommend
from fm_algo.answers.explain import explain
from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace

FEATURE_DIM = 12


@st.composite
def models(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    num_factors = draw(st.integers(1, 5))
    V = rng.normal(size=(FEATURE_DIM, num_factors)).astype(np.float32)
    w = rng.normal(size=FEATURE_DIM).astype(np.float32)
    if draw(st.booleans()):  # many features that are alike
        kinds = rng.integers(0, 2, FEATURE_DIM)
        V, w = V[kinds], w[kinds]
    bias = rng.normal(size=1).astype(np.float32)
    weights = None
    if draw(st.booleans()):
        num_fields = draw(st.integers(1, 4))
        R = rng.normal(size=(num_fields, num_fields)).astype(np.float32)
        fields = rng.integers(0, num_fields, FEATURE_DIM).astype(np.int32)
        names = [f"field {number}" for number in range(num_fields)]
        weights = FieldWeights(R + R.T, FeatureSpace.of_map(names, fields))
    return FMModel("regressor", bias, w, V, field_weights=weights)


def weight_of(model, i, j):
    """Return the names of the fields of two features, and how much they count."""
    if model.field_weights is None:
        return None, 1
    space = model.field_weights.space
    f, g = space.field_of(np.array([i, j], np.int32)).tolist()
    return (space.fields[f], space.fields[g]), float(model.field_weights.R[f, g])


rows = st.dictionaries(
    st.integers(0, FEATURE_DIM - 1), st.sampled_from([0.0, 1.0, 1.0, -2.0, 0.5, 3.25]), max_size=8
)


def batch_of(rows):
    return CSRBatch(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([feature for row in rows for feature in row], np.int32),
        np.array([value for row in rows for value in row.values()], np.float32),
        None,
        FEATURE_DIM,
    )


@given(models(), rows, st.integers(0, 40))
def test_the_parts_of_a_margin_are_the_terms_of_the_double_sum(model, row, max_parts):
    batch = batch_of([row])
    told = explain(model, batch.indices, batch.values, max_parts=max_parts)

    x = {feature: float(value) for feature, value in row.items() if value}
    linear = {i: float(model.w[i]) * x[i] for i in x}
    V = model.V.astype(np.float64)
    pairwise = {
        (i, j): weight_of(model, i, j)[1] * float(V[i] @ V[j]) * x[i] * x[j]
        for i in x
        for j in x
        if i < j
    }
    if model.field_weights is None:
        assert told.fields is told.weights is None
    else:
        found = [*zip(told.fields, told.weights.tolist(), strict=True)]
        assert found == [weight_of(model, i, j) for i, j in told.pairs.tolist()]
    assert len(told.linear) == min(max_parts, len(linear))
    assert len(told.pairwise) == min(max_parts, len(pairwise))
    for feature, part in zip(told.features.tolist(), told.linear, strict=True):
        np.testing.assert_allclose(part, linear[feature])
    for pair, part in zip(told.pairs.tolist(), told.pairwise, strict=True):
        np.testing.assert_allclose(part, pairwise[tuple(pair)], atol=1e-12)
    for parts, all_of_them in ((told.linear, linear), (told.pairwise, pairwise)):
        largest = sorted(map(abs, all_of_them.values()), reverse=True)[:max_parts]
        np.testing.assert_allclose(np.abs(parts), largest, atol=1e-12)
    total = told.bias + told.linear.sum() + told.pairwise.sum()
    total += told.rest_linear + told.rest_pairwise
    np.testing.assert_allclose(total, told.margin, atol=1e-9)
    np.testing.assert_allclose(told.margin, model.margin(batch)[0], rtol=1e-5, atol=1e-5)


@given(models(), rows, st.data())
def test_recommendations_are_the_best_of_all_candidates(model, row, data):
    first = data.draw(st.integers(0, FEATURE_DIM - 1))
    last = data.draw(st.integers(first, FEATURE_DIM - 1))
    top_k = data.draw(st.integers(1, FEATURE_DIM + 2))
    context = batch_of([row])
    best, margin = recommend.top_features(
        model,
        context.indices,
        context.values,
        first=first,
        last=last,
        top_k=top_k,
    )

    candidates = range(first, last + 1)
    every = model.margin(batch_of([row | {candidate: 1.0} for candidate in candidates]))
    assert len(set(best.tolist())) == len(best) == min(top_k, len(candidates))
    np.testing.assert_allclose(margin, every[best - first], rtol=1e-5, atol=1e-5)
    highest = np.sort(every)[::-1][: len(best)]
    np.testing.assert_allclose(margin, highest, rtol=1e-5, atol=1e-5)


@given(models(), st.integers(1, FEATURE_DIM), st.sampled_from([1, 7, 1 << 20]))
def test_equal_candidates_come_in_their_order_wherever_blocks_end(model, top_k, numbers_at_once):
    # Blocks of one, a few and all candidates.
    alike = FMModel("regressor", model.w0, model.w[[0] * FEATURE_DIM], model.V[[0] * FEATURE_DIM])
    context = batch_of([{3: 1.0}])
    candidates = {"first": 4, "last": FEATURE_DIM - 1, "top_k": top_k}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "_NUMBERS_AT_ONCE", numbers_at_once)
        best, _ = recommend.top_features(alike, context.indices, context.values, **candidates)

    assert best.tolist() == list(range(4, FEATURE_DIM))[:top_k]
