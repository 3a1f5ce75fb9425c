"""An estimator and the real program, given the same, leave the same model, bit for bit."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
from training_tree import TrainingTree

from fm_algo import FMClassifier, FMRegressor, load_model, write_recordio

SHARED = {"seed": 7, "num_factors": 5, "epochs": 6, "device": "cpu"}
CASES = {
    "adam": {"optimizer": "adam", "mini_batch_size": 64, "factors_lr": 0.01},
    "adam from the mean": {"optimizer": "adam", "bias_init_method": "mean"},
    "adagrad, early": {
        "optimizer": "adagrad",
        "mini_batch_size": 64,
        "factors_lr": 0.3,
        "epochs": 40,
        "validation_split": 0.3,
        "early_stopping_patience": 2,
    },
    "mcmc": {"optimizer": "mcmc", "posterior_samples": 3, "feature_groups": [0, 30]},
    "als": {"optimizer": "als"},
}


@pytest.mark.parametrize("kind", [FMRegressor, FMClassifier])
@pytest.mark.parametrize("case", CASES)
def test_the_estimators_model_is_the_jobs(case, kind, tmp_path):
    random = np.random.default_rng(2)
    X = scipy.sparse.random_array(
        (600, 50), density=0.1, rng=random, dtype=np.float32, format="csr"
    )
    margin = X.sum(axis=1) - 2 + random.normal(0, 0.2, 600)
    y = margin if kind is FMRegressor else (margin > 0)
    chosen = SHARED | CASES[case]
    tree = TrainingTree(tmp_path / "ml", has_report=True)
    tree.hyperparameters(
        feature_dim="50",
        predictor_type="regressor" if kind is FMRegressor else "binary_classifier",
        **{"mini_batch_size": None, "linear_lr": None, "factors_lr": None}
        | {name: str(value) for name, value in chosen.items()},
    )
    channel = tree.channel("train", content_type="application/x-recordio-protobuf")
    write_recordio(channel / "rows.pbr", X, y.astype(np.float32))
    outcome = tree.train()
    assert outcome.code == 0, outcome.errors

    estimator = kind(**chosen).fit(X, y.astype(np.float32))

    estimator.save(tmp_path / "mine")
    mine = (tmp_path / "mine" / "model.safetensors").read_bytes()
    assert mine == (tree.model / "model.safetensors").read_bytes()
    assert np.array_equal(load_model(tree.model).predict(X), estimator.predict(X).astype(float))
    command = ["-m", "fm_algo", "score", tree.model, channel / "rows.pbr"]
    told = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    scores = [json.loads(line)["score"] for line in told.stdout.splitlines()]
    predict = estimator.predict if kind is FMRegressor else estimator.predict_proba
    assert np.array_equal(np.float32(scores), np.reshape(predict(X).T, (-1, 600))[-1])
    epochs = {line.split("epoch=")[1].split(",")[0] for line in outcome.lines if "epoch=" in line}
    assert len(epochs) == estimator.n_iter_
