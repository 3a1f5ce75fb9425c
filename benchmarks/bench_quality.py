"""Quality, seconds and peak memory of learned regularisation on MovieLens-100k.

    python benchmarks/bench_quality.py                       mcmc and als on A, B and C, seeds 0 1 2
    python benchmarks/bench_quality.py --data A --trainers mcmc --num-factors 8 --seeds 0
    python benchmarks/bench_quality.py --libfm PATH          libFM's MCMC beside them

A: ratings of user and item. B: and age, gender, occupation and genres. C: A with the label rating
≥ 4. The last tenth of a random order is the test. Each run is a process of its own, with all else
at its default; a line of JSON comes out for each data set and trainer, means over the seeds:
quality of the saved model and of the mean of 100 samples (rmse, or log loss of C), of the seconds
those of the sweeps, and the peak of the process' memory, data and interpreter included. Compiling
is not counted: each run sweeps once on the same rows before.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import CSRBatch, Float32Array

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local_test"))
import movielens  # noqa: E402 - local_test is no package

NUM_TEST, NUM_SAMPLES = 10_000, 100
NUM_FACTORS = {"A": 8, "B": 16, "C": 16}
AGES = (18, 25, 35, 45, 50, 56)


def load(data: str, seed: int) -> tuple[CSRBatch, CSRBatch]:
    """Return the training and the test rows."""
    ratings = movielens.load_ratings()
    users, items = ratings[:, 0] - 1, ratings[:, 1] - 1 + movielens.NUM_USERS
    features = [list(pair) for pair in zip(users.tolist(), items.tolist(), strict=True)]
    feature_dim = movielens.FEATURE_DIM
    if data == "B":
        sides, feature_dim = side_features()
        features = [[*pair, *sides[pair[0]], *sides[pair[1]]] for pair in features]
    labels = ratings[:, 2].astype(np.float32)
    if data == "C":
        labels = (labels >= 4).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = order[:-NUM_TEST], order[-NUM_TEST:]
    return rows_of(features, labels, train, feature_dim), rows_of(
        features, labels, test, feature_dim
    )


def rows_of(
    features: list[list[int]], labels: Float32Array, order: NDArray[np.int64], feature_dim: int
) -> CSRBatch:
    """Return the rows numbered `order`, all values 1."""
    chosen = [features[row] for row in order]
    indptr = np.cumsum([0, *(len(row) for row in chosen)])
    indices = np.concatenate(chosen).astype(np.int32)
    ones = np.ones(len(indices), np.float32)
    return CSRBatch(indptr.astype(np.int64), indices, ones, labels[order], feature_dim)


def side_features() -> tuple[dict[int, list[int]], int]:
    """Return further features of each user and item, by its own feature, and feature_dim."""
    (wheel,) = movielens._CACHE.glob("*.whl")
    tables = []
    with zipfile.ZipFile(wheel) as package:
        for name in ("user", "item"):
            text = package.read(f"recbole/dataset_example/ml-100k/ml-100k.{name}")
            lines = text.decode(errors="replace").splitlines()[1:]
            tables.append([line.split("\t") for line in lines])
    user_lines, item_lines = tables
    occupations = sorted({line[3] for line in user_lines})
    genres = sorted({genre for line in item_lines for genre in line[3].split()})
    first = movielens.FEATURE_DIM
    first_occupation = first + len(AGES) + 1 + 2
    first_genre = first_occupation + len(occupations)
    sides = {
        int(user) - 1: [
            first + int(np.searchsorted(AGES, int(age), side="right")),
            first + len(AGES) + 1 + (gender == "M"),
            first_occupation + occupations.index(occupation),
        ]
        for user, age, gender, occupation, *_ in user_lines
    }
    for line in item_lines:
        own = [first_genre + genres.index(genre) for genre in line[3].split()]
        sides[int(line[0]) - 1 + movielens.NUM_USERS] = own
    return sides, first_genre + len(genres)


def quality(data: str, prediction: NDArray[np.floating], test: CSRBatch) -> float:
    """Rmse of predictions cut to the range of ratings, or log loss of probabilities."""
    labels = test.require_labels()
    if data == "C":
        chance = np.where(labels > 0, prediction, 1 - prediction)
        return float(-np.log(np.maximum(chance, 1e-7)).mean())
    return float(np.sqrt(np.mean((np.clip(prediction, 1, 5) - labels) ** 2)))


def run(data: str, trainer: str, num_factors: int, seed: int) -> dict[str, float]:
    """Train once, in this process."""
    from fm_algo.training.bayes.chain import NUM_ALS_SWEEPS, NUM_SWEEPS, Chain

    train, test = load(data, seed)
    predictor_type: Any = "binary_classifier" if data == "C" else "regressor"
    draws = trainer == "mcmc"
    num_sweeps = NUM_SWEEPS[predictor_type] if draws else NUM_ALS_SWEEPS
    options: dict[str, Any] = {"seed": seed, "draws": draws}
    Chain(train, predictor_type, num_factors, **options).sweep()
    num_samples = NUM_SAMPLES if draws else 0
    chain = Chain(
        train,
        predictor_type,
        num_factors,
        num_samples=num_samples,
        num_sweeps_planned=num_sweeps,
        **options,
    )
    start = time.perf_counter()
    for _ in range(num_sweeps):
        chain.sweep()
    seconds = time.perf_counter() - start
    found = {
        "quality": quality(data, chain.model().score(test), test),
        "seconds": seconds,
        "sweeps": num_sweeps,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    if draws:
        scores = np.mean([sample.score(test) for sample in chain.samples()], axis=0)
        found["quality_of_samples"] = quality(data, scores, test)
    return found


def run_libfm(program: str, data: str, num_factors: int, seed: int) -> dict[str, float]:
    """Let libFM's MCMC make 200 sweeps; its answer is the mean of their predictions."""
    train, test = load(data, seed)
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("train", train), ("test", test)):
            write_libsvm(Path(folder) / name, rows)
        command = [program, "-task", "c" if data == "C" else "r", "-method", "mcmc"]
        command += ["-train", "train", "-test", "test", "-iter", "200", "-seed", str(seed)]
        command += ["-dim", f"1,1,{num_factors}", "-init_stdev", "0.1", "-out", "out"]
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        prediction = np.loadtxt(Path(folder) / "out")
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found = {"quality": quality(data, prediction, test), "sweeps": 200}
    return {**found, "seconds": seconds, "peak_mb": peak_mb}


