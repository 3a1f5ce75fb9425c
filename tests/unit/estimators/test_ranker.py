"""`FMRanker`: interactions in, recommendations by name out."""

import inspect
import pickle  # noqa: TID251 - what joblib does
import re

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold

from fm_algo import FMRanker, load_model
from fm_algo.data.tables.columns import MIN_COUNT
from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters

NUM_USERS, NUM_ITEMS = 60, 24
LOSSES = pytest.mark.parametrize("loss", ["warp", "bpr"])


def wanted(user):
    """What a user wants, in any order: eight items of a circle, five of them for training."""
    order = np.random.default_rng(user).permutation(8).tolist()
    return [f"i{(user + step) % NUM_ITEMS}" for step in order]


def make_frame(places):
    pairs = [(f"u{user}", wanted(user)[place]) for place in places for user in range(NUM_USERS)]
    return pd.DataFrame(pairs, columns=["user", "item"])


TRAIN, LATER = make_frame(range(5)), make_frame(range(5, 8))
ITEMS = pd.DataFrame(
    {
        "item": [f"i{n}" for n in range(NUM_ITEMS + 1)],
        "genres": [("A", "B", "A|B")[n % 3] for n in range(NUM_ITEMS + 1)],
    }
)
USERS = pl.DataFrame(
    {"user": [f"u{n}" for n in range(NUM_USERS)], "age": [20.0 + n % 24 for n in range(NUM_USERS)]}
)
SIDES = {"genres": {"set": "|"}, "age": {"bins": 12}}
QUICK = {"num_factors": 8, "mini_batch_size": 50, "linear_lr": 0.1, "factors_lr": 0.1}


def make(**parameters):
    return FMRanker(**QUICK | parameters)


@pytest.fixture(scope="module")
def ranker():
    return make().fit(TRAIN, eval_set=LATER)


@pytest.fixture(scope="module")
def with_sides():
    return make(columns=SIDES).fit(TRAIN, users=USERS, items=ITEMS)


@LOSSES
def test_what_users_want_comes_first(loss):
    ranker = make(loss=loss).fit(TRAIN, eval_set=LATER)

    assert ranker.n_iter_ == len(ranker.history_) == 30
    last = ranker.history_[-1]
    assert {f"train_{loss}", "train_pairs_in_order", "validation_ndcg@10"} < last.keys()
    assert {"validation_recall@10", "validation_map@10"} < last.keys()
    assert last["validation_ndcg@10"] > 0.7
    assert ranker.score(LATER) == last["validation_ndcg@10"]
    assert ranker.score(LATER, metric="map@10") == last["validation_map@10"]
    names, _ = ranker.recommend("u3", 8, exclude_seen=False)
    assert len(set(names) & set(wanted(3))) >= 7


def test_without_arguments_it_ranks_well_too():
    assert FMRanker().fit(TRAIN).score(LATER) > 0.6


def test_it_recommends_to_one_or_to_many(ranker):
    users = [f"u{n}" for n in range(NUM_USERS)]

    names, scores = ranker.recommend(users, 5)

    assert [len(each) for each in names] == [5] * NUM_USERS
    for number, user in enumerate(users):
        assert not set(names[number]) & set(wanted(number)[:5]), "seen"
        one, of_one = ranker.recommend(user, 5)
        assert one == names[number]
        np.testing.assert_array_equal(of_one, scores[number])
        assert list(of_one) == sorted(of_one, reverse=True)
    rows = [{"user": "u3", "item": item} for item in names[3]]
    np.testing.assert_allclose(ranker.predict(rows), scores[3], rtol=1e-4, atol=1e-5)
    forms = [
        np.array(users), pd.Series(users), pl.Series(users), pa.array(users), tuple(users),
        pd.DataFrame({"user": users}), pa.table({"user": users}),
        [{"user": user} for user in users],
    ]  # fmt: skip
    for form in forms:
        assert ranker.recommend(form, 5)[0] == names
    assert ranker.recommend({"user": "u3"}, 5)[0] == names[3]
    assert ranker.recommend([], 5) == ([], [])
    left, _ = ranker.recommend("u3", NUM_ITEMS, exclude=[names[3][0]])
    assert len(left) == NUM_ITEMS - 5 - 1
    assert names[3][0] not in left


def test_pairs_of_columns_may_have_weights():
    ranker = make(interaction="field_weighted").fit(TRAIN)

    assert ranker.score(LATER) > 0.6


def test_numbers_are_names_too():
    def number(frame):
        return frame.map(lambda name: int(name[1:]))

    ranker = make().fit(number(TRAIN))

    names, _ = ranker.recommend(np.arange(4), 3)
    assert ranker.recommend(np.int64(3), 3)[0] == ranker.recommend(3, 3)[0] == names[3]
    assert ranker.score(number(LATER)) > 0.7


