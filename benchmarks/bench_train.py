"""Rows a second of one training epoch: this library's CPU kernel beside the same model in torch.

    python benchmarks/bench_train.py                     k = 16 and 64, both, 5 runs each
    python benchmarks/bench_train.py --num-factors 8 --peers fm_algo --runs 3

Each run is a process of its own; the peers take turns, so that a slow spell of the machine meets
both. A line of JSON comes out for each peer: rows a second (median, best), the log loss of held-out
rows after the epoch (quality beside speed), and where it was measured. The last lines are the
ratios of the medians.

Data: rows of 39 entries of value 1, one for each of 39 fields of equal width, over 1,000,000
features drawn uniformly; labels drawn from a planted factorization machine.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.initialization import initial_model
from fm_algo.model import FMModel, sigmoid
from fm_algo.row_source import CachedRows
from fm_algo.sparse import CSRBatch, Float32Array

NUM_FIELDS = 39
NUM_TEST = 20_000
TORCH_BATCH_SIZES = (1000, 4000, 16_000)
LEARNING_RATE = 0.01


def make_rows(num_rows: int, feature_dim: int, seed: int) -> CSRBatch:
    """Draw rows and labels from a planted model that depends on the seed 0 alone."""
    random = np.random.default_rng([seed, 1])
    width = feature_dim // NUM_FIELDS
    within = random.integers(0, width, (num_rows, NUM_FIELDS), dtype=np.int32)
    indices = (within + np.arange(NUM_FIELDS, dtype=np.int32) * width).ravel()
    rows = CSRBatch(
        np.arange(num_rows + 1, dtype=np.int64) * NUM_FIELDS,
        indices,
        np.ones(len(indices), np.float32),
        None,
        feature_dim,
    )
    planted = np.random.default_rng(0)
    model = FMModel(
        "binary_classifier",
        np.array([-0.5], np.float32),
        planted.normal(0, 0.3, feature_dim).astype(np.float32),
        planted.normal(0, 0.1, (feature_dim, 4)).astype(np.float32),
    )
    labels = (random.random(num_rows) < model.score(rows)).astype(np.float32)
    return CSRBatch(rows.indptr, rows.indices, rows.values, labels, feature_dim)


def log_loss(margin: Float32Array, labels: Float32Array) -> float:
    """Mean log loss of log-odds."""
    score = np.clip(sigmoid(margin).astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(labels == 1, np.log(score), np.log(1 - score))))


def run_fm_algo(rows: CSRBatch, test: CSRBatch, num_factors: int) -> tuple[float, float]:
    """Train an epoch with the CPU kernel; rows a second and held-out log loss."""
    from fm_algo.kernels.cpu import CPUKernel
    from fm_algo.trainer import train

    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": rows.feature_dim,
            "num_factors": num_factors,
            "predictor_type": "binary_classifier",
            "linear_lr": LEARNING_RATE,
            "factors_lr": LEARNING_RATE,
            "shuffle": False,  # as for torch below
            "batch_metrics_publish_interval": 10**9,
        }
    )
    kernel = CPUKernel.starting_from(initial_model(hyperparameters), hyperparameters)
    kernel.margin(rows.rows(0, 1))  # loads the compiled kernel
    started = time.perf_counter()
    for _report in train(kernel, CachedRows(rows, hyperparameters), hyperparameters):
        pass
    elapsed_s = time.perf_counter() - started
    return rows.num_rows / elapsed_s, log_loss(kernel.margin(test), test.require_labels())


def run_torch(
    rows: CSRBatch, test: CSRBatch, num_factors: int, batch_size: int
) -> tuple[float, float]:
    """Train an epoch with torch's SparseAdam; rows a second and held-out log loss."""
    import torch

    torch.manual_seed(0)
    factors = torch.nn.Embedding(rows.feature_dim, num_factors, sparse=True)
    torch.nn.init.normal_(factors.weight, std=0.001)
    linear = torch.nn.Embedding(rows.feature_dim, 1, sparse=True)
    torch.nn.init.normal_(linear.weight, std=0.01)
    bias = torch.nn.Parameter(torch.zeros(1))
    sparse = torch.optim.SparseAdam([*factors.parameters(), *linear.parameters()], LEARNING_RATE)
    dense = torch.optim.Adam([bias], 0.1)

    def margin(features: "torch.Tensor") -> "torch.Tensor":
        v = factors(features)  # (n, fields, num_factors)
        pairwise = 0.5 * (v.sum(1).pow(2) - v.pow(2).sum(1)).sum(1)
        result: torch.Tensor = bias + linear(features).sum((1, 2)) + pairwise
        return result

    def as_tensor(batch: CSRBatch) -> "torch.Tensor":
        return torch.from_numpy(batch.indices.astype(np.int64).reshape(-1, NUM_FIELDS))

    features, labels = as_tensor(rows), torch.from_numpy(rows.require_labels())
    loss = torch.nn.BCEWithLogitsLoss()
    started = time.perf_counter()
    for start in range(0, rows.num_rows, batch_size):
        part = slice(start, start + batch_size)
        sparse.zero_grad()
        dense.zero_grad()
        loss(margin(features[part]), labels[part]).backward()
        sparse.step()  # type: ignore[no-untyped-call] # torch's own gap
        dense.step()
    elapsed_s = time.perf_counter() - started
    with torch.no_grad():
        predicted = margin(as_tensor(test)).numpy()
    return rows.num_rows / elapsed_s, log_loss(predicted, test.require_labels())


