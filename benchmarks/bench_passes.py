"""What the CPU kernel's two passes take of the machine's memory bandwidth, and of its processors.

    python benchmarks/bench_passes.py
    python benchmarks/bench_passes.py --num-factors 8 16 64 --optimizers adam rowwise_adagrad

The rows have 39 entries over 1,000,000 features, drawn uniformly, in mini-batches of 1,000. Each
shape and number of threads gives one line of JSON: nanoseconds per entry and thread of each pass
(best of the runs), the bytes per second that must move, and their share of what the machine can do.
The latter is measured beside them in two ways: a sequential copy (bytes read and written), and
reads and writes of rows of the same size in random places, prefetched as in the passes.

Bytes that must move per entry: pass 1 reads the cache lines of v and w. Pass 3 reads and writes
those of v, w and their states. Here, a feature seldom comes twice in a mini-batch.
"""

import argparse
import json
import time
from collections.abc import Callable

import numba
import numpy as np
from bench_train import commit, make_rows

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.machine import usable_processors
from fm_algo.runtime.simd import CACHE_LINE, WIDTH, load, prefetch, store
from fm_algo.sparse import Float32Array, Int32Array
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.initialization import draw_initial

FEATURE_DIM = 1_000_000
MINI_BATCH = 1000
LINE_BYTES = 64
COPIED_LINES = 1 << 22
LINES_AHEAD = 96


@njit(parallel=True)
def copy(source: Float32Array, target: Float32Array) -> None:
    """Copy lines of 16 floats."""
    for piece in prange(len(source) // 1024):
        for line in range(piece * 1024, (piece + 1) * 1024):
            for j in range(0, CACHE_LINE, WIDTH):
                store(target, line, j, load(source, line, j))


@njit(parallel=True, fastmath=True)
def change_rows(table: Float32Array, order: Int32Array) -> None:
    """Read and write whole rows in a given order."""
    ahead = max(1, LINES_AHEAD * CACHE_LINE // table.shape[1])
    for piece in prange(len(order) // 256):
        for n in range(piece * 256, (piece + 1) * 256):
            later = order[min(n + ahead, len(order) - 1)]
            for j in range(0, table.shape[1], CACHE_LINE):
                prefetch(table, later, j)
            for j in range(0, table.shape[1], WIDTH):
                store(table, order[n], j, load(table, order[n], j) + np.float32(1))


def best_seconds(work: Callable[[], object], runs: int) -> float:
    """Return the least time of several runs, without the first."""
    work()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def copy_seconds(runs: int) -> float:
    """Time a copy of memory."""
    source, target = np.ones((2, COPIED_LINES, CACHE_LINE), np.float32)
    return best_seconds(lambda: copy(source, target), runs)


def measure(
    num_factors: int, optimizer: str, threads: int, runs: int
) -> tuple[float, dict[str, object]]:
    """Measure both passes and the machine; the seconds of both passes come first."""
    rows = make_rows(40 * MINI_BATCH, FEATURE_DIM, seed=1)
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": num_factors,
            "predictor_type": "binary_classifier",
            "optimizer": optimizer,
            "num_threads": threads,
            "mini_batch_size": MINI_BATCH,
        }
    )
    kernel = CPUKernel(hyperparameters)
    draw_initial(kernel.model(), hyperparameters)
    batches = [
        rows.rows(start, start + MINI_BATCH) for start in range(0, rows.num_rows, MINI_BATCH)
    ]
    prepared = [kernel.prepare(batch) for batch in batches]
    table = np.asarray(kernel.state()["parameter_rows"])
    order = rows.indices[: len(rows.indices) // 256 * 256]

    copy_s = copy_seconds(runs)
    pass_1_s = best_seconds(lambda: [kernel.margin(batch) for batch in batches], runs)
    step_s = best_seconds(lambda: [kernel.step(batch) for batch in prepared], runs)
    change_s = best_seconds(lambda: change_rows(table, order), runs)  # overwrites the parameters

    row_bytes = table.shape[1] * 4
    read_bytes = -(-(num_factors + 1) * 4 // LINE_BYTES) * LINE_BYTES
    copied = 2 * COPIED_LINES * LINE_BYTES / copy_s
    changed = 2 * row_bytes * len(order) / change_s
    speeds = {
        "pass_1": (pass_1_s, read_bytes),
        "pass_3": (step_s - pass_1_s, 2 * row_bytes),
        "both": (step_s, read_bytes + 2 * row_bytes),
    }
    result: dict[str, object] = {
        "copy_gb_s": round(copied / 1e9, 1),
        "random_rows_gb_s": round(changed / 1e9, 1),
    }
    for name, (seconds, entry_bytes) in speeds.items():
        moved = entry_bytes * rows.num_entries / seconds
        result[name] = {
            "ns_per_entry_and_thread": round(seconds * threads / rows.num_entries * 1e9, 1),
            "gb_s": round(moved / 1e9, 1),
            "of_copy": round(moved / copied, 2),
            "of_random_rows": round(moved / changed, 2),
        }
    return step_s, result


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-factors", type=int, nargs="+", default=[8, 16, 64])
    parser.add_argument("--optimizers", nargs="+", default=["adam", "rowwise_adagrad"])
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    threads = sorted({1, usable_processors()})
    for num_factors in options.num_factors:
        for optimizer in options.optimizers:
            seconds = []
            for count in threads:
                numba.set_num_threads(max(threads))
                step_s, result = measure(num_factors, optimizer, count, options.runs)
                seconds.append(step_s)
                shape = {"num_factors": num_factors, "optimizer": optimizer, "threads": count}
                print(json.dumps({"benchmark": "passes", **shape, **result, "commit": commit()}))
            print(
                f"num_factors={num_factors}, {optimizer}: {max(threads)} threads are "
                f"{seconds[0] / seconds[-1]:.2f} times as fast as 1"
            )


if __name__ == "__main__":
    main()
