"""Processes that train one model over loopback: the model is that of one host on all the rows."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.initialization import initial_model
from fm_algo.kernels.cpu import CPUKernel
from fm_algo.row_source import CachedRows
from fm_algo.sparse import CSRBatch
from fm_algo.trainer import train

WORKER = Path(__file__).with_name("worker.py")
HYPERPARAMETERS = {
    "feature_dim": 500,
    "num_factors": 5,
    "predictor_type": "binary_classifier",
    "epochs": 3,
    "mini_batch_size": 12,
    "shuffle": "false",
    "batch_metrics_publish_interval": 2,
    "eps": 1e-3,
    "linear_lr": 0.02,
    "factors_lr": 0.02,
    "factors_init_sigma": 0.1,
}


def draw_rows(num_rows):
    random = np.random.default_rng(3)
    rows, indices = np.nonzero(random.random((num_rows, 500)) < 0.03)
    indptr = np.zeros(num_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=num_rows), out=indptr[1:])
    values = random.normal(0, 1, len(indices)).astype(np.float32)
    labels = (random.random(num_rows) < 0.4).astype(np.float32)
    return CSRBatch(indptr, indices.astype(np.int32), values, labels, 500)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run_hosts(directory, root, rows, num_hosts):
    """Train as so many processes; return what each wrote."""
    (directory / "hyperparameters.json").write_text(json.dumps(HYPERPARAMETERS))
    np.savez(
        directory / "rows.npz",
        **{name: getattr(rows, name) for name in ("indptr", "indices", "values", "labels")},
        feature_dim=rows.feature_dim,
    )
    port = str(free_port())
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(root),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, directory, str(rank), str(num_hosts), port],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(num_hosts)
    ]
    try:
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * num_hosts, "\n".join(errors)
    return [dict(np.load(directory / f"host{rank}.npz")) for rank in range(num_hosts)]


@pytest.mark.parametrize(
    ("num_hosts", "num_rows"),
    [
        pytest.param(2, 240, id="two hosts, whole mini-batches", marks=pytest.mark.hosts),
        pytest.param(3, 37, id="three hosts, one with a step more"),
    ],
)
def test_hosts_train_as_one_on_all_the_rows(tmp_path, root, num_hosts, num_rows):
    rows = draw_rows(num_rows)
    size = num_hosts * HYPERPARAMETERS["mini_batch_size"]
    chosen = parse_hyperparameters({**HYPERPARAMETERS, "mini_batch_size": size})
    one = CPUKernel.starting_from(initial_model(chosen), chosen)
    reports = list(train(one, CachedRows(rows, chosen), chosen))
    losses = [report.metrics[0].value for report in reports if report.metrics]

    hosts = run_hosts(tmp_path, root, rows, num_hosts)

    model = one.model()
    features = np.concatenate([host["features"] for host in hosts])
    assert sorted(features.tolist()) == list(range(500))
    for host in hosts:
        np.testing.assert_allclose(host["losses"], losses, rtol=1e-6)
        np.testing.assert_array_equal(host["w0"], hosts[0]["w0"])
        np.testing.assert_allclose(host["w0"], model.w0, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(host["w"], model.w[host["features"]], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(host["V"], model.V[host["features"]], rtol=1e-5, atol=1e-6)
