"""Measure the quality, seconds and memory of training jobs on MovieLens-100k.

    python benchmarks/bench_quality.py                       all of it, on A, B and C, seeds 0 1 2
    python benchmarks/bench_quality.py --data A --trainers mcmc --num-factors 8 --seeds 0
    python benchmarks/bench_quality.py --libfm PATH          libFM's MCMC beside them

A: ratings of user and item. B: and age, gender, occupation and genres. C: A with the label rating
≥ 4. The last tenth of a random order is the test. Each run is a job of the program `train`, with
all else at its default. One line of JSON comes out per data set and trainer, means over the seeds:
the rmse (C: log loss) of the saved model on the test rows, predictions cut to the range of the
labels; the seconds from the start of the process to its end; the median of a sweep; and the peak of
the process' memory. `mcmc-samples` keeps 100 samples and scores by their mean.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fm_algo.artifacts.artifact import load_model
from fm_algo.data.recordio_file import write_recordio
from fm_algo.sparse import CSRBatch, Float32Array

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local_test"))
import movielens  # noqa: E402 - local_test is no package

NUM_TEST = 10_000
TRAINERS: dict[str, dict[str, object]] = {
    "mcmc": {"optimizer": "mcmc"},
    "mcmc-samples": {"optimizer": "mcmc", "posterior_samples": 100},
    "als": {"optimizer": "als"},
}
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
    """Run `train` once, and score the test rows by the model it leaves."""
    train, test = load(data, seed)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        channels = {"train": train, "test": test}
        for name, rows in channels.items():
            (base / "input" / "data" / name).mkdir(parents=True)
            matrix = scipy.sparse.csr_array((rows.values, rows.indices, rows.indptr))
            matrix.resize(rows.num_rows, rows.feature_dim)
            write_recordio(base / "input" / "data" / name / "rows.pbr", matrix, rows.labels)
        config = base / "input" / "config"
        config.mkdir()
        chosen = {
            "feature_dim": train.feature_dim,
            "num_factors": num_factors,
            "predictor_type": "binary_classifier" if data == "C" else "regressor",
            "seed": seed,
            **TRAINERS[trainer],
        }
        (config / "hyperparameters.json").write_text(json.dumps(chosen))
        (config / "inputdataconfig.json").write_text(json.dumps({name: {} for name in channels}))
        environment = os.environ | {"SAGEMAKER_BASE_DIR": folder}  # noqa: TID251 - the program's
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, ROOT / "train"], env=environment, check=True, stdout=subprocess.PIPE
        )
        seconds = time.perf_counter() - start
        score = load_model(base / "model").score(test)
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sweep_ms = [
        float(found) for found in re.findall(rb'"update.time": .*?"sum": ([\d.]+)', done.stdout)
    ]
    return {
        "quality": quality(data, score, test),
        "seconds": seconds,
        "sweep_ms": float(np.median(sweep_ms)),
        "sweeps": len(sweep_ms),
        "peak_mb": peak_mb,
    }


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
    parser.add_argument("--trainers", nargs="+", default=[*TRAINERS])
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
