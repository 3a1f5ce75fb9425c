"""Run other trainers of the same model, for `bench_train.py` to measure.

Each function trains on rows of NUM_FIELDS entries of value 1. It returns the rows per second of an
epoch and the log loss of held-out rows.
"""

import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fm_algo.loss import sigmoid
from fm_algo.sparse import CSRBatch, Float32Array

NUM_FIELDS = 39
NUM_EPOCHS = 3
LEARNING_RATE = 0.001


def log_loss(margin: Float32Array, labels: Float32Array) -> float:
    """Return the mean log loss of log-odds."""
    score = np.clip(sigmoid(margin).astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels == 1, np.log(score), np.log(1 - score))))


def run_torch(
    rows: CSRBatch, test: CSRBatch, num_factors: int, batch_size: int, device: str = "cpu"
) -> tuple[float, float]:
    """Train one epoch with torch's SparseAdam; on a GPU a second one, with data in its memory."""
    import torch

    torch.manual_seed(0)
    factors = torch.nn.Embedding(rows.feature_dim, num_factors, sparse=True)
    torch.nn.init.normal_(factors.weight, std=0.001)
    linear = torch.nn.Embedding(rows.feature_dim, 1, sparse=True)
    torch.nn.init.normal_(linear.weight, std=0.01)
    factors, linear = factors.to(device), linear.to(device)
    bias = torch.nn.Parameter(torch.zeros(1, device=device))
    sparse = torch.optim.SparseAdam([*factors.parameters(), *linear.parameters()], LEARNING_RATE)
    dense = torch.optim.Adam([bias], 0.1)

    def margin(features: "torch.Tensor") -> "torch.Tensor":
        v = factors(features)  # (n, fields, num_factors)
        pairwise = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1)
        result: torch.Tensor = bias + linear(features).sum((1, 2)) + pairwise
        return result

    def as_tensor(batch: CSRBatch) -> "torch.Tensor":
        return torch.from_numpy(batch.indices.astype(np.int64).reshape(-1, NUM_FIELDS)).to(device)

    features, labels = as_tensor(rows), torch.from_numpy(rows.require_labels()).to(device)
    loss = torch.nn.BCEWithLogitsLoss()
    elapsed_s = 0.0
    for _epoch in range(1 if device == "cpu" else 2):
        started = time.perf_counter()
        for start in range(0, rows.num_rows, batch_size):
            part = slice(start, start + batch_size)
            sparse.zero_grad()
            dense.zero_grad()
            loss(margin(features[part]), labels[part]).backward()
            sparse.step()  # type: ignore[no-untyped-call] # torch does not type it
            dense.step()
        if device != "cpu":
            torch.cuda.synchronize()
        elapsed_s = time.perf_counter() - started
    with torch.no_grad():
        predicted = margin(as_tensor(test)).cpu().numpy()
    return rows.num_rows / elapsed_s, log_loss(predicted, test.require_labels())


def run_xlearn(
    rows: CSRBatch, test: CSRBatch, num_factors: int, program: Path
) -> tuple[float, float]:
    """Train with xLearn's Adagrad, at its default rate, on all processors, by its own clock."""
    # -s 1: FM, log loss; no early stopping. Rows are scaled, as by default: else it diverges.
    options = f"-s 1 -p adagrad -k {num_factors} -e {NUM_EPOCHS} -nthread {_num_processors()}"
    command: list[str | Path] = [program, "train", *options.split(), "--dis-es"]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file, batch in (("train", rows), ("test", test)):
            _write_libsvm(directory / file, batch)
        seconds = [float(line[-1]) for line in _xlearn_table(_run(command, directory))]
        losses = [
            float(line[-2]) for line in _xlearn_table(_run([*command, "-v", "test"], directory))
        ]
    return rows.num_rows / statistics.median(seconds[1:]), losses[-1]


def run_xlearn_curve(
    rows: CSRBatch, test: CSRBatch, num_factors: int, program: Path, rate: float, epochs: int
) -> list[tuple[float, float]]:
    """Train with xLearn's Adagrad; return its seconds and its test log loss after each epoch."""
    threads = _num_processors()
    options = f"-s 1 -p adagrad -k {num_factors} -r {rate} -e {epochs} -nthread {threads}"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file, batch in (("train", rows), ("test", test)):
            _write_libsvm(directory / file, batch)
        command: list[str | Path] = [program, "train", *options.split(), "--dis-es"]
        # Its clock counts the scoring of test rows, so take the seconds of a run without them.
        seconds = [float(line[-1]) for line in _xlearn_table(_run(command, directory))]
        scored = _xlearn_table(_run([*command, "-v", "test"], directory))
    losses = [float(line[-2]) for line in scored]
    return list(zip(np.cumsum(seconds).tolist(), losses, strict=True))


def _xlearn_table(output: str) -> list[list[str]]:
    """Return the lines of xLearn's table of epochs: epoch, losses, seconds."""
    lines = (re.sub(r"\x1b\[\d+m", "", line).rpartition("]") for line in output.splitlines())
    return [rest.split() for mark, _, rest in lines if mark.endswith(tuple("% ")) and "%" in mark]


def run_libfm(
    rows: CSRBatch, test: CSRBatch, num_factors: int, program: Path
) -> tuple[float, float]:
    """Train with libFM's SGD, on its only thread."""

    def train(directory: Path, epochs: int) -> str:
        options = f"-task c -method sgd -learn_rate {LEARNING_RATE} -regular 0 -init_stdev 0.001"
        files = ["-train", "train", "-test", "test", "-out", "predicted"]
        shape = ["-dim", f"1,1,{num_factors}", "-iter", str(epochs)]
        _run([program, *options.split(), *files, *shape], directory)
        return (directory / "predicted").read_text()

    def quality(output: str) -> float:
        score = np.clip(np.array(output.split(), np.float64), 1e-7, 1 - 1e-7)
        labels = test.require_labels()
        return float(-np.mean(np.where(labels == 1, np.log(score), np.log(1 - score))))

    return _run_on_text(rows, test, train, quality)


def _run_on_text(
    rows: CSRBatch,
    test: CSRBatch,
    train: Callable[[Path, int], str],
    quality: Callable[[str], float],
) -> tuple[float, float]:
    """Time the epochs after the first of a program that reads text, so that reading cancels out."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        for file, batch in (("train", rows), ("test", test)):
            _write_libsvm(directory / file, batch)
        train(directory, 1)  # makes the caches that some programs keep
        seconds = []
        for epochs in (1, NUM_EPOCHS):
            started = time.perf_counter()
            output = train(directory, epochs)
            seconds.append(time.perf_counter() - started)
    epoch_s = (seconds[1] - seconds[0]) / (NUM_EPOCHS - 1)
    return rows.num_rows / epoch_s, quality(output)


def _write_libsvm(path: Path, batch: CSRBatch) -> None:
    with path.open("w") as file:
        labels, indices = batch.require_labels(), batch.indices.reshape(-1, NUM_FIELDS)
        for label, features in zip(labels.tolist(), indices.tolist(), strict=True):
            file.write(f"{label:g} {' '.join(f'{feature}:1' for feature in features)}\n")


def _run(command: list[str | Path], directory: Path) -> str:
    environment = {"USER": "bench", "HOSTNAME": "bench"}  # xLearn crashes without USER
    return subprocess.run(
        command, cwd=directory, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _num_processors() -> int:
    return len(os.sched_getaffinity(0))
