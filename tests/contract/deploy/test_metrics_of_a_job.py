"""The metric definitions read the log that the real `train` writes."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.metric_definitions import METRIC_DEFINITIONS

ROOT = Path(__file__).resolve().parents[3]
METRICS = {
    "regressor": ["rmse", "mse", "absolute_loss"],
    "binary_classifier": [
        "binary_classification_accuracy",
        "binary_classification_cross_entropy",
        "binary_f_beta",
    ],
}


@pytest.fixture
def train(tmp_path):
    """Run `train` on a few rows and return what it writes to its output."""

    def run(predictor_type):
        config = tmp_path / "input" / "config"
        config.mkdir(parents=True)
        (tmp_path / "model").mkdir()
        hyperparameters = {"feature_dim": "2", "num_factors": "2", "epochs": "2"}
        hyperparameters["predictor_type"] = predictor_type
        channels = {name: {"ContentType": "text/csv"} for name in ("train", "test", "validation")}
        (config / "hyperparameters.json").write_text(json.dumps(hyperparameters))
        (config / "inputdataconfig.json").write_text(json.dumps(channels))
        for name in channels:
            folder = tmp_path / "input" / "data" / name
            folder.mkdir(parents=True)
            (folder / "rows.csv").write_text("1,1,0\n0,0,1\n1,1,1\n")
        ended = subprocess.run(
            [sys.executable, str(ROOT / "train")],
            env={"SAGEMAKER_BASE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.splitlines()

    return run


@pytest.mark.parametrize("predictor_type", METRICS)
def test_every_number_of_a_job_is_read_and_by_one_definition(train, predictor_type):
    lines = train(predictor_type)
    read = set()
    for line in lines:
        found = {m.name: re.search(m.regex, line) for m in METRIC_DEFINITIONS}
        names = [name for name, match in found.items() if match]
        assert len(names) <= 1, line
        is_metric = line.partition("#")[2].startswith(("quality_", "progress_", "throughput_"))
        is_left_out = "epoch=" in line and "roc_auc_score" in line  # AWS takes 40, this is the 41st
        assert bool(names) == (is_metric and not is_left_out), line
        for name in names:
            assert math.isfinite(float(found[name][1])), line
        read |= set(names)
    kinds = ("test:{}", "train:{}", "train:{}:epoch", "train:{}:batch", "validation:{}")
    expected = {
        k.format(m) for k in (*kinds, "validation:{}:epoch") for m in METRICS[predictor_type]
    }
    assert expected | {"train:progress", "train:throughput"} <= read
