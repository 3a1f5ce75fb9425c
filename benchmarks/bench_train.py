"""Rows a second of a training epoch: this library's CPU kernel beside other trainers.

    python benchmarks/bench_train.py                     k = 16 and 64, this library and torch
    python benchmarks/bench_train.py --xlearn PATH --libfm PATH --num-factors 8 16 64
    python benchmarks/bench_train.py --peers fm_algo-adam --runs 3

xLearn and libFM are measured if their programs (xlearn_train, libFM) are given. Each run is a
separate process. The peers take turns, so that a slow spell of the machine hits them all. Each peer
gives one line of JSON: rows per second (median, best), the log loss of held-out rows (quality
beside speed), and where it was measured. The last lines are the ratios of the medians.

Data: rows of 39 entries of value 1, one for each of 39 fields of equal width, over 1,000,000
features drawn uniformly. Labels are drawn from a planted factorization machine. Every peer trains
NUM_EPOCHS epochs, and the later ones count. torch trains one, because its next would be alike.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from peers import LEARNING_RATE, NUM_EPOCHS, NUM_FIELDS, log_loss, run_libfm, run_torch, run_xlearn

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

NUM_TEST = 20_000
TORCH_BATCH_SIZES = (1000, 4000, 16_000)


def make_rows(num_rows: int, feature_dim: int, seed: int) -> CSRBatch:
    """Draw rows and labels from a planted model that depends only on seed 0."""
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


def run_fm_algo(
    rows: CSRBatch, test: CSRBatch, num_factors: int, optimizer: str
) -> tuple[float, float]:
    """Train with the CPU kernel; return rows per second and held-out log loss."""
    from fm_algo.training.gradient.cpu import CPUKernel
    from fm_algo.training.gradient.learner import GradientLearner
    from fm_algo.training.gradient.mini_batches import CachedRows
    from fm_algo.training.initialization import draw_initial
    from fm_algo.training.report import EpochReport
    from fm_algo.training.trainer import train

    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": rows.feature_dim,
            "num_factors": num_factors,
            "predictor_type": "binary_classifier",
            "optimizer": optimizer,
            "epochs": NUM_EPOCHS,
            "linear_lr": LEARNING_RATE,
            "factors_lr": LEARNING_RATE,
        }
    )
    kernel = CPUKernel(hyperparameters)
    draw_initial(kernel.model(), hyperparameters)
    source = CachedRows(rows, hyperparameters)
    reports = [
        report
        for report in train(GradientLearner(kernel, hyperparameters, source), hyperparameters)
        if isinstance(report, EpochReport)
    ]
    epoch_s = statistics.median(report.elapsed_s for report in reports[1:])
    return rows.num_rows / epoch_s, log_loss(kernel.margin(test), test.require_labels())


Run = Callable[[CSRBatch, CSRBatch, int], tuple[float, float]]


def peers(options: argparse.Namespace) -> dict[str, Run]:
    """Return the functions to measure: this library's optimisers, and the available peers."""
    known: dict[str, Run] = {
        f"fm_algo-{optimizer}": functools.partial(run_fm_algo, optimizer=optimizer)
        for optimizer in ("adam", "rowwise_adagrad")
    }
    for size in TORCH_BATCH_SIZES:
        known[f"torch-{size}"] = functools.partial(run_torch, batch_size=size)
    if options.xlearn:
        known["xlearn-adagrad"] = functools.partial(run_xlearn, program=options.xlearn)
    if options.libfm:
        known["libfm-sgd"] = functools.partial(run_libfm, program=options.libfm)
    wanted = {*options.peers}
    return {name: run for name, run in known.items() if {name, name.partition("-")[0]} & wanted}


def measure(peer: str, num_factors: int) -> dict[str, float]:
    """Run one peer in a fresh process, with the same command line."""
    command = [sys.executable, *sys.argv, "--one", peer, str(num_factors)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, float] = json.loads(output)
    return result


def run_one(options: argparse.Namespace) -> None:
    """Do what `measure` asked for and print the result."""
    peer, num_factors = options.one
    rows = make_rows(options.num_rows, options.feature_dim, seed=1)
    test = make_rows(NUM_TEST, options.feature_dim, seed=2)
    rows_per_second, loss = peers(options)[peer](rows, test, int(num_factors))
    print(json.dumps({"rows_per_second": rows_per_second, "log_loss": loss}))


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-factors", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--peers", nargs="+", default=["fm_algo", "torch", "xlearn", "libfm"])
    parser.add_argument("--xlearn", type=Path, help="the program xlearn_train")
    parser.add_argument("--libfm", type=Path, help="the program libFM")
    parser.add_argument("--num-rows", type=int, default=200_000)
    parser.add_argument("--feature-dim", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options)
        return
    for num_factors in options.num_factors:
        compare(options, num_factors)


def compare(options: argparse.Namespace, num_factors: int) -> None:
    """Measure all peers at one num_factors; print a line for each, then the ratios."""
    names = list(peers(options))
    results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(options.runs):
        for name in names:
            results[name].append(measure(name, num_factors))
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
    ours = [name for name in medians if name.startswith("fm_algo")]
    for name in ours:
        for other in sorted(medians.keys() - {*ours}):
            ratio = medians[name] / medians[other]
            print(f"num_factors={num_factors}: {name} is {ratio:.2f} times as fast as {other}")


def commit() -> str:
    """Return the commit that was measured."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    main()