Run = Callable[[CSRBatch, CSRBatch, int], tuple[float, float]]


def peers(names: list[str]) -> dict[str, Run]:
    """Return the functions to measure: this library, and torch at each batch size."""
    known: dict[str, Run] = {"fm_algo": run_fm_algo}
    for size in TORCH_BATCH_SIZES:
        known[f"torch-{size}"] = functools.partial(run_torch, batch_size=size)
    return {name: run for name, run in known.items() if {name, name.partition("-")[0]} & {*names}}


def measure(peer: str, num_factors: int, num_rows: int, feature_dim: int) -> dict[str, float]:
    """Run one peer in a fresh process."""
    arguments = [peer, str(num_factors), str(num_rows), str(feature_dim)]
    command = [sys.executable, __file__, "--one", *arguments]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output)
    return result


def run_one(peer: str, num_factors: int, num_rows: int, feature_dim: int) -> None:
    """Do what `measure` asked for and print the result."""
    rows = make_rows(num_rows, feature_dim, seed=1)
    test = make_rows(NUM_TEST, feature_dim, seed=2)
    rows_per_second, loss = peers([peer])[peer](rows, test, num_factors)
    print(json.dumps({"rows_per_second": rows_per_second, "log_loss": loss}))


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-factors", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--peers", nargs="+", default=["fm_algo", "torch"])
    parser.add_argument("--num-rows", type=int, default=200_000)
    parser.add_argument("--feature-dim", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one[0], *map(int, options.one[1:]))
        return
    for num_factors in options.num_factors:
        compare(options, num_factors)


def compare(options: argparse.Namespace, num_factors: int) -> None:
    """Measure all peers at one num_factors and print a row for each, then the ratios."""
    names = list(peers(options.peers))
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(options.runs):
        for name in names:
            results[name].append(measure(name, num_factors, options.num_rows, options.feature_dim))
    medians = {}
    for name, runs in results.items():
        speeds = [run["rows_per_second"] for run in runs]
        medians[name] = statistics.median(speeds)
        row = {
            "benchmark": "train",
            "peer": name,
            "num_factors": num_factors,
            "rows_per_second_median": round(medians[name]),
            "rows_per_second_best": round(max(speeds)),
            "log_loss": round(statistics.median(run["log_loss"] for run in runs), 5),
            "runs": len(runs),
            "num_rows": options.num_rows,
            "feature_dim": options.feature_dim,
            "processors": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "commit": commit(),
        }
        print(json.dumps(row), flush=True)
    others = {name: speed for name, speed in medians.items() if name != "fm_algo"}
    if others and "fm_algo" in medians:
        best = max(others, key=lambda name: others[name])
        ratio = medians["fm_algo"] / others[best]
        print(f"num_factors={num_factors}: fm_algo is {ratio:.1f} times as fast as {best}")


def commit() -> str:
    """Return the commit that was measured."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
