"""What checkpoints cost: how much slower training is with one every so often.

    python benchmarks/bench_checkpoint.py
    python benchmarks/bench_checkpoint.py --feature-dim 1000000 --num-factors 64 --directory /tmp

The real loop trains for `--seconds` with one checkpoint and for as long without, in turn, `--runs`
times. It prints one line of JSON: the checkpoint's size; the seconds that training waits for one
(median and worst); the seconds that one costs in all, measured by the rows trained meanwhile
(median and worst), which includes the writing beside the training; and the share of the time that
one checkpoint every `--interval` seconds takes.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.checkpoint import Checkpoints
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.initialization import draw_initial
from fm_algo.training.progress import Notes
from fm_algo.training.report import BatchReport
from fm_algo.training.trainer import train

NUM_ROWS, ROW_ENTRIES = 100_000, 30


def draw_rows(feature_dim: int) -> CSRBatch:
    """Draw rows of random labels, with features all over the model."""
    random = np.random.default_rng(0)
    features = random.integers(0, feature_dim, (NUM_ROWS, ROW_ENTRIES), np.int32)
    return CSRBatch(
        np.arange(0, features.size + 1, ROW_ENTRIES),
        np.sort(features, axis=1).ravel(),
        np.ones(features.size, np.float32),
        random.random(NUM_ROWS, np.float32),
        feature_dim,
    ).combine_duplicates()


def train_for(
    seconds: float,
    reports: Iterator[BatchReport],
    checkpoints: Checkpoints | None,
    kernel: CPUKernel,
) -> tuple[float, float]:
    """Train; write a checkpoint at the start if checkpoints are wanted.

    Returns
    -------
    rows_per_s, waited_s : float
    """
    num_rows, waited_s, started = 0, 0.0, time.perf_counter()
    for report in reports:
        num_rows += report.num_rows
        now = time.perf_counter()
        if checkpoints is not None and not waited_s:
            checkpoints.write(report.progress, Notes(), kernel.state())
            waited_s = time.perf_counter() - now
        if now - started >= seconds:
            break
    return num_rows / (time.perf_counter() - started), waited_s


def measure(
    hyperparameters: Hyperparameters, directory: Path, seconds: float, runs: int
) -> dict[str, float]:
    """Train with and without checkpoints, in turn."""
    kernel = CPUKernel(hyperparameters)
    draw_initial(kernel.model(), hyperparameters)
    source = CachedRows(draw_rows(hyperparameters.feature_dim), hyperparameters)
    checkpoints = Checkpoints(directory, hyperparameters)
    endless = train(GradientLearner(kernel, hyperparameters, source), hyperparameters)
    reports = (report for report in endless if isinstance(report, BatchReport))
    train_for(seconds / 4, reports, checkpoints, kernel)
    waits, costs = [], []
    for _ in range(runs):
        bare_rows_per_s, _ = train_for(seconds, reports, None, kernel)
        rows_per_s, waited_s = train_for(seconds, reports, checkpoints, kernel)
        waits.append(waited_s)
        costs.append(seconds * (1 - rows_per_s / bare_rows_per_s))
    return {
        "megabytes": round(sum(array.nbytes for array in kernel.state().values()) / 1e6),
        "waited_s": round(statistics.median(waits), 3),
        "worst_waited_s": round(max(waits), 3),
        "cost_s": round(statistics.median(costs), 3),
        "worst_cost_s": round(max(costs), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--feature-dim", type=int, default=200_000)
    parser.add_argument("--num-factors", type=int, default=16)
    parser.add_argument("--interval", type=float, default=60.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=15.0, help="of training, each time")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="of the disk to measure")
    arguments = parser.parse_args()
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": arguments.feature_dim,
            "num_factors": arguments.num_factors,
            "predictor_type": "regressor",
            "epochs": 1_000_000,
        }
    )
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        row = measure(hyperparameters, Path(name), arguments.seconds, arguments.runs)
    row["interval_s"] = arguments.interval
    row["slower_by_percent"] = round(100 * row["cost_s"] / arguments.interval, 2)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
