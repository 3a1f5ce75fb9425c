"""Does a GPU learn what the CPU learns? The rmse of held-out ratings after each epoch, on both.

    python benchmarks/bench_gpu_trajectory.py            on a GPU: MovieLens-100k
    python benchmarks/bench_gpu_trajectory.py --small    a few drawn ratings; without a GPU, in
                                                         Triton's interpreter

It prints one line of JSON for each way of training. Both kernels start from the same parameters and
take the same mini-batches, so the two rows of rmse differ by rounding only.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.gradient.select import make_gpu_kernel, make_kernel
from fm_algo.training.initialization import draw_initial
from fm_algo.training.report import EpochReport
from fm_algo.training.trainer import train

sys.path.append(str(Path(__file__).resolve().parent.parent / "local_test"))
import movielens  # local_test is no package

WAYS: dict[str, dict[str, object]] = {
    "adam": {"optimizer": "adam", "linear_lr": 0.005, "factors_lr": 0.005},
    "rowwise_adagrad": {"optimizer": "rowwise_adagrad", "linear_lr": 0.05, "factors_lr": 0.05},
    "ftrl": {"optimizer": "ftrl", "linear_lr": 1, "factors_lr": 1, "l1": 1e-6},
    "adam, field_weighted": {
        "optimizer": "adam",
        "linear_lr": 0.005,
        "factors_lr": 0.005,
        "interaction": "field_weighted",
        "feature_fields": f"[0, {movielens.NUM_USERS}]",
    },
}
"""Ways of training, and their hyperparameters."""


def load_rows(*, is_small: bool) -> tuple[CSRBatch, CSRBatch]:
    """Return nine tenths of the ratings, and the others; a few drawn ones if small."""
    random = np.random.default_rng(0)
    if is_small:
        shape = movielens.NUM_USERS, movielens.NUM_ITEMS, 5
        ratings = np.stack([random.integers(1, 1 + most, 10) for most in shape], axis=1)
    else:
        ratings = random.permutation(movielens.load_ratings())
    features = np.stack([ratings[:, 0] - 1, ratings[:, 1] - 1 + movielens.NUM_USERS], axis=1)
    rows = CSRBatch(
        np.arange(0, features.size + 1, 2),
        features.astype(np.int32).reshape(-1),
        np.ones(features.size, np.float32),
        ratings[:, 2].astype(np.float32),
        movielens.FEATURE_DIM,
    )
    num_train = len(ratings) * 9 // 10
    return rows.rows(0, num_train), rows.rows(num_train, len(ratings))


def trajectory(
    kernel: Kernel[Any], chosen: Hyperparameters, rows: CSRBatch, test: CSRBatch
) -> list[float]:
    """Train; return the rmse of the test rows after each epoch."""
    draw_initial(kernel.writable_model(), chosen)
    learner = GradientLearner(kernel, chosen, CachedRows(rows, chosen, kernel.hold(rows)))
    found = []
    for report in train(learner, chosen):
        if isinstance(report, EpochReport):
            errors = kernel.margin(test).astype(np.float64) - test.require_labels()
            found.append(round(float(np.sqrt(np.mean(errors**2))), 5))
    return found


def main() -> None:
    """Train in each way on both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few drawn ratings")
    options = parser.parse_args()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        if not options.small:
            parser.exit(0, "bench_gpu_trajectory: this machine has no GPU; nothing was measured\n")
        os.environ["TRITON_INTERPRET"] = "1"  # noqa: TID251 - Triton reads it on import
    rows, test = load_rows(is_small=options.small)
    data = "a few drawn ones" if options.small else "MovieLens-100k"
    num_factors, size, epochs = (4, 9, 2) if options.small else (16, 1000, 10)
    for name, way in WAYS.items():
        chosen = parse_hyperparameters(
            {
                "feature_dim": movielens.FEATURE_DIM,
                "num_factors": num_factors,
                "predictor_type": "regressor",
                "mini_batch_size": size,
                "epochs": epochs,
                "factors_init_sigma": 0.1,
                "device": "cpu",
                **way,
            }
        )
        space = chosen.numbered_fields
        on_cpu = trajectory(make_kernel(chosen, space), chosen, rows, test)
        on_gpu = trajectory(make_gpu_kernel(chosen, space, device), chosen, rows, test)
        row = {"benchmark": "gpu", "what": "trajectory", "way": name, "data": data}
        print(json.dumps(row | {"cpu": on_cpu, "gpu": on_gpu}), flush=True)


if __name__ == "__main__":
    main()
