"""The best items and the most similar ones, against the model scoring whole rows one by one."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.answers import catalogue, vectors
from fm_algo.answers.catalogue import Catalogue
from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace

FEATURE_DIM, OF_ITEMS = 24, 10  # features from OF_ITEMS on are those of items

VALUES = st.sampled_from([0.0, 1.0, 1.0, -2.0, 0.5, 3.25])
rows = st.dictionaries(st.integers(0, OF_ITEMS - 1), VALUES, max_size=6)
items = st.lists(
    st.dictionaries(st.integers(OF_ITEMS, FEATURE_DIM - 1), VALUES, max_size=5),
    min_size=1,
    max_size=30,
)


@st.composite
def models(draw, scales=(1.0,)):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    num_factors = draw(st.integers(1, 9))
    scale = rng.choice(scales, size=(FEATURE_DIM, 1))
    V = (rng.normal(size=(FEATURE_DIM, num_factors)) * scale).astype(np.float32)
    w = rng.normal(size=FEATURE_DIM).astype(np.float32)
    if draw(st.booleans()):  # many features that are alike, some of them zero
        kinds = rng.integers(0, 3, FEATURE_DIM)
        V[0] = 0
        V, w = V[kinds], w[kinds]
    bias = rng.normal(size=1).astype(np.float32)
    return FMModel("regressor", bias, w, V, field_weights=draw(st.none() | weights()))


@st.composite
def weights(draw):
    """Draw weights of pairs of fields, which may be those of items, of the rest or of both."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    num_fields = draw(st.integers(1, 6))
    R = rng.normal(size=(num_fields, num_fields)).astype(np.float32)
    fields = rng.integers(0, num_fields, FEATURE_DIM).astype(np.int32)
    return FieldWeights(R + R.T, FeatureSpace.of_map([*map(str, range(num_fields))], fields))


def batch_of(rows):
    return CSRBatch(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([feature for row in rows for feature in row], np.int32),
        np.array([value for row in rows for value in row.values()], np.float32),
        None,
        FEATURE_DIM,
    )


def catalogue_of(model, items):
    return Catalogue.of_items(model, batch_of(items))


@pytest.fixture(params=[1, 7, 100, 1 << 20], autouse=True)
def numbers_at_once(request, monkeypatch):  # blocks of one, a few and all items
    monkeypatch.setattr(catalogue, "_NUMBERS_AT_ONCE", request.param)
    monkeypatch.setattr(vectors, "_NUMBERS_AT_ONCE", request.param)


def search(draw, items):
    """Draw what to ask of a catalogue, and tell which items can be in the answer."""
    top_k = draw(st.integers(1, len(items) + 3))
    exclude = draw(st.lists(st.integers(0, len(items) - 1), max_size=len(items) + 2))
    if draw(st.booleans()):
        exclude = draw(st.permutations(range(len(items))))
    allowed = sorted(set(range(len(items))) - set(exclude))
    return top_k, np.array(exclude, np.int32), np.array(allowed, np.int64)


@given(models(), rows, items, st.data())
def test_the_best_items_are_those_with_the_highest_margin_of_the_whole_row(model, row, items, data):
    top_k, exclude, allowed = search(data.draw, items)
    context = batch_of([row])

    best, margin = catalogue_of(model, items).top(
        model, context.indices, context.values, top_k=top_k, exclude=exclude
    )

    assert (best.dtype, margin.dtype) == (np.int32, np.float32)
    assert len(set(best.tolist())) == len(best) == min(top_k, len(allowed))
    every = model.margin(batch_of([row | item for item in items]))
    np.testing.assert_allclose(margin, every[best], rtol=1e-4, atol=1e-4)
    highest = np.sort(every[allowed])[::-1][: len(best)]
    np.testing.assert_allclose(margin, highest, rtol=1e-4, atol=1e-4)
    assert margin.tolist() == sorted(margin.tolist(), reverse=True)


