"""Training jobs that end early, and those that start from an earlier model."""

import json
import tarfile

import numpy as np
import pytest
from training_tree import Rows, TrainingTree

from fm_algo.artifacts.artifact import load_model
from fm_algo.artifacts.model_source import load_any_model
from fm_algo.errors import UserError

ROWS = Rows.draw(1, 200)


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def overfitting(tree, **changes):
    """Few rows, many factors, labels all noise: what is learnt first is their mean, then noise."""
    random = np.random.default_rng(5)
    features = (random.random((160, 6)) < 0.5) * random.normal(0, 2, (160, 6))
    labels = 1 + random.normal(0, 1, 160)
    rows = Rows(features.astype(np.float32), labels.astype(np.float32))
    tree.hyperparameters(
        epochs="40", num_factors="16", factors_lr="0.02", factors_init_sigma="0.1", **changes
    )
    tree.channel("train", {"a.csv": rows[:60].csv})
    tree.channel("validation", {"a.csv": rows[60:].csv})


def values_of(outcome, what):
    """Values of a metric, one an epoch."""
    found = [line for line in outcome.lines if "epoch=" in line and f" {what} <" in line]
    return [float(line.rpartition("=")[2]) for line in found]


def model_bytes(tree):
    """The parameters, without the hyperparameters that the file also holds."""
    model = load_model(tree.model)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in (model.w0, model.w, model.V))


@pytest.mark.parametrize("with_checkpoints", [False, True])
def test_the_saved_model_is_the_best_epochs(tree, tmp_path, with_checkpoints):
    overfitting(tree, early_stopping_patience="3")
    tree.channel("test", {"a.csv": (tree.base / "input/data/validation/a.csv").read_bytes()})
    if with_checkpoints:
        (tree.base / "checkpoints").mkdir()
    outcome = tree.train()
    errors = values_of(outcome, "validation rmse")
    best = int(np.argmin(errors))

    assert outcome.code == 0
    assert 0 < best < 30  # planted: neither the first nor one of the last
    assert len(errors) == best + 4
    assert any(f"the model is that of epoch {best}, the best" in line for line in outcome.lines)
    final = [line for line in outcome.lines if "algo-1, validation rmse <loss>=" in line]
    assert float(final[-1].rpartition("=")[2]) == errors[best]  # what tuning takes
    tested = [line for line in outcome.lines if "test rmse <loss>=" in line]
    assert float(tested[0].rpartition("=")[2]) == errors[best]

    shorter = TrainingTree(tmp_path / "shorter")
    overfitting(shorter)
    shorter.hyperparameters(
        epochs=str(best + 1), num_factors="16", factors_lr="0.02", factors_init_sigma="0.1"
    )
    shorter.train()
    assert model_bytes(tree) == model_bytes(shorter)


def test_a_job_started_anew_on_another_machine_has_the_best_model(tree):
    overfitting(tree, early_stopping_patience="3")
    (tree.base / "checkpoints").mkdir()
    tree.run()
    expected = model_bytes(tree)
    (tree.model / "model.safetensors").unlink()
    tree.run()

    assert model_bytes(tree) == expected


def test_by_default_all_epochs_are_trained_and_the_last_is_saved(tree):
    overfitting(tree)
    outcome = tree.train()

    assert len(values_of(outcome, "validation rmse")) == 40


def test_rows_split_off_are_scored_and_not_trained_on(tree):
    tree.channel("train", {"a.csv": ROWS.csv})
    tree.hyperparameters(validation_split="0.25", epochs="2")
    outcome = tree.train()

    assert len(values_of(outcome, "validation rmse")) == 2
    (line,) = (line for line in outcome.lines if '"epoch": 0' in line)
    metrics = json.loads(line.removeprefix("#metrics "))["Metrics"]
    assert metrics["Total Records Seen"]["sum"] == 150


def pack(directory):
    with tarfile.open(directory / "model.tar.gz", "w:gz") as tar:
        tar.add(directory / "model.safetensors", "./model.safetensors")
    (directory / "model.safetensors").unlink()


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize("wider", [0, 2])
def test_a_job_starts_from_an_earlier_model(tree, packed, wider):
    tree.channel("train", {"a.libsvm": ROWS.libsvm}, "text/libsvm")
    tree.run()
    earlier = load_model(tree.model)
    w, V = earlier.w.copy(), earlier.V.copy()
    directory = tree.channel("model", content_type="application/x-sagemaker-model")
    (tree.model / "model.safetensors").rename(directory / "model.safetensors")
    if packed:
        pack(directory)
    rates = {"bias_lr": "0", "linear_lr": "0", "factors_lr": "0"}
    tree.hyperparameters(feature_dim=str(6 + wider), epochs="1", **rates)
    tree.run()
    model = load_model(tree.model)

    np.testing.assert_array_equal(model.w[:6], w)
    np.testing.assert_array_equal(model.V[:6], V)
    assert model.feature_dim == 6 + wider
    assert np.all(model.V[6:] != 0)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"feature_dim": "5"}, "feature_dim=6 there, 5 here"),
        ({"num_factors": "4"}, "num_factors=3 there, 4 here"),
        ({"predictor_type": "binary_classifier"}, "predictor_type=regressor there"),
    ],
)
def test_an_earlier_model_that_does_not_fit_is_refused(tree, changes, told):
    tree.channel("train", {"a.csv": ROWS.csv})
    tree.run()
    directory = tree.channel("model")
    (tree.model / "model.safetensors").rename(directory / "model.safetensors")
    tree.hyperparameters(**changes)

    with pytest.raises(UserError, match=told):
        tree.run()


def test_a_job_starts_from_a_model_of_the_built_in(tree, root):
    """A learning rate of 0 leaves the earlier model as it is."""
    packed = root / "tests" / "data" / "builtin" / "regression-k4-d30" / "model.tar.gz"
    earlier = load_any_model(packed)
    tree.hyperparameters(
        feature_dim="30",
        num_factors="4",
        **dict.fromkeys(("bias_lr", "linear_lr", "factors_lr"), "0"),
    )
    tree.channel("train", {"a.libsvm": b"1 0:1\n2 29:1\n"}, "text/libsvm")
    tree.channel("model", {"model.tar.gz": packed.read_bytes()}, "application/x-sagemaker-model")
    assert tree.train().code == 0
    model = load_model(tree.model)
    for name in ("w0", "w", "V"):
        assert getattr(model, name).tobytes() == getattr(earlier, name).tobytes()
