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


def run_hosts(directory, root, rows, num_hosts, hyperparameters):
    """Train as so many processes; return what each ended with, and said."""
    (directory / "hyperparameters.json").write_text(json.dumps(hyperparameters))
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
    return [process.returncode for process in processes], errors


@pytest.mark.parametrize(
    ("split", "optimizer", "num_factors", "num_hosts", "num_rows"),
    [
        pytest.param("RowKernel", "adam", 5, 2, 240, marks=pytest.mark.hosts),
        pytest.param("RowKernel", "adam", 5, 3, 37, id="by feature, one host with a step more"),
        pytest.param("RowKernel", "rowwise_adagrad", 16, 2, 240, marks=pytest.mark.hosts),
        pytest.param("FactorKernel", "ftrl", 19, 2, 240, marks=pytest.mark.hosts),
        pytest.param("FactorKernel", "adam", 24, 3, 37, id="by factor, one host with a step more"),
    ],
)
def test_hosts_train_as_one_on_all_the_rows(
    tmp_path, root, split, optimizer, num_factors, num_hosts, num_rows
):
    rows = draw_rows(num_rows)
    hyperparameters = HYPERPARAMETERS | {"num_factors": num_factors, "optimizer": optimizer}
    size = num_hosts * HYPERPARAMETERS["mini_batch_size"]
    chosen = parse_hyperparameters({**hyperparameters, "mini_batch_size": size})
    one = CPUKernel.starting_from(initial_model(chosen), chosen)
    reports = list(train(one, CachedRows(rows, chosen), chosen))
    expected_losses = [report.metrics[0].value for report in reports if report.metrics]

    codes, errors = run_hosts(tmp_path, root, rows, num_hosts, hyperparameters)

    assert codes == [0] * num_hosts, "\n".join(errors)
    losses = [np.load(tmp_path / f"losses{rank}.npy") for rank in range(num_hosts)]
    model = dict(np.load(tmp_path / "model.npz"))
    assert {path.read_text() for path in tmp_path.glob("split*")} == {split}
    for of_host in losses:
        np.testing.assert_allclose(of_host, expected_losses, rtol=1e-6)
    for name, array in model.items():
        np.testing.assert_allclose(array, getattr(one.model(), name), rtol=1e-5, atol=1e-6)


@pytest.mark.hosts
def test_a_host_that_fails_does_not_wait_for_rows_of_one_that_has_none_yet(tmp_path, root):
    """It reads ahead when it fails, and the other host does not know yet."""
    rows = draw_rows(240)
    rows.values[rows.indptr[3] : rows.indptr[4]] = 3e38  # one of host 1's first mini-batch
    (tmp_path / "slow0").touch()
    hyperparameters = HYPERPARAMETERS | {"num_factors": 16}

    codes, errors = run_hosts(tmp_path, root, rows, 2, hyperparameters)

    assert codes == [1, 1]
    assert all("training diverged in epoch 0, mini-batch 0" in error for error in errors)