def write_libsvm(path: Path, rows: CSRBatch) -> None:
    """Write rows as text, all values 1."""
    with path.open("w") as file:
        for row, label in enumerate(rows.require_labels().tolist()):
            own = rows.indices[rows.indptr[row] : rows.indptr[row + 1]].tolist()
            file.write(f"{label:g} {' '.join(f'{feature}:1' for feature in own)}\n")


def main() -> None:
    """Run what is asked for, each run in a process of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", default=["A", "B", "C"])
    parser.add_argument("--trainers", nargs="+", default=["mcmc", "als"])
    parser.add_argument("--libfm", help="libFM's program")
    parser.add_argument("--num-factors", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--one-run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_run:
        data, trainer, num_factors, seed = options.one_run
        arguments = data, int(num_factors), int(seed)
        if trainer == "libfm":
            print(json.dumps(run_libfm(options.libfm, *arguments)))
        else:
            print(json.dumps(run(data, trainer, *arguments[1:])))
        return
    movielens.load_ratings()  # downloads it, outside any measurement
    trainers = [*options.trainers, *(["libfm"] if options.libfm else [])]
    for data in options.data:
        num_factors = options.num_factors or NUM_FACTORS[data]
        for trainer in trainers:
            runs = []
            for seed in options.seeds:
                command = [sys.executable, __file__, "--libfm", options.libfm or ""]
                command += ["--one-run", data, trainer, str(num_factors), str(seed)]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                runs.append(json.loads(done.stdout.splitlines()[-1]))
            means = {
                name: round(float(np.mean([found[name] for found in runs])), 4) for name in runs[0]
            }
            row = {"data": data, "trainer": trainer, "num_factors": num_factors, **means}
            print(json.dumps({**row, "seeds": options.seeds, "cpus": os.cpu_count()}), flush=True)


if __name__ == "__main__":
    main()
