"""Estimators on tables: data frames in, names out."""

import pickle  # noqa: TID251 - what joblib does
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone

from fm_algo import FMClassifier, FMRegressor, load_model
from fm_algo.artifacts.model_source import load_any_stored_model
from fm_algo.errors import UserError

COLUMNS = {
    "rating": "label",
    "user": "category",
    "age": {"bins": 4},
    "item": "category",
    "genres": {"set": "|"},
    "title": "ignore",
}


UNLABELLED = {"user": "category", "item": "category", "rating": "ignore"}


def make_ratings(num_rows=400, seed=0):
    random = np.random.default_rng(seed)
    users, items = random.integers(0, 20, num_rows), random.integers(0, 15, num_rows)
    rating = (users % 5) + (items % 3) + random.normal(0, 0.1, num_rows)
    return pd.DataFrame(
        {"user": [f"u{n}" for n in users], "item": [f"i{n}" for n in items], "rating": rating}
    )


RATINGS, MORE = make_ratings(), make_ratings(seed=1)
USERS = pd.DataFrame({"user": [f"u{n}" for n in range(20)], "age": np.arange(20) + 20.0})
ITEMS = pl.DataFrame(
    {
        "item": [f"i{n}" for n in range(16)],
        "genres": [("A", "B", "A|B")[n % 3] for n in range(16)],
        "title": [f"Item {n}" for n in range(16)],
    }
)


def make(**parameters):
    return FMRegressor(**{"columns": COLUMNS, "num_factors": 4, "epochs": 20} | parameters)


@pytest.fixture(scope="module")
def model():
    return make(keep_seen=True).fit(RATINGS, users=USERS, items=ITEMS, eval_set=MORE)


def test_a_table_is_learnt_from_and_scored_whoever_holds_it(model):
    expected = model.predict(MORE)

    assert np.corrcoef(expected, MORE["rating"])[0, 1] > 0.95
    assert model.history_[-1]["validation_rmse"] < 0.5
    unlabelled = MORE.drop(columns="rating")
    for frame in (unlabelled, pl.DataFrame(MORE), pa.table(unlabelled), MORE.to_dict("records")):
        np.testing.assert_array_equal(model.predict(frame), expected)
    assert model.feature_names_in_.tolist() == ["user", "item", "rating"]
    assert model.n_features_in_ == 3


def test_row_labels_of_pandas_are_no_column():
    def shuffled(frame):
        return frame.sample(frac=1, random_state=0)

    again = make().fit(shuffled(RATINGS), users=shuffled(USERS), items=shuffled(ITEMS.to_pandas()))

    assert again.feature_names_in_.tolist() == ["user", "item", "rating"]
    np.testing.assert_array_equal(again.predict(MORE[::2]), again.predict(MORE)[::2])


def test_y_and_weights_may_come_beside_the_table(model):
    columns = {name: kind for name, kind in COLUMNS.items() if name != "rating"}
    beside = make(columns=columns).fit(
        RATINGS.drop(columns="rating"), RATINGS["rating"], users=USERS, items=ITEMS
    )
    np.testing.assert_array_equal(beside.predict(MORE), model.predict(MORE))

    weights = np.arange(len(RATINGS)) % 3 * 1.0
    weighted = make(columns=COLUMNS | {"times": "weight"}, optimizer="rowwise_adagrad")
    within = weighted.fit(RATINGS.assign(times=weights), users=USERS, items=ITEMS)
    apart = make(optimizer="rowwise_adagrad")
    apart = apart.fit(RATINGS, sample_weight=weights, users=USERS, items=ITEMS)
    np.testing.assert_array_equal(within.predict(MORE), apart.predict(MORE))
    plain = make(optimizer="rowwise_adagrad").fit(RATINGS, users=USERS, items=ITEMS)
    assert (plain.predict(MORE) != apart.predict(MORE)).any()


def test_it_answers_by_name(model):
    items = [f"i{n}" for n in range(16)]
    scores = model.predict([{"user": "u1", "item": item} for item in items])
    seen = set(RATINGS["item"][RATINGS["user"] == "u1"])

    names, found = model.recommend({"user": "u1"}, top_k=16)
    assert set(names) == set(items), "also those nobody has rated"
    np.testing.assert_allclose(found, scores[[items.index(name) for name in names]], rtol=0.05)
    assert list(found) == sorted(found, reverse=True)
    unseen, _ = model.recommend(pd.DataFrame({"user": ["u1"]}).assign(item=None), exclude_seen=True)
    assert set(unseen) == set(items) - seen
    assert names[0] not in model.recommend({"user": "u1"}, exclude=[names[0]])[0]
    users, _ = model.recommend({"item": "i1"}, candidates="item", top_k=2)
    assert len(users) == 2
    similar, cosine = model.similar("i1", 3)
    assert "i1" not in similar
    assert list(cosine) == sorted(cosine, reverse=True)
    assert model.similar("nothing", 3)[0] == []

    parts = model.explain({"user": "u1", "item": "i1"})
    told = {model.feature_name(feature) for feature in parts.features}
    assert {"user=u1", "item=i1", "genres=B"} < told


