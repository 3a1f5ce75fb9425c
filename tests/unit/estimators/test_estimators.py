"""What an estimator does beyond scikit-learn's checks."""

import copy
import pickle  # noqa: TID251 - what users do with estimators
import tracemalloc

import joblib
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction import FeatureHasher
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fm_algo import FMClassifier, FMRegressor
from fm_algo.errors import AlgorithmError, UserError

FAST = {"optimizer": "adagrad", "num_factors": 4, "mini_batch_size": 50}
RATES = {"bias_lr": 0.3, "linear_lr": 0.1, "factors_lr": 0.1, "factors_init_sigma": 0.1}
SGD = FAST | RATES


def parameters_of(estimator):
    return [estimator.model_.w0, estimator.model_.w, estimator.model_.V]


def are_same(one, other):
    pairs = zip(parameters_of(one), parameters_of(other), strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def test_without_any_argument_a_good_model_is_learnt(ratings):
    X, y = ratings.X[:1600], ratings.y[:1600]
    estimator = FMRegressor().fit(X, y)

    error = estimator.predict(ratings.X[1600:]) - ratings.y[1600:]
    assert np.sqrt(np.mean(error**2)) < 0.12, "the noise in the labels is 0.1"
    assert estimator.n_iter_ == len(estimator.history_) == 150
    assert estimator.history_[-1]["train_rmse"] < 0.1
    assert (
        FMClassifier().fit(X, ratings.liked[:1600]).score(ratings.X[1600:], ratings.liked[1600:])
        > 0.93
    )


@pytest.mark.parametrize(
    "kind", ["csr_array", "csr_matrix", "csc_array", "coo_array", "coo_matrix"]
)
def test_every_sparse_matrix_gives_the_same_model(kind, ratings):
    expected = FMRegressor(**SGD).fit(ratings.X, ratings.y)

    assert are_same(
        FMRegressor(**SGD).fit(getattr(scipy.sparse, kind)(ratings.X), ratings.y), expected
    )


def test_dense_rows_and_data_frames_give_the_same_model(ratings):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = FMRegressor(**SGD).fit(ratings.X, ratings.y)
    dense = ratings.X.toarray()
    names = [f"column {number}" for number in range(dense.shape[1])]
    frames = [
        pandas.DataFrame(dense, columns=names),
        pandas.DataFrame.sparse.from_spmatrix(scipy.sparse.csr_matrix(ratings.X), columns=names),
        polars.DataFrame(dense, schema=names),
    ]

    assert are_same(FMRegressor(**SGD).fit(dense, ratings.y), expected)
    for frame in frames:
        estimator = FMRegressor(**SGD).fit(frame, ratings.y)
        assert are_same(estimator, expected)
        assert estimator.feature_names_in_.tolist() == names
        assert estimator.n_features_in_ == len(names)
        with pytest.raises(ValueError, match="feature names"):
            estimator.predict(frame[names[::-1]])


def test_entries_of_the_right_type_are_not_copied(ratings):
    rows = FMRegressor()._to_batch(ratings.X, is_first=True)

    assert np.shares_memory(rows.values, ratings.X.data)
    assert np.shares_memory(rows.indices, ratings.X.indices)


@pytest.mark.parametrize(("dtype", "num_copies"), [(np.float32, 0), (np.float64, 1)])
def test_entries_are_copied_once_at_most(dtype, num_copies, ratings):
    X = scipy.sparse.vstack([ratings.X] * 100, format="csr").astype(dtype)
    copy_bytes = 8 * X.nnz  # float32 and int32
    if num_copies:
        X.indices = X.indices.astype(np.int64)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    rows = FMRegressor()._to_batch(X, is_first=True)
    after, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert rows.num_entries == X.nnz
    of_rows_bytes = 8 * rows.num_rows
    assert after - before < num_copies * copy_bytes + of_rows_bytes + 100_000
    # A mask of the entries, or two, is needed while they are checked.
    assert most - before < (num_copies + 0.5) * copy_bytes + 2 * of_rows_bytes


def test_a_damaged_matrix_is_refused(ratings):
    X = ratings.X.copy()
    X.indices[3] = 1_000

    with pytest.raises(UserError, match="row 1: feature 1000 is outside"):
        FMRegressor().fit(X, ratings.y)


def test_weights_reach_the_rows(ratings):
    weights = np.linspace(0, 2, len(ratings.y))
    rows = FMRegressor()._labelled(ratings.X, ratings.y, weights, is_first=True)

    assert rows.weights is not None
    assert np.array_equal(rows.weights, weights.astype(np.float32))
    with pytest.raises(UserError, match="row 0: weight -1"):
        FMRegressor().fit(ratings.X, ratings.y, sample_weight=-np.ones(len(ratings.y)))


@pytest.mark.parametrize("labels", [("no", "yes"), (-1, 1), (0, 1), (False, True), (2.0, 7.0)])
@pytest.mark.parametrize("options", [SGD | {"epochs": 3}, {"epochs": 12}])
def test_classes_may_be_any_two_labels(labels, options, ratings):
    expected = FMClassifier(**options).fit(ratings.X, (ratings.liked == "yes").astype(int))
    y = np.array(labels)[(ratings.liked == "yes").astype(int)]
    estimator = FMClassifier(**options).fit(ratings.X, y)

    assert are_same(estimator, expected)
    assert estimator.classes_.tolist() == list(labels)
    predicted, probability = estimator.predict(ratings.X), estimator.predict_proba(ratings.X)
    assert predicted.dtype == y.dtype
    assert np.array_equal(predicted == labels[1], probability[:, 1] >= 0.5)
    assert np.allclose(probability.sum(axis=1), 1)
    assert np.array_equal(
        probability[:, 1], estimator.model_.link(estimator.decision_function(ratings.X))
    )


@pytest.mark.parametrize(("y", "found"), [([1, 1, 1], r"1 class, \[1\]"), (["a"] * 3, "1 class")])
def test_labels_of_one_class_are_refused(y, found):
    with pytest.raises(ValueError, match=found):
        FMClassifier().fit(np.eye(3), y)


def test_shapes_are_those_of_scikit_learns_linear_models(ratings):
    regressor = FMRegressor(**SGD).fit(ratings.X, ratings.y)
    classifier = FMClassifier(**SGD).fit(ratings.X, ratings.liked)

    assert regressor.coef_.shape == (70,)
    assert isinstance(regressor.intercept_, float)
    assert classifier.coef_.shape == (1, 70)
    assert classifier.intercept_.shape == (1,)
    assert regressor.factors_.shape == classifier.factors_.shape == (70, 4)
    for name in ("coef_", "intercept_", "factors_"):
        assert not hasattr(FMRegressor(), name)
        assert not hasattr(FMClassifier(), name)


def test_a_model_that_is_not_fitted_says_so(ratings, tmp_path):
    for ask in (
        lambda it: it.predict(ratings.X),
        lambda it: it.explain(ratings.X[:1]),
        lambda it: it.recommend(ratings.X[:1], range(3)),
        lambda it: it.save(tmp_path),
    ):
        with pytest.raises(NotFittedError):
            ask(FMRegressor())


def test_partial_fits_are_the_epochs_of_a_fit(ratings):
    at_once = FMRegressor(**SGD, epochs=3).fit(ratings.X, ratings.y)
    step_by_step = FMRegressor(**SGD)
    for _ in range(3):
        step_by_step.partial_fit(ratings.X, ratings.y)

    assert are_same(step_by_step, at_once)
    assert step_by_step.n_iter_ == 3
    without_time = [{**each, "elapsed_s": 0} for each in step_by_step.history_]
    assert without_time == [{**each, "elapsed_s": 0} for each in at_once.history_]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])  # noqa: S301
