"""A job moves from a GPU to the CPU and back: its checkpoints are for both."""

import functools
import json
import re
import threading

import numpy as np
import pytest

from container.settings import Paths
from container.training import cluster, train_job
from fm_algo.artifacts.artifact import load_model
from fm_algo.training.gradient import select

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

    make_gpu_kernel = functools.partial(select.make_gpu_kernel, device=device)
    monkeypatch.setattr(select, "make_gpu_kernel", make_gpu_kernel)
    monkeypatch.setattr(select, "_why_no_gpu", lambda: None)
    monkeypatch.setattr(cluster, "count_gpus", lambda *_: 1)
    caplog.set_level("INFO")

    def run_job(name, on, epochs, **changes):
        caplog.clear()
        write_job(tmp_path / name, device=on, epochs=str(epochs), **changes)
        train_job.run(Paths(tmp_path / name), threading.Event())
        losses = re.findall(r"epoch=\d+, (?:train|validation) mse <loss>=(\S+)", caplog.text)
        return load_model(tmp_path / name / "model"), [float(loss) for loss in losses]

    return run_job


FIELD_WEIGHTED = {"interaction": "field_weighted", "feature_fields": "[0, 1]"}


@pytest.mark.parametrize("changes", [{}, FIELD_WEIGHTED], ids=["all", "field_weighted"])
def test_a_job_goes_on_where_another_device_left_it(run, changes):
    expected, expected_losses = run("cpu alone", "cpu", 3, **changes)
    _, losses = run("by turns", "gpu", 1, **changes)
    losses += run("by turns", "cpu", 2, **changes)[1]
    model, more = run("by turns", "gpu", 3, **changes)

    assert len(expected_losses) == 2 * 3  # of training and of validation
    assert losses + more == pytest.approx(expected_losses, rel=1e-4)
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(getattr(model, name), getattr(expected, name), atol=1e-5)
    if changes:
        got, wanted = model.field_weights.R, expected.field_weights.R
        np.testing.assert_allclose(got, wanted, atol=1e-5)
        assert np.abs(wanted - 1).max() > 1e-3