def test_users_and_items_may_be_called_otherwise():
    renamed = {"user": "who", "item": "what"}
    ranker = make(user="who", item="what", keep_seen=False).fit(
        pa.table(TRAIN.rename(columns=renamed)), eval_set=LATER.rename(columns=renamed)
    )

    expected = make().fit(TRAIN).recommend("u3", exclude_seen=False)
    assert ranker.recommend("u3")[0] == expected[0]
    assert ranker.history_[-1]["validation_ndcg@10"] > 0.6


def test_labels_and_weights_are_columns_of_these_names():
    others = [f"i{(n + 12) % NUM_ITEMS}" for n in range(NUM_USERS)]
    unwanted = pd.DataFrame({"user": TRAIN["user"][:NUM_USERS], "item": others})
    labels = [3.0] * len(TRAIN) + [0, -1] * (NUM_USERS // 2)
    frame = pd.concat([TRAIN, unwanted], ignore_index=True).assign(label=labels)
    ranker = make().fit(frame)

    np.testing.assert_array_equal(ranker.factors_.shape, make().fit(TRAIN).factors_.shape)
    assert "i15" not in ranker.recommend("u3", NUM_ITEMS)[0], "seen, though not wanted"
    named = make(columns={"stars": "label"}).fit(frame.rename(columns={"label": "stars"}))
    np.testing.assert_array_equal(named.factors_, ranker.factors_)

    weights = np.arange(len(TRAIN)) % 3
    within = make().fit(TRAIN.assign(weight=weights))
    beside = make().fit(TRAIN, sample_weight=weights)
    np.testing.assert_array_equal(within.factors_, beside.factors_)
    assert (within.factors_ != make().fit(TRAIN).factors_).any()


def test_side_tables_are_joined_and_serve_who_and_what_is_unknown(with_sides):
    assert with_sides.score(LATER) > 0.6
    names, _ = with_sides.recommend("u3", NUM_ITEMS + 1, exclude_seen=False)
    assert "i24" in names, "nobody has it yet"

    young = with_sides.recommend({"user": "new", "age": 23.0}, 8)[0]
    assert len(set(young) & set(wanted(3))) >= 5
    assert young != with_sides.recommend({"user": "new", "age": 35.0}, 8)[0]
    parts = with_sides.explain({"user": "u3", "item": "i4"})
    told = {with_sides.feature_name(feature) for feature in parts.features}
    assert {"user=u3", "item=i4", "genres=B"} < told
    similar, cosine = with_sides.similar("i4", 4)
    assert "i4" not in similar
    assert list(cosine) == sorted(cosine, reverse=True)
    users, _ = with_sides.recommend({"item": "i4"}, 3, candidates="item")
    assert len(users) == 3


def test_early_stopping_keeps_the_best_epoch():
    ranker = make(epochs=200, early_stopping_patience=3, factors_lr=0.3).fit(TRAIN, eval_set=LATER)

    values = [epoch["validation_ndcg@10"] for epoch in ranker.history_]
    assert ranker.n_iter_ == int(np.argmax(values)) + 4
    assert ranker.score(LATER) == max(values)


def test_warm_start_keeps_the_earlier_items():
    ranker = make(warm_start=True).fit(TRAIN)
    more = pd.DataFrame({"user": ["u1", "u2", "fresh"], "item": ["new", "new", "i1"]})
    ranker.set_params(epochs=1).fit(more)

    names, _ = ranker.recommend("u3", 100, exclude_seen=False)
    assert set(names) == {*ITEMS["item"][:NUM_ITEMS], "new"}
    assert len(set(wanted(3)) & set(names[:8])) >= 7


def test_copies_and_artifacts_recommend_alike(with_sides, tmp_path):
    with_sides.save(tmp_path)
    loaded = load_model(tmp_path)

    assert isinstance(loaded, FMRanker)
    assert loaded.get_params() == clone(loaded).get_params()
    assert (loaded.loss, loaded.epochs, loaded.user, loaded.item) == ("warp", 30, "user", "item")
    for copy in (loaded, *(pickle.loads(pickle.dumps(each)) for each in (with_sides, loaded))):  # noqa: S301
        assert copy.recommend(["u1", "new"])[0] == with_sides.recommend(["u1", "new"])[0]
        assert copy.score(LATER) == with_sides.score(LATER)
    again = clone(loaded).fit(TRAIN, users=USERS, items=ITEMS)
    np.testing.assert_array_equal(again.factors_, with_sides.factors_)


def test_a_report_shows_the_course_and_the_rankings(ranker):
    report = ranker.report(LATER)

    assert report.verdict == ""
    assert report.metrics["metrics"]["test"]["ndcg@10"] == ranker.score(LATER)
    assert len(report.metrics["epochs"]) == 30
    assert "Learning curve: warp" in report.page
    assert re.search(r"user=u\d", report.page)


def test_scikit_learn_searches_for_parameters():
    search = GridSearchCV(
        make(epochs=5), {"epochs": [1, 20]}, cv=KFold(3, shuffle=True, random_state=0)
    )

    search.fit(TRAIN)

    assert search.best_params_ == {"epochs": 20}
    assert len(search.best_estimator_.recommend("u1", 3)[0]) == 3


def test_the_signature_is_the_declaration():
    parameters = dict(inspect.signature(FMRanker).parameters)
    declared = {field.name: field.default for field in msgspec.structs.fields(Hyperparameters)}
    own = {"user": "user", "item": "item", "columns": None, "min_count": MIN_COUNT,
           "keep_seen": True, "warm_start": False, "verbose": False}  # fmt: skip
    learnt = {"loss": "warp", "optimizer": "rowwise_adagrad", "num_factors": 64, "epochs": 30,
              "mini_batch_size": 250, "linear_lr": 0.03, "factors_lr": 0.03,
              "factors_init_sigma": 0.01}  # fmt: skip

    assert {"num_negatives", "negative_sampling_power", "seed", "early_stopping_patience"} < set(
        parameters
    )
    for useless in ("predictor_type", "posterior_samples", "validation_split", "bias_lr"):
        assert useless not in parameters
    for name, parameter in parameters.items():
        assert parameter.default == (declared | own | learnt)[name], name
    told = re.findall(r"^    (\w+) : .+; default: .+$", FMRanker.__doc__, re.MULTILINE)
    assert told == list(parameters)
    assert repr(FMRanker(epochs=3)) == "FMRanker(epochs=3)"
    with pytest.raises(TypeError, match="lost"):
        FMRanker(lost="warp")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: make().fit(TRAIN.to_numpy()), "is no table; allowed is a data frame"),
        (
            lambda: make(user="who").fit(TRAIN),
            "no column who, which user='who' names; found are user, item",
        ),
        (
            lambda: make().fit(TRAIN.assign(rating=5, time=1.5)),
            "columns does not say what rating, time is: name it, as \"label\"",
        ),
        (lambda: make(columns={"user": "ignore"}).fit(TRAIN), "column user is ignored, but items"),
        (lambda: make().fit(TRAIN, TRAIN["user"]), "a ranker has no y: labels are a column"),
        (lambda: make().fit(TRAIN[:0]), "no row to learn from"),
        (lambda: make(loss=None).fit(TRAIN), "loss=None, allowed: bpr, warp"),
        (lambda: make(loss="hinge", epochs=0).fit(TRAIN), "2 problems in the hyperparameters"),
        (lambda: make(optimizer="mcmc").fit(TRAIN), "loss=warp needs gradients"),
        (
            lambda: make(early_stopping_patience=2).fit(TRAIN),
            "early_stopping_patience=2 needs an eval_set",
        ),
        (lambda: make().fit(TRAIN, eval_set=LATER[["user"]]), "no column item, which the training"),
        (lambda: make().fit(TRAIN.assign(label=0)), "no row to learn from"),
        (
            lambda: make().fit(TRAIN.assign(weight=-1)),
            "row 0 (from 0): column weight: the weight -1 is below 0",
        ),
        (
            lambda: make().fit(TRAIN, items=TRAIN[["user"]].drop_duplicates()),
            "the items table is joined by user, expected item",
        ),
        (lambda: make(keep_seen=False).fit(TRAIN).score(LATER), "they need keep_seen=True"),
        (
            lambda: make(keep_seen=False, epochs=1).fit(TRAIN).recommend("u1", exclude_seen=True),
            "exclude_seen needs a model trained with keep_seen=true",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told(act, message):
    with pytest.raises(UserError, match=re.escape(message)):
        act()


def test_what_a_fitted_one_cannot_answer_is_told(ranker):
    with pytest.raises(UserError, match=r"metric='auc', allowed: ndcg@10, recall@10, map@10"):
        ranker.score(LATER, metric="auc")
    with pytest.raises(UserError, match="top_k=0"):
        ranker.recommend("u1", 0)
    with pytest.raises(UserError, match="usr is no column of the model"):
        ranker.recommend({"usr": "u1"})
    with pytest.raises(ValueError, match=re.escape("expected (300,)")):
        make().fit(TRAIN, sample_weight=[1.0])


@pytest.mark.parametrize(
    "ask",
    [
        lambda ranker: ranker.predict([{"user": "u1"}]),
        lambda ranker: ranker.recommend("u1"),
        lambda ranker: ranker.similar("i1"),
        lambda ranker: ranker.explain({"user": "u1"}),
        lambda ranker: ranker.score(LATER),
        lambda ranker: ranker.save("nowhere"),
        lambda ranker: ranker.report(LATER),
    ],
)
def test_without_a_model_there_is_no_answer(ask):
    with pytest.raises(NotFittedError):
        ask(make())


def test_items_that_the_table_lacks_are_told(caplog):
    make(columns={"genres": {"set": "|"}}, epochs=1).fit(TRAIN, items=ITEMS[:20])

    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    num_lost = int((~TRAIN["item"].isin(ITEMS["item"][:20])).sum())
    assert (
        told == f"{num_lost} interactions are not learnt from: their item is not in the items table"
    )
