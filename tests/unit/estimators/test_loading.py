"""Estimators go to artifacts, and every artifact that is served becomes an estimator."""

import inspect
import json
import pickle  # noqa: TID251 - what users do with estimators

import joblib
import numpy as np
import pytest

import fm_algo
from fm_algo import FMClassifier, FMRanker, FMRegressor, load_model
from fm_algo.artifacts.artifact import save_model
from fm_algo.artifacts.builtin.artifact import load_builtin_model
from fm_algo.artifacts.model_source import read_any_model
from fm_algo.errors import UserError


@pytest.fixture(scope="module")
def regressor(ratings):
    return FMRegressor(epochs=30, posterior_samples=20, num_factors=5).fit(ratings.X, ratings.y)


@pytest.mark.parametrize("place", ["model", "new/model.tar.gz"])
def test_what_is_saved_is_loaded(place, regressor, ratings, tmp_path):
    regressor.save(tmp_path / place)

    loaded = load_model(tmp_path / place)

    assert isinstance(loaded, FMRegressor)
    assert np.array_equal(loaded.predict(ratings.X), regressor.predict(ratings.X))
    expected, found = (each.predict(ratings.X, return_std=True)[1] for each in (regressor, loaded))
    assert np.array_equal(found, expected)
    assert loaded.n_features_in_ == 70
    assert loaded.get_params()["posterior_samples"] == 20
    assert loaded.get_params()["epochs"] == 30
    model, hyperparameters = read_any_model(tmp_path / place)
    assert hyperparameters["feature_dim"] == 70
    assert model.num_factors == 5


def test_saving_again_writes_the_same_bytes(regressor, tmp_path):
    regressor.save(tmp_path / "once")
    load_model(tmp_path / "once").save(tmp_path / "twice")

    once, twice = (tmp_path / name / "model.safetensors" for name in ("once", "twice"))
    assert once.read_bytes() == twice.read_bytes()


@pytest.mark.parametrize(
    "labels", [("no", "yes"), (-1, 1), (0, 1), (False, True), (2.0, 7.0), (0.0, 1.0)]
)
def test_labels_are_kept(labels, ratings, tmp_path):
    y = np.array(labels)[(ratings.liked == "yes").astype(int)]
    estimator = FMClassifier(epochs=3).fit(ratings.X, y)
    estimator.save(tmp_path)

    loaded = load_model(tmp_path)

    assert isinstance(loaded, FMClassifier)
    assert loaded.classes_.tolist() == list(labels)
    assert np.array_equal(loaded.predict(ratings.X), estimator.predict(ratings.X))


def test_labels_that_no_artifact_can_hold_are_refused(ratings, tmp_path):
    days = np.array(["2026-01-01", "2026-01-02"], "datetime64[D]")
    estimator = FMClassifier(epochs=3).fit(ratings.X, days[(ratings.liked == "yes").astype(int)])

    with pytest.raises(UserError, match="cannot be saved, allowed are texts"):
        estimator.save(tmp_path)


@pytest.mark.parametrize(
    ("name", "kind"), [("binary-k8-d100", FMClassifier), ("regression-k4-d30", FMRegressor)]
)
def test_the_built_ins_artifacts_are_read(name, kind, root, mxnet_models):
    packed = root / "tests" / "data" / "builtin" / name / "model.tar.gz"
    model = load_builtin_model(mxnet_models / name)
    rows = json.loads((packed.parent / "rows.json").read_text())
    assert rows

    for location in (packed, str(packed), mxnet_models / name):
        loaded = load_model(location)
        assert isinstance(loaded, kind)
        assert np.array_equal(loaded.model_.V, model.V)
        assert loaded.get_params()["num_factors"] == model.num_factors
        assert loaded.get_params()["optimizer"] == "adam"
        assert loaded.n_features_in_ == model.feature_dim
        if kind is FMClassifier:
            assert loaded.classes_.tolist() == [0, 1]


def test_a_model_of_a_bucket_is_loaded_and_saved(regressor, ratings, s3_bucket):
    location = s3_bucket.url("models/one/model.tar.gz")
    regressor.save(location)

    loaded = load_model(location)

    assert np.array_equal(loaded.predict(ratings.X), regressor.predict(ratings.X))


def test_what_is_written_beside_a_model_does_not_keep_it_from_being_read(regressor, tmp_path):
    save_model(tmp_path, regressor.model_, {"epochs": -3, "of_the_future": [1]})

    loaded = load_model(tmp_path)

    assert loaded.get_params() == FMRegressor(num_factors=5).get_params()
    assert loaded.hyperparameters_ == {"epochs": -3, "of_the_future": [1]}


def test_where_there_is_no_model_it_is_said(tmp_path):
    with pytest.raises(UserError, match="no model in"):
        load_model(tmp_path)


def arrays_of(model):
    return [getattr(each, name) for each in (model, *model.samples) for name in ("w0", "w", "V")]


def test_a_loaded_model_lies_in_memory_alone(regressor, tmp_path):
    regressor.save(tmp_path)
    loaded = load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()

    for array in arrays_of(loaded.model_):
        assert type(array) is np.ndarray
        assert array.flags.owndata
    assert arrays_of(pickle.loads(pickle.dumps(loaded)).model_)  # noqa: S301
    joblib.dump(loaded, tmp_path / "one.joblib")
    assert np.array_equal(joblib.load(tmp_path / "one.joblib").factors_, regressor.factors_)


def test_a_loaded_model_is_trained_further(ratings, tmp_path):
    options = {"optimizer": "adagrad", "num_factors": 4, "mini_batch_size": 50, "factors_lr": 0.1}
    FMRegressor(**options, bias_lr=0.3, epochs=9).fit(ratings.X, ratings.y).save(tmp_path)
    loaded = load_model(tmp_path)
    before = loaded.score(ratings.X, ratings.y)

    loaded.partial_fit(ratings.X, ratings.y)

    assert loaded.n_iter_ == 1
    assert loaded.score(ratings.X, ratings.y) > before - 0.01


def test_the_face_of_the_library_tells_its_types():
    found = inspect.signature(fm_algo.load_model).return_annotation
    assert found == FMClassifier | FMRanker | FMRegressor
    assert {"FMClassifier", "FMRegressor", "load_model"} <= set(dir(fm_algo))
    with pytest.raises(AttributeError, match="no attribute 'FMClusterer'"):
        _ = fm_algo.FMClusterer
