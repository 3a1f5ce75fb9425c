"""Estimators learn weights of pairs of fields, from matrices and from data frames."""

import copy

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from fm_algo import FMClassifier, FMRegressor, load_model
from fm_algo.errors import UserError

WEIGHTED = {
    "interaction": "field_weighted", "optimizer": "adagrad", "factors_lr": 0.1, "linear_lr": 0.1,
    "factors_init_sigma": 0.3, "num_factors": 2, "epochs": 20, "mini_batch_size": 50,
}  # fmt: skip


def ratings(num_rows=800, seed=0):
    """Labels that depend on user and item, but not on the day."""
    random = np.random.default_rng(seed)
    chosen = random.integers(0, [8, 6, 5], (num_rows, 3))
    U, I = (np.random.default_rng(1).normal(size=(n, 2)) for n in (8, 6))  # noqa: E741
    return chosen, np.einsum("nk,nk->n", U[chosen[:, 0]], I[chosen[:, 1]])


def matrix(chosen):
    columns = chosen + np.array([0, 8, 14])
    rows = np.repeat(np.arange(len(chosen)), 3)
    return scipy.sparse.csr_matrix(
        (np.ones(rows.size), (rows, columns.reshape(-1))), (len(chosen), 19)
    )


def frame(chosen, labels):
    names = ("user", "item", "day")
    return pd.DataFrame(
        {name: [f"{name}{n}" for n in column] for name, column in zip(names, chosen.T, strict=True)}
        | {"rating": labels}
    )


def test_a_matrix_with_feature_fields(tmp_path):
    chosen, labels = ratings()
    model = FMRegressor(feature_fields=[0, 8, 14], **WEIGHTED).fit(matrix(chosen), labels)

    assert (model.model_.field_weights.R[np.triu_indices(3, 1)] != 1).all()
    others, truth = ratings(seed=5)
    predicted = model.predict(matrix(others))
    assert np.corrcoef(predicted, truth)[0, 1] > 0.95
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load_model(tmp_path / "model").predict(matrix(others)), predicted)


def test_the_columns_of_a_data_frame():
    chosen, labels = ratings()
    columns = dict.fromkeys(("user", "item", "day"), "category") | {"rating": "label"}
    model = FMRegressor(columns=columns, **WEIGHTED).fit(frame(chosen, labels))

    assert model.model_.field_weights.space.fields == ("user", "item", "day")


def test_it_goes_on_where_a_copy_was():
    chosen, labels = ratings()
    X, y = matrix(chosen), labels > 0
    one = FMClassifier(feature_fields=[0, 8, 14], **WEIGHTED).partial_fit(X, y, classes=[0, 1])
    other = copy.deepcopy(one)
    for each in (one, other):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(one.model_.field_weights.R, other.model_.field_weights.R)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_a_matrix_without_fields_is_told_of():
    chosen, labels = ratings(50)
    with pytest.raises(UserError, match="must know the field of each feature: give feature_fields"):
        FMRegressor(**WEIGHTED).fit(matrix(chosen), labels)