def test_a_copy_goes_on_where_the_estimator_is(copied, ratings):
    estimator = FMClassifier(**SGD).partial_fit(ratings.X, ratings.liked, classes=["no", "yes"])
    other = copied(estimator)
    scores = other.predict_proba(ratings.X)

    assert np.array_equal(scores, estimator.predict_proba(ratings.X))
    estimator.partial_fit(ratings.X, ratings.liked)
    assert np.array_equal(scores, other.predict_proba(ratings.X)), "it has arrays of its own"
    other.partial_fit(ratings.X, ratings.liked)
    assert are_same(other, estimator)


def test_partial_fit_takes_the_parameters_of_the_moment(ratings):
    estimator = FMRegressor(**SGD).partial_fit(ratings.X, ratings.y)
    before = [numbers.copy() for numbers in parameters_of(estimator)]
    estimator.set_params(bias_lr=0, linear_lr=0, factors_lr=0)

    estimator.partial_fit(ratings.X, ratings.y)

    for now, then in zip(parameters_of(estimator), before, strict=True):
        assert np.array_equal(now, then)


def test_partial_fit_goes_on_from_a_fit(ratings):
    fitted = FMRegressor(**SGD, epochs=5).fit(ratings.X, ratings.y)
    error = fitted.history_[-1]["train_rmse"]

    fitted.partial_fit(ratings.X, ratings.y)

    assert fitted.n_iter_ == 6
    assert fitted.history_[-1]["train_rmse"] < 1.1 * error


