"""Train as several processes over loopback, a small training each test can repeat on one host."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.initialization import initial_model
from fm_algo.training.trainer import train

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


def weigh(rows):
    weights = np.random.default_rng(4).choice([0.25, 1, 3], rows.num_rows).astype(np.float32)
    return dataclasses.replace(rows, weights=weights)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def run_hosts(directory, root, rows, num_hosts, hyperparameters, num_gpus=0):
    """Train as so many hosts; return what each of their processes ended with, and said.

    With num_gpus each host has as many processes, whose GPUs are played by Triton's interpreter.
    """
    (directory / "hyperparameters.json").write_text(json.dumps(hyperparameters))
    np.savez(
        directory / "rows.npz",
        **{name: array for name, array in dataclasses.asdict(rows).items() if array is not None},
    )
    port, size = str(free_port()), num_hosts * max(num_gpus, 1)
    environment = {
        "PATH": os.defpath,
        "PYTHONPATH": str(root),
        "GLOO_SOCKET_IFNAME": "lo",
        "TRITON_INTERPRET": "1",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, directory, str(rank), str(size), port, str(num_gpus)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        errors = [process.communicate(timeout=60)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], errors


def assert_trained_as_one(directory, rows, num_hosts, hyperparameters):
    """Check the model that the hosts ended with, and all metrics each has told."""
    size = num_hosts * hyperparameters["mini_batch_size"]
    chosen = parse_hyperparameters({**hyperparameters, "mini_batch_size": size})
    one = CPUKernel.starting_from(initial_model(chosen), chosen)
    reports = list(train(GradientLearner(one, chosen, CachedRows(rows, chosen)), chosen))
    expected = [[metric.value for metric in report.metrics] for report in reports]
    expected = [values for values in expected if values]

    told = [np.load(path) for path in directory.glob("metrics*.npy")]
    for of_process in told:
        np.testing.assert_allclose(of_process, expected, rtol=1e-6)
    model = dict(np.load(directory / "model.npz"))
    for name, array in model.items():
        np.testing.assert_allclose(array, getattr(one.model(), name), rtol=1e-5, atol=1e-6)
