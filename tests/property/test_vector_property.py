"""Nearest-neighbour search by inner product finds what the model scores highest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fm_algo.artifacts.export import item_vectors, user_vectors
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

SMALL = st.integers(-8, 8).map(float)
"""Sums of products of such numbers are exact: ties are ties, and not broken by rounding."""


@st.composite
def models(draw, elements=SMALL):
    """Users are the first features, items those after them."""
    num_users, num_items = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    feature_dim, num_factors = num_users + num_items, draw(st.integers(1, 4))
    model = FMModel(
        "regressor",
        *(
            draw(arrays(np.float32, shape, elements=elements))
            for shape in ((1,), (feature_dim,), (feature_dim, num_factors))
        ),
    )
    return model, range(num_users), range(num_users, feature_dim)


def margins(model, user, items):
    """Score the pair rows: a one for the user, a one for the item."""
    indices = np.array([[user, item] for item in items], np.int32).ravel()
    indptr = np.arange(len(items) + 1, dtype=np.int64) * 2
    ones = np.ones(len(indices), np.float32)
    return model.margin(CSRBatch(indptr, indices, ones, None, model.feature_dim))


@given(models())
def test_inner_products_rank_the_items_as_the_model_does(drawn):
    model, users, items = drawn
    inner = user_vectors(model, users) @ item_vectors(model, items).T

    for user in users:
        by_model = np.argsort(-margins(model, user, items), kind="stable")
        assert np.argsort(-inner[user], kind="stable").tolist() == by_model.tolist()


@given(models(st.floats(-4, 4, width=32)))
def test_an_inner_product_is_the_margin_less_what_all_items_share(drawn):
    model, users, items = drawn
    inner = user_vectors(model, users) @ item_vectors(model, items).T

    for user in users:
        shared = model.w0[0] + model.w[user]
        assert inner[user] + shared == pytest.approx(margins(model, user, items), abs=1e-4)
