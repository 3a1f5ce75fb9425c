import dataclasses

import numpy as np
import pytest

from fm_algo.answers.report.helpful import Presence, factor_map, largest_linear, largest_pairs
from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace

# Features 0 to 2 are users, 3 and 4 items, 5 a number, 6 never occurs.
ROWS = CSRBatch.of(
    np.array(
        [
            [1, 0, 0, 1, 0, 10, 0],
            [0, 1, 0, 1, 0, -10, 0],
            [1, 0, 0, 0, 1, 10, 0],
            [1, 0, 0, 1, 0, 0, 0],
        ]
    ),
    [1, 2, 3, 4],
)


def model_of(w=None, V=None):
    w = np.zeros(7, np.float32) if w is None else np.array(w, np.float32)
    V = np.zeros((7, 2), np.float32) if V is None else np.array(V, np.float32)
    return FMModel("regressor", np.zeros(1, np.float32), w, V)


def test_features_come_by_how_often_they_occur_with_their_usual_values():
    presence = Presence(ROWS)

    assert presence.features.tolist() == [0, 3, 5, 1, 4]
    np.testing.assert_allclose(presence.sizes, [1, 1, 10, 1, 1])


def test_a_linear_part_counts_at_the_features_usual_value():
    parts = largest_linear(model_of(w=[0.5, -2, 99, 1, 0, 0.3, 99]), Presence(ROWS), 3)

    assert parts.features.tolist() == [5, 1, 3]
    np.testing.assert_allclose(parts.effects, [3, -2, 1])


def test_only_pairs_that_stand_in_a_row_count():
    V = [[2, 0], [3, 0], [9, 9], [1, 0], [-4, 0], [0, 0.1], [9, 9]]
    parts = largest_pairs(model_of(V=V), Presence(ROWS), 10)
    found = dict(zip(map(tuple, parts.features.tolist()), parts.effects.tolist(), strict=True))

    # Not (0, 1), two users; not (1, 4), which never met.
    assert found == {
        (0, 4): -8,
        (1, 3): 3,
        (0, 3): 2,
        (0, 5): 0,
        (1, 5): 0,
        (3, 5): 0,
        (4, 5): 0,
    }
    assert [*found][:3] == [(0, 4), (1, 3), (0, 3)]


def test_the_weight_of_their_fields_counts():
    V = [[2, 0], [3, 0], [9, 9], [1, 0], [-4, 0], [0, 0.1], [9, 9]]
    space = FeatureSpace.of_columns(("user", "item", "number"), np.array([0, 3, 5]), 7)
    R = np.array([[1, -0.5, 1], [-0.5, 1, 1], [1, 1, 1]], np.float32)
    model = dataclasses.replace(model_of(V=V), field_weights=FieldWeights(R, space))

    parts = largest_pairs(model, Presence(ROWS), 3)

    assert parts.features.tolist() == [[0, 4], [1, 3], [0, 3]]
    np.testing.assert_allclose(parts.effects, [4, -1.5, -1])


def test_the_map_is_that_of_principal_components():
    factors = np.random.default_rng(0).normal(size=(7, 2)) @ [[3, 1], [0, 0.5]]
    found = factor_map(model_of(V=factors), Presence(ROWS))

    chosen = np.float32(factors)[found.features].astype(float)
    chosen -= chosen.mean(axis=0)
    _, singular, axes = np.linalg.svd(chosen)
    np.testing.assert_allclose(np.abs(found.places), np.abs(chosen @ axes.T), atol=1e-5)
    np.testing.assert_allclose(found.shares, singular**2 / (singular**2).sum(), atol=1e-6)


def test_one_factor_has_one_axis():
    V = np.arange(7, dtype=np.float32).reshape(7, 1)
    found = factor_map(model_of(V=V), Presence(ROWS))

    assert found.shares == pytest.approx((1, 0))
    np.testing.assert_allclose(found.places[:, 1], 0, atol=1e-6)


def test_factors_all_alike_have_no_map():
    assert factor_map(model_of(), Presence(ROWS)) is None
    assert factor_map(model_of(V=np.ones((7, 2))), Presence(ROWS.rows(0, 0))) is None