@given(models(scales=(1.0, 1e-30, 1e-18, 1e15, 1e25)), rows, items, st.data())
def test_no_rounding_in_float32_hides_one_of_the_best(model, row, items, data):
    top_k, exclude, allowed = search(data.draw, items)
    V = np.concatenate([model.V[list(item)[:1] or [0]] for item in items])
    w = np.concatenate([model.w[list(item)[:1] or [0]] for item in items])
    total = model.V[list(row)].astype(np.float64).sum(axis=0)

    best, gain = Catalogue(V, w).highest(total, top_k, exclude)

    exact = np.array([float(w[c]) + (V[c].astype(np.float64) * total).sum() for c in allowed])
    expected = allowed[np.lexsort((allowed, -exact))][:top_k]
    assert sorted(best.tolist()) == sorted(set(best.tolist()))
    size = np.abs(w).max() + np.abs(V).max(initial=0) * np.abs(total).sum()
    np.testing.assert_allclose(
        gain, exact[np.searchsorted(allowed, expected)], rtol=1e-9, atol=1e-14 * size
    )


@given(models(scales=(1.0, 1e-30, 1e-18, 1e15, 1e25)), items, st.data())
def test_similar_items_are_those_with_the_smallest_angle(model, items, data):
    V = np.concatenate([model.V[list(item)[:1] or [0]] for item in items])
    item = data.draw(st.integers(0, len(items) - 1))
    n = data.draw(st.integers(1, len(items) + 3))

    found, cosine = Catalogue(V, np.zeros(len(V), np.float32)).similar(item, n)

    lengths = np.linalg.norm(V.astype(np.float64), axis=1)
    directions = V / np.where(lengths == 0, 1, lengths)[:, np.newaxis]
    cosines = directions @ directions[item]
    others = np.delete(np.arange(len(V)), item)
    assert item not in found
    assert len(set(found.tolist())) == len(found) == min(n, len(others))
    np.testing.assert_allclose(cosine, cosines[found], atol=1e-6)
    np.testing.assert_allclose(cosine, np.sort(cosines[others])[::-1][:n], atol=1e-6)
    alike = [(-m, c) for m, c in zip(cosine.tolist(), found.tolist(), strict=True)]
    assert alike == sorted(alike)


@given(models(), rows, st.integers(1, 40))
def test_equal_items_come_in_their_order(model, row, top_k):
    items = [{OF_ITEMS: 1.0, OF_ITEMS + 3: 0.5}] * 30
    context = batch_of([row])
    found = catalogue_of(model, items)

    best, margin = found.top(model, context.indices, context.values, top_k=top_k)
    near, cosine = found.similar(4, top_k)

    assert best.tolist() == list(range(30))[:top_k]
    assert near.tolist() == [c for c in range(30) if c != 4][:top_k]
    assert len(set(margin.tolist())) == len(set(cosine.tolist())) == 1


@given(models(), weights(), rows, st.integers(1, FEATURE_DIM))
def test_values_of_one_field_are_items_of_their_own(model, of_fields, row, top_k):
    field = of_fields.space.field_of(np.array([OF_ITEMS], np.int32))[0]
    numbers = of_fields.space.field_map()
    numbers[OF_ITEMS:] = field
    space = FeatureSpace.of_map(of_fields.space.fields, numbers)
    model = dataclasses.replace(model, field_weights=FieldWeights(of_fields.R, space))
    context = batch_of([row])

    best, margin = Catalogue.of_features(model, slice(OF_ITEMS, FEATURE_DIM)).top(
        model, context.indices, context.values, top_k=top_k
    )

    every = model.margin(batch_of([row | {c: 1.0} for c in range(OF_ITEMS, FEATURE_DIM)]))
    np.testing.assert_allclose(margin, every[best], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(margin, np.sort(every)[::-1][:top_k], rtol=1e-4, atol=1e-4)


def test_items_without_features_are_alike_whatever_weighs():
    weights = FieldWeights.of_ones(FeatureSpace.of_map(("a", "b"), np.arange(2, dtype=np.int32)))
    ones = np.ones((2, 1), np.float32)
    model = FMModel("regressor", ones[0], ones[:, 0], ones, field_weights=weights)
    items = CSRBatch.of(np.zeros((3, 2)))

    best, margin = Catalogue.of_items(model, items).top(
        model, np.array([0, 1], np.int32), np.ones(2, np.float32), top_k=2
    )

    assert best.tolist() == [0, 1]
    assert margin.tolist() == [4, 4]


def test_an_item_that_is_no_number_is_no_best_item():
    V = np.array([[1.0], [np.nan], [2.0]], np.float32)
    found = Catalogue(V, np.zeros(3, np.float32))

    best, _ = found.highest(np.ones(1), 2)

    assert best.tolist() == [2, 0]