def test_copies_and_artifacts_know_the_names(model, tmp_path):
    model.save(tmp_path)
    stored = load_any_stored_model(tmp_path)
    loaded = load_model(tmp_path)
    copies = [loaded, pickle.loads(pickle.dumps(model)), pickle.loads(pickle.dumps(loaded))]  # noqa: S301

    assert stored.tables.encoder.describe() == model.tables_.encoder.describe()
    assert stored.hyperparameters["columns"] == COLUMNS
    for copy in copies:
        np.testing.assert_array_equal(copy.predict(MORE), model.predict(MORE))
        for exclude_seen in (False, True):
            expected = model.recommend({"user": "u3"}, top_k=5, exclude_seen=exclude_seen)
            found = copy.recommend({"user": "u3"}, top_k=5, exclude_seen=exclude_seen)
            assert found[0] == expected[0]
    assert loaded.get_params() == clone(loaded).get_params()
    assert loaded.columns == COLUMNS


def test_classes_may_have_any_names():
    liked = np.where(RATINGS["rating"] > 3, "good", "bad")
    columns = COLUMNS | {"rating": "ignore"}
    classifier = FMClassifier(columns=columns, num_factors=4, epochs=20)
    classifier.fit(RATINGS, liked, users=USERS, items=ITEMS)

    assert classifier.classes_.tolist() == ["bad", "good"]
    assert classifier.score(MORE, np.where(MORE["rating"] > 3, "good", "bad")) > 0.9
    by_word = FMClassifier(
        columns=COLUMNS | {"rating": {"label": "good"}}, num_factors=4, epochs=20
    )
    by_word.fit(RATINGS.assign(rating=liked), users=USERS, items=ITEMS)
    np.testing.assert_array_equal(by_word.predict_proba(MORE), classifier.predict_proba(MORE))


def test_warm_start_extends_the_dictionaries():
    new = pd.DataFrame({"user": ["new"] * 3, "item": ["i1", "i2", "i3"], "rating": [9.0, 9.0, 9.0]})
    model = make(warm_start=True, optimizer="sgd", epochs=1, factors_lr=0.0, linear_lr=0.0)
    model.bias_lr = 0.0
    model.fit(RATINGS, users=USERS, items=ITEMS)
    before = {model.feature_name(f): model.coef_[f] for f in range(len(model.coef_))}
    model.fit(new, users=USERS, items=ITEMS)
    after = {model.feature_name(f): model.coef_[f] for f in range(len(model.coef_))}

    assert after.keys() - before.keys() == {"user=new"}
    assert {name: after[name] for name in before} == before


def test_partial_fit_keeps_the_features_of_its_first_call():
    model = make(columns={"rating": "label", "user": "category", "item": "category"})
    model.set_params(optimizer="rowwise_adagrad")
    model.partial_fit(RATINGS).partial_fit(MORE.assign(user="somebody"))

    assert model.n_iter_ == 2
    assert model.predict([{"user": "somebody", "item": "i1"}]).shape == (1,)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: make().fit([[1.0]], [1.0]), "X is a list; with columns, allowed is a data frame"),
        (lambda: make().fit(RATINGS), "columns names age, genres, title, which no table has"),
        (
            lambda: FMRegressor().fit([[1.0]], [1.0], items=ITEMS),
            "users and items are tables to be joined: they need columns",
        ),
        (
            lambda: make(columns={"user": "category", "item": "category", "rating": "ignore"}).fit(
                RATINGS
            ),
            'no y, and columns names no label, such as "rating": "label"',
        ),
        (
            lambda: make().fit(RATINGS.assign(rating="x"), users=USERS, items=ITEMS),
            "row 0 (from 0): column rating: x is not a number",
        ),
        (lambda: FMRegressor().fit([[1.0], [2.0]], [1, 2]).similar("a"), "the model has no tables"),
    ],
)
def test_mistakes_are_told(act, message):
    with pytest.raises(UserError, match=re.escape(message)):
        act()


def test_what_a_model_of_tables_cannot_answer_is_told(model):
    with pytest.raises(UserError, match="no column item, which the training rows have; found are"):
        model.predict(MORE[["user"]])
    with pytest.raises(UserError, match="usr is no column of the model"):
        model.predict([{"usr": "u1"}])
    with pytest.raises(UserError, match="allowed are the name of a column"):
        model.recommend({"user": "u1"}, candidates=range(3))
    with pytest.raises(UserError, match="2 rows, allowed is one"):
        model.recommend(MORE.iloc[:2])
