"""A job moves from a GPU to the CPU and back: its checkpoints are for both."""

import json
import re
import threading

import numpy as np
import pytest

from container.settings import Paths
from container.training import cluster, train_job
from fm_algo.artifacts.artifact import load_model
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.training import select
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.cpu import CPUKernel

ROWS = "2,1,0,0\n1,0,1,0\n-1,0,0,1\n3,1,1,0\n0.5,0,1,1\n"


def write_job(base, **changes):
    chosen = {
        "feature_dim": "3",
        "num_factors": "2",
        "predictor_type": "regressor",
        "mini_batch_size": "2",
        "linear_lr": "0.1",
        "factors_lr": "0.1",
        "eps": "0.001",
        "early_stopping_patience": "5",
        **changes,
    }
    channel = {"ContentType": "text/csv"}
    config = {
        "hyperparameters": chosen,
        "inputdataconfig": {"train": channel, "validation": channel},
        "checkpointconfig": {"LocalPath": str(base / "checkpoints")},
    }
    for name, content in config.items():
        path = base / "input" / "config" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    for name in ("train", "validation"):
        (base / "input" / "data" / name).mkdir(parents=True, exist_ok=True)
        (base / "input" / "data" / name / "rows.csv").write_text(ROWS)


@pytest.fixture
def run(tmp_path, device, monkeypatch, caplog):
    """Run a job to so many epochs on a kernel; return its model and the losses it logged."""

    def make_kernel(hyperparameters: Hyperparameters) -> Kernel:
        if hyperparameters.device == "cpu":
            return CPUKernel(hyperparameters)
        from fm_algo.training.gradient.gpu import GPUKernel

        return GPUKernel(hyperparameters, device)

    monkeypatch.setattr(select, "make_kernel", make_kernel)
    monkeypatch.setattr(cluster, "count_gpus", lambda *_: 1)
    caplog.set_level("INFO")

    def run_job(name, on, epochs):
        caplog.clear()
        write_job(tmp_path / name, device=on, epochs=str(epochs))
        train_job.run(Paths(tmp_path / name), threading.Event())
        losses = re.findall(r"epoch=\d+, (?:train|validation) mse <loss>=(\S+)", caplog.text)
        return load_model(tmp_path / name / "model"), [float(loss) for loss in losses]

    return run_job


def test_a_job_goes_on_where_another_device_left_it(run):
    expected, expected_losses = run("cpu alone", "cpu", 3)
    _, losses = run("by turns", "gpu", 1)
    losses += run("by turns", "cpu", 2)[1]
    model, more = run("by turns", "gpu", 3)

    assert len(expected_losses) == 2 * 3  # of training and of validation
    assert losses + more == pytest.approx(expected_losses, rel=1e-4)
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(getattr(model, name), getattr(expected, name), atol=1e-5)
