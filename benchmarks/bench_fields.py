"""Compare weights of pairs of fields with an ordinary factorization machine.

    python benchmarks/bench_fields.py quality --frappe FOLDER    clicks on apps, 10 fields
    python benchmarks/bench_fields.py quality                    MovieLens-100k with side columns
    python benchmarks/bench_fields.py cost                       steps, 10 and 39 fields

FOLDER holds frappe.validation.libfm and frappe.test.libfm, as papers on neural factorization
machines use them; rows of the first are trained on, those of the second are the test. Of
MovieLens-100k the last tenth of a random order is the test.

Quality: some rows are held out, half of the test's clicks, a tenth of the ratings. For either
interaction as many settings are drawn (--trials, row-wise Adagrad and Adagrad) and judged on these
rows. The best one trains with three seeds, stopped by these rows. One line of JSON per interaction
tells the settings and the metric of each seed on the other test rows. Cost: what a thread spends on
a mini-batch of 1,000 rows, prepared and stepped, the median of 30 of them, and the ratio.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_quality import load, side_features
from movielens import NUM_USERS
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.loss import LOSSES
from fm_algo.model import PredictorType
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.evaluation import evaluate
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.cpu_fields import FieldCPUKernel
from fm_algo.training.initialization import draw_initial, start_at_mean
from fm_algo.training.metrics import Metric
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.trainer import train
from fm_algo.training.validation_split import split_rows

Settings = dict[str, Any]
Data = tuple[CSRBatch, CSRBatch, CSRBatch, FeatureSpace]
"""Rows to train on, to tune by and to test on, and their fields."""

INTERACTIONS = ("all", "field_weighted")
NUM_FACTORS = {"binary_classifier": 64, "regressor": 16}
"""Of the clicks, and of the ratings, which 64 fit too well."""

MOST_EPOCHS = 40
PATIENCE = 3
SEEDS = (0, 1, 2)


def frappe(folder: Path) -> Data:
    """Return the Frappe data."""
    parts = []
    for name in ("validation", "test"):
        lines = (folder / f"frappe.{name}.libfm").read_text().splitlines()
        words = [line.split() for line in lines]
        labels = np.array([float(label) > 0 for label, *_ in words], np.float32)
        features = np.array([[int(w.partition(":")[0]) for w in row[1:]] for row in words])
        parts.append((features.astype(np.int32), labels))
    feature_dim = 1 + max(int(features.max()) for features, _ in parts)
    field_of = np.zeros(feature_dim, np.int32)
    for features, _ in parts:
        for field in range(features.shape[1]):
            field_of[features[:, field]] = field
    train_rows, test_rows = (
        CSRBatch(
            np.arange(0, features.size + 1, features.shape[1]),
            features.reshape(-1), np.ones(features.size, np.float32), labels, feature_dim,
        )
        for features, labels in parts
    )  # fmt: skip
    names = [str(field) for field in range(parts[0][0].shape[1])]
    rest, drawn = split_rows(test_rows, 0.5, 0)
    return train_rows, drawn, rest, FeatureSpace.of_map(names, field_of)


def ratings() -> Data:
    """Return MovieLens-100k with its side columns."""
    all_rows, test_rows = load("B", 0)
    train_rows, drawn = split_rows(all_rows, 0.1, 0)
    sides, feature_dim = side_features()
    of_users = np.array([sides[user] for user in range(NUM_USERS)])  # (n, 3)
    side_firsts = [*of_users.min(axis=0), of_users.max() + 1]
    firsts = np.array([0, NUM_USERS, *side_firsts], np.int64)
    names = ("user", "item", "age", "gender", "occupation", "genres")
    return train_rows, drawn, test_rows, FeatureSpace.of_columns(names, firsts, feature_dim)


def draw_settings(random: np.random.Generator, predictor_type: PredictorType) -> Settings:
    """Draw rates, decay and so on; the sizes of decay are those that either data needs."""
    lr = float(10 ** random.uniform(-1.5, -0.7))
    most, least = (-3.5, -5) if predictor_type == "binary_classifier" else (-2.2, -3.2)
    return {
        "optimizer": str(random.choice(["adagrad", "rowwise_adagrad"])),
        "mini_batch_size": int(random.choice([200, 500, 1000])),
        "factors_lr": lr,
        "linear_lr": lr * float(10 ** random.uniform(-0.5, 0.3)),
        "factors_wd": float(10 ** random.uniform(least, most)),
        "linear_wd": float(10 ** random.uniform(least - 0.5, most - 0.5)),
        "factors_init_sigma": float(10 ** random.uniform(-2.5, -1)),
        "field_weights_lr": lr * float(10 ** random.uniform(-0.5, 0.4)),
        "field_weights_wd": float(random.choice([0, 0.001, 0.003])),
    }


def train_and_judge(
    rows: CSRBatch, judged: list[CSRBatch], space: FeatureSpace, chosen: Hyperparameters
) -> NDArray[np.float64]:
    """Train, and return the loss of the judged rows after each epoch, (num_epochs, len(judged))."""
    learner = make_learner(chosen, space=space)
    draw_initial(learner.writable_model(), chosen)
    training_rows = Rows.in_memory(rows)
    start_at_mean(learner.writable_model(), chosen, training_rows)
    learner.take_rows(training_rows)
    metric = LOSSES[chosen.predictor_type].metric
    losses = []

    def validate(_epoch: int) -> list[Metric]:
        found = [evaluate(learner, chosen.predictor_type, [each]) for each in judged]
        losses.append([next(m.value for m in each if m.name == metric) for each in found])
        return found[0]

    for _ in train(learner, chosen, validate=validate):
        pass
    return np.array(losses)


def quality(data: Data, predictor_type: PredictorType, num_trials: int) -> None:
    """Tune both interactions alike, and print how they predict the test rows."""
    train_rows, drawn, test_rows, space = data
    for interaction in INTERACTIONS:
        random, best = np.random.default_rng(0), (np.inf, Settings())
        began = time.perf_counter()
        for _ in range(num_trials):
            settings = draw_settings(random, predictor_type)
            if interaction == "all":
                settings = {k: v for k, v in settings.items() if "field" not in k}
            reached = []
            for seed in SEEDS[:2]:  # one alone may be lucky
                chosen = hyperparameters(
                    settings | {"seed": seed}, predictor_type, interaction, space.feature_dim
                )
                reached.append(train_and_judge(train_rows, [drawn], space, chosen).min())
            loss = float(np.mean(reached))
            best = min(best, (loss, settings), key=lambda found: found[0])
        loss, settings = best
        tests = []
        for seed in SEEDS:
            chosen = hyperparameters(
                settings | {"seed": seed}, predictor_type, interaction, space.feature_dim
            )
            losses = train_and_judge(train_rows, [drawn, test_rows], space, chosen)
            tests.append(round(float(losses[losses[:, 0].argmin(), 1]), 5))
        line = {
            "interaction": interaction, "test": float(np.median(tests)), "tests": tests,
            "held_out": round(loss, 5), "settings": settings,
            "trials": num_trials, "seconds": round(time.perf_counter() - began, 1),
        }  # fmt: skip
        print(json.dumps(line), flush=True)


def hyperparameters(
    settings: Settings, predictor_type: PredictorType, interaction: str, feature_dim: int
) -> Hyperparameters:
    """Return the hyperparameters of a training with these settings."""
    fixed: Settings = {
        "feature_dim": feature_dim, "num_factors": NUM_FACTORS[predictor_type],
        "predictor_type": predictor_type,
        "interaction": interaction, "bias_init_method": "mean", "device": "cpu",
        "epochs": MOST_EPOCHS, "early_stopping_patience": PATIENCE,
    }  # fmt: skip
    return Hyperparameters(**(fixed | settings))


def cost(num_factors: int, num_fields: int, num_runs: int = 30) -> None:
    """Print what a mini-batch of 1,000 rows takes of a thread, with weights of fields or without.

    Each row has one feature per field, of 1,000,000 features drawn alike.
    """
    feature_dim, num_rows = 1_000_000, 1000
    firsts = np.arange(num_fields, dtype=np.int64) * (feature_dim // num_fields)
    space = FeatureSpace.of_columns([str(f) for f in range(num_fields)], firsts, feature_dim)
    kernels: dict[str, CPUKernel] = {}
    for interaction in INTERACTIONS:
        settings: Settings = {
            "optimizer": "rowwise_adagrad", "num_factors": num_factors, "num_threads": 1,
            "bias_init_method": "normal",
        }  # fmt: skip
        chosen = hyperparameters(settings, "binary_classifier", interaction, feature_dim)
        kernel = CPUKernel(chosen) if interaction == "all" else FieldCPUKernel(chosen, space)
        draw_initial(kernel.writable_model(), chosen)
        kernels[interaction] = kernel
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {interaction: [] for interaction in INTERACTIONS}
    for _ in range(num_runs):
        drawn = random.integers(0, feature_dim // num_fields, (num_rows, num_fields))
        batch = CSRBatch(
            np.arange(0, drawn.size + 1, num_fields), (firsts + drawn).astype(np.int32).reshape(-1),
            np.ones(drawn.size, np.float32), random.integers(0, 2, num_rows).astype(np.float32),
            feature_dim,
        )  # fmt: skip
        for interaction, kernel in kernels.items():
            began = time.thread_time()
            kernel.step(kernel.prepare(batch))
            seconds[interaction].append(time.thread_time() - began)
    plain, weighted = (float(np.median(seconds[interaction])) for interaction in INTERACTIONS)
    line = {
        "fields": num_fields, "num_factors": num_factors, "plain_us": round(plain * 1e6),
        "weighted_us": round(weighted * 1e6), "ratio": round(weighted / plain, 2),
    }  # fmt: skip
    print(json.dumps(line), flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", choices=("quality", "cost"))
    parser.add_argument("--frappe", type=Path, help="folder of the Frappe files")
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    if options.what == "cost":
        for num_fields in (10, 39):
            for num_factors in (16, 64):
                cost(num_factors, num_fields)
    elif options.frappe is not None:
        quality(frappe(options.frappe), "binary_classifier", options.trials)
    else:
        quality(ratings(), "regressor", options.trials)


if __name__ == "__main__":
    main()
