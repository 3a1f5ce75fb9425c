"""Milliseconds per request for the best and the most similar items of a catalogue, on one core.

    python benchmarks/bench_top_k.py
    python benchmarks/bench_top_k.py --num-items 10000000 --num-factors 16 --runs 5

The first request of a process comes apart: it reads all vectors once more. `numbered` is the same
search among features of the model, as of a request with a range of candidates. The searches take
turns, so that a slow spell of the machine hits them all. Each gives one line of JSON.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
from bench_train import commit
from threadpoolctl import threadpool_limits

from fm_algo.answers.catalogue import Catalogue
from fm_algo.answers.recommend import top_features
from fm_algo.model import FMModel
from fm_algo.sparse import Int32Array


def elapsed_ms(search: Callable[[], object]) -> float:
    """Return how long a search takes."""
    started = time.perf_counter()
    search()
    return (time.perf_counter() - started) * 1e3


def measure(options: argparse.Namespace) -> None:
    """Print a line for each search."""
    rng = np.random.default_rng(0)
    n = options.num_items
    V = rng.normal(0, 0.1, (n, options.num_factors)).astype(np.float32)
    w = rng.normal(size=n).astype(np.float32)
    model = FMModel("regressor", np.zeros(1, np.float32), w, V)
    row: Int32Array = rng.choice(n, 3, replace=False).astype(np.int32)
    x = np.ones(3, np.float32)
    items = Catalogue(V, w)
    top_k = options.top_k
    searches: dict[str, Callable[[], object]] = {
        "top": lambda: items.top(model, row, x, top_k=top_k),
        "similar": lambda: items.similar(0, top_k),
        "numbered": lambda: top_features(model, row, x, first=0, last=n - 1, top_k=top_k),
    }
    first = {name: elapsed_ms(search) for name, search in searches.items()}
    times: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(options.runs):
        for name, search in searches.items():
            times[name].append(elapsed_ms(search))
    for name in searches:
        line = {
            "benchmark": "top_k",
            "search": name,
            "num_items": n,
            "num_factors": options.num_factors,
            "top_k": top_k,
            "first_ms": round(first[name], 1),
            "median_ms": round(statistics.median(times[name]), 1),
            "best_ms": round(min(times[name]), 1),
            "runs": options.runs,
            "load_average": round(os.getloadavg()[0], 1),
            "machine": platform.machine(),
            "commit": commit(),
        }
        print(json.dumps(line), flush=True)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-items", type=int, default=1_000_000)
    parser.add_argument("--num-factors", type=int, default=64)
    parser.add_argument("--top-k", type=int, default=10)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    with threadpool_limits(1):
        measure(options)


if __name__ == "__main__":
    main()
