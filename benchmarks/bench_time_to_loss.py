"""Seconds of training to a given log loss of held-out rows, beside xLearn, each at its best rate.

    python benchmarks/bench_time_to_loss.py --xlearn PATH
    python benchmarks/bench_time_to_loss.py --xlearn PATH --num-factors 8 --runs 3

Data: rows of 39 entries of value 1, one per field. Fields have 10 to 100,000 values, which are
unevenly frequent (the cube of a uniform number), as in click logs. Labels are drawn from a planted
factorization machine. Every trainer tries its rates for NUM_EPOCHS epochs, with SETTINGS. The clock
counts its epochs, without reading the file and without scoring the held-out rows. The goal is the
least log loss that xLearn reaches at any rate, plus 0.1 %. A trainer's best rate is the one that
reaches the goal first. The runs take turns. Each trainer gives one line of JSON: that rate, the
seconds to the goal (median), and the least log loss it reached.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
from bench_train import commit
from peers import NUM_FIELDS, log_loss, run_xlearn_curve

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.initialization import draw_initial
from fm_algo.training.report import EpochReport
from fm_algo.training.trainer import train

NUM_EPOCHS = 8
RATES = {
    "adam": (0.0005, 0.001, 0.002, 0.004),
    "adagrad": (0.05, 0.07, 0.1, 0.14),
    "rowwise_adagrad": (0.05, 0.07, 0.1, 0.14),
    "xlearn": (0.05, 0.1, 0.2, 0.4, 0.8),
}
_ADAGRAD = {"eps": 0.005, "factors_wd": 0.0001}
SETTINGS: dict[str, dict[str, float]] = {
    "adam": {},
    "adagrad": _ADAGRAD,
    "rowwise_adagrad": _ADAGRAD,
}
"""Adagrad's eps keeps features that are seen once from a step as long as the rate. xLearn starts
with a state of 1 for the same reason."""
FACTORS_RATE = 0.15
"""Learning rate of the factors, divided by that of the linear weights."""
TOLERANCE = 1.001

Curve = list[tuple[float, float]]
"""Seconds of training and log loss after each epoch."""


def make_rows(num_rows: int, seed: int) -> CSRBatch:
    """Draw rows and labels; the planted model depends only on seed 0."""
    values = np.geomspace(10, 100_000, NUM_FIELDS).astype(np.int64)
    first = np.concatenate([[0], np.cumsum(values)])
    random = np.random.default_rng([seed, 1])
    drawn = (random.random((num_rows, NUM_FIELDS)) ** 3 * values).astype(np.int64)
    feature_dim = int(first[-1])
    indices = (drawn + first[:-1]).astype(np.int32).ravel()
    planted = np.random.default_rng(0)
    model = FMModel(
        "binary_classifier",
        np.array([-0.5], np.float32),
        planted.normal(0, 0.25, feature_dim).astype(np.float32),
        planted.normal(0, 0.15, (feature_dim, 4)).astype(np.float32),
    )
    indptr = np.arange(num_rows + 1, dtype=np.int64) * NUM_FIELDS
    rows = CSRBatch(indptr, indices, np.ones(len(indices), np.float32), None, feature_dim)
    labels = (random.random(num_rows) < model.score(rows)).astype(np.float32)
    return CSRBatch(indptr, indices, rows.values, labels, feature_dim)


def run_fm_algo(
    rows: CSRBatch, test: CSRBatch, num_factors: int, optimizer: str, rate: float, batch: int
) -> Curve:
    """Train with the CPU kernel."""
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": rows.feature_dim,
            "num_factors": num_factors,
            "predictor_type": "binary_classifier",
            "optimizer": optimizer,
            "epochs": NUM_EPOCHS,
            "mini_batch_size": batch,
            "bias_lr": rate,
            "linear_lr": rate,
            "factors_lr": FACTORS_RATE * rate,
            "linear_wd": 0.0,
            "factors_init_sigma": 0.01,
            **SETTINGS[optimizer],
        }
    )
    kernel = CPUKernel(hyperparameters)
    draw_initial(kernel.model(), hyperparameters)
    curve: Curve = []
    elapsed_s = 0.0
    learner = GradientLearner(kernel, hyperparameters, CachedRows(rows, hyperparameters))
    for report in train(learner, hyperparameters):
        if isinstance(report, EpochReport):
            elapsed_s += report.elapsed_s
            curve.append((elapsed_s, log_loss(kernel.margin(test), test.require_labels())))
    return curve


def seconds_to(goal: float, curve: Curve) -> float:
    """Return the time at which a curve first reaches the goal; inf if it never does."""
    return next((seconds for seconds, loss in curve if loss <= goal), float("inf"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--xlearn", type=Path, required=True, help="the program xlearn_train")
    parser.add_argument("--num-factors", type=int, default=16)
    parser.add_argument("--num-rows", type=int, default=300_000)
    parser.add_argument("--mini-batch-size", type=int, default=1000)
    parser.add_argument("--optimizers", nargs="+", default=["adam", "adagrad", "rowwise_adagrad"])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows, test = make_rows(options.num_rows, seed=1), make_rows(50_000, seed=2)

    def run(name: str, rate: float) -> Curve:
        if name == "xlearn":
            return run_xlearn_curve(
                rows, test, options.num_factors, options.xlearn, rate, NUM_EPOCHS
            )
        size = options.mini_batch_size
        return run_fm_algo(rows, test, options.num_factors, name, rate, size)

    names = ["xlearn", *options.optimizers]
    curves: dict[tuple[str, float], list[Curve]] = {}
    for _ in range(options.runs):
        for name in names:
            for rate in RATES[name]:
                curves.setdefault((name, rate), []).append(run(name, rate))
    least = {
        key: min(loss for curve in several for _, loss in curve) for key, several in curves.items()
    }
    goal = TOLERANCE * min(loss for (name, _), loss in least.items() if name == "xlearn")
    medians = {}
    for name in names:
        times = {
            rate: statistics.median(seconds_to(goal, curve) for curve in curves[name, rate])
            for rate in RATES[name]
        }
        rate = min(times, key=lambda rate: times[rate])
        medians[name] = times[rate]
        row = {
            "benchmark": "time_to_loss",
            "trainer": name,
            "num_factors": options.num_factors,
            "goal": round(goal, 5),
            "rate": rate,
            "seconds": round(medians[name], 3),
            "least_log_loss": round(min(least[name, rate] for rate in RATES[name]), 5),
            "commit": commit(),
        }
        print(json.dumps(row), flush=True)
    for name in options.optimizers:
        ratio = medians["xlearn"] / medians[name]
        print(f"{name} is {ratio:.2f} times as fast as xLearn to a log loss of {goal:.5f}")


if __name__ == "__main__":
    main()