@pytest.mark.parametrize("optimizer", ["mcmc", "als"])
def test_who_sees_all_rows_at_once_has_no_partial_fit(optimizer):
    estimator = FMRegressor(optimizer=optimizer)

    assert not hasattr(estimator, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        estimator.partial_fit([[1.0]], [1.0])
    assert hasattr(estimator.set_params(optimizer="adam"), "partial_fit")


def test_the_first_partial_fit_needs_to_know_the_classes(ratings):
    estimator = FMClassifier(**SGD)
    with pytest.raises(ValueError, match="classes must be passed"):
        estimator.partial_fit(ratings.X, ratings.liked)

    only_one = ratings.liked == "yes"
    estimator.partial_fit(ratings.X[only_one], ratings.liked[only_one], classes=["yes", "no"])

    assert estimator.classes_.tolist() == ["no", "yes"]
    with pytest.raises(ValueError, match="other ones than before"):
        estimator.partial_fit(ratings.X, ratings.liked, classes=["a", "b"])
    with pytest.raises(ValueError, match="'maybe' is not one of the classes"):
        estimator.partial_fit(ratings.X[:2], ["no", "maybe"])


def test_a_warm_start_begins_with_the_last_model(ratings):
    cold = FMRegressor(**SGD, epochs=4).fit(ratings.X, ratings.y)
    warm = clone(cold).set_params(warm_start=True).fit(ratings.X, ratings.y)
    assert are_same(warm, cold)

    warm.fit(ratings.X, ratings.y)
    cold.fit(ratings.X, ratings.y)

    assert warm.history_[0]["train_rmse"] < 0.5 * cold.history_[0]["train_rmse"]
    wider = scipy.sparse.hstack([ratings.X, ratings.X[:, :5]], format="csr")
    assert warm.fit(wider, ratings.y).n_features_in_ == 75


@pytest.mark.parametrize("as_list", [False, True])
def test_an_eval_set_ends_training_early_with_the_best_model(as_list, ratings):
    random = np.random.default_rng(5)
    X = (random.random((160, 6)) < 0.5) * random.normal(0, 2, (160, 6))
    y = 1 + random.normal(0, 1, 160)
    options = {
        "optimizer": "adam",
        "num_factors": 16,
        "factors_lr": 0.02,
        "factors_init_sigma": 0.1,
    }
    held_out = (X[60:], y[60:])
    estimator = FMRegressor(**options, epochs=60, early_stopping_patience=3)

    estimator.fit(X[:60], y[:60], eval_set=[held_out] if as_list else held_out)

    errors = [epoch["validation_rmse"] for epoch in estimator.history_]
    best = int(np.argmin(errors))
    assert len(errors) == estimator.n_iter_ == best + 4 < 60
    assert are_same(estimator, FMRegressor(**options, epochs=best + 1).fit(X[:60], y[:60]))


def test_validation_rows_come_from_one_place(ratings):
    with pytest.raises(UserError, match="needs an eval_set or validation_split"):
        FMRegressor(early_stopping_patience=2).fit(ratings.X, ratings.y)
    with pytest.raises(UserError, match="give one of the two"):
        FMRegressor(validation_split=0.1).fit(ratings.X, ratings.y, eval_set=(ratings.X, ratings.y))
    for wrong in ([(ratings.X, ratings.y)] * 2, (ratings.X,), [ratings.X, ratings.y, 1, 2]):
        with pytest.raises(UserError, match="eval_set is not one pair"):
            FMRegressor().fit(ratings.X, ratings.y, eval_set=wrong)

    estimator = FMRegressor(**SGD, validation_split=0.1).fit(ratings.X, ratings.y)
    assert "validation_rmse" in estimator.history_[0]


def test_how_sure_a_model_is(ratings):
    regressor = FMRegressor(epochs=40, posterior_samples=20).fit(ratings.X, ratings.y)
    score, std = regressor.predict(ratings.X, return_std=True)
    assert np.array_equal(score, regressor.predict(ratings.X))
    assert ((std > 0) & (std < 0.2)).all()

    classifier = FMClassifier(epochs=40, posterior_samples=20).fit(ratings.X, ratings.liked)
    probability, std = classifier.predict_proba(ratings.X, return_std=True)
    assert np.array_equal(probability, classifier.predict_proba(ratings.X))
    assert std.shape == (len(ratings.y),)

    with pytest.raises(UserError, match="posterior_samples=20"):
        FMRegressor(epochs=3).fit(ratings.X, ratings.y).predict(ratings.X, return_std=True)


def test_a_row_is_explained_by_parts_that_add_up_to_its_score(ratings):
    estimator = FMRegressor(epochs=20).fit(ratings.X, ratings.y)
    told = estimator.explain(ratings.X[[5]])

    assert sorted(told.features.tolist()) == sorted(ratings.X[[5]].indices.tolist())
    parts = told.bias + told.linear.sum() + told.pairwise.sum()
    assert np.isclose(parts, estimator.predict(ratings.X[[5]])[0])
    with pytest.raises(UserError, match="2 rows, allowed is one"):
        estimator.explain(ratings.X[:2])


def test_what_is_recommended_scores_best(ratings):
    estimator = FMClassifier(epochs=20).fit(ratings.X, ratings.liked)
    user = np.zeros((1, 70), np.float32)
    user[0, 7] = 1
    pairs = np.repeat(user, 30, axis=0)
    pairs[np.arange(30), 40 + np.arange(30)] = 1

    items, scores = estimator.recommend(user, range(40, 70), top_k=3)

    expected = estimator.predict_proba(pairs)[:, 1]
    assert items.tolist() == (40 + np.argsort(-expected, kind="stable")[:3]).tolist()
    assert np.allclose(scores, np.sort(expected)[::-1][:3])
    for wrong in (range(40, 71), range(-1, 3), range(0, 10, 2), range(3, 3)):
        with pytest.raises(UserError, match="allowed are a range of columns from 0 to 70"):
            estimator.recommend(user, wrong)


def test_training_that_diverges_says_so(ratings):
    with pytest.raises(AlgorithmError, match="training diverged"):
        FMRegressor(optimizer="sgd", bias_lr=1e30, epochs=20).fit(ratings.X, ratings.y)


def test_a_bar_is_shown_to_who_wants_one(ratings, capsys):
    FMRegressor(**SGD, epochs=2).fit(ratings.X, ratings.y)
    assert capsys.readouterr().err == ""

    FMRegressor(**SGD, epochs=2, verbose=True).fit(ratings.X, ratings.y)

    assert "train rmse" in capsys.readouterr().err


def test_it_works_in_a_pipeline_behind_a_hasher(ratings):
    users, items = ratings.X.indices[::2], ratings.X.indices[1::2]
    records = [{f"user={u}": 1, f"item={i}": 1} for u, i in zip(users, items, strict=True)]
    pipeline = make_pipeline(FeatureHasher(2**10), FMClassifier(epochs=30))

    pipeline.fit(records[:1600], ratings.liked[:1600])

    assert pipeline.score(records[1600:], ratings.liked[1600:]) > 0.9


def test_it_works_behind_transformers_of_columns(ratings):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "user": ratings.X.indices[::2].astype(str),
            "item": ratings.X.indices[1::2],
            "age": ratings.X.indices[::2] % 7 + 20.0,
        }
    )
    columns = ColumnTransformer(
        [("ids", OneHotEncoder(), ["user", "item"]), ("age", StandardScaler(), ["age"])]
    )
    pipeline = make_pipeline(columns, FMRegressor())

    assert pipeline.fit(frame, ratings.y).score(frame, ratings.y) > 0.97


def test_a_grid_is_searched_by_processes_that_share_the_rows(ratings):
    """joblib gives them read-only maps of arrays of a megabyte or more."""
    X = scipy.sparse.vstack([ratings.X] * 80, format="csr")
    y = np.tile(ratings.y, 80)
    assert X.data.nbytes > 1 << 20
    search = GridSearchCV(
        FMRegressor(**FAST, epochs=1), {"factors_lr": [0.0, 0.1], "bias_lr": [0.3]}, cv=2, n_jobs=2
    )

    search.fit(X, y)

    assert search.best_params_["factors_lr"] == 0.1
    scores = cross_val_score(FMRegressor(epochs=10), X, y, cv=2, n_jobs=2)
    assert scores.min() > 0.9


def test_joblib_keeps_an_estimator(ratings, tmp_path):
    estimator = FMRegressor(epochs=30, posterior_samples=20).fit(ratings.X, ratings.y)
    joblib.dump(estimator, tmp_path / "model.joblib")

    again = joblib.load(tmp_path / "model.joblib")

    assert np.array_equal(again.predict(ratings.X), estimator.predict(ratings.X))
    assert again.get_params() == estimator.get_params()
