"""What checkpoints cost: seconds of a checkpoint, and of training with one every so often.

    python benchmarks/bench_checkpoint.py
    python benchmarks/bench_checkpoint.py --feature-dim 1000000 --num-factors 64 --interval 60

One line of JSON: the checkpoint's size, the seconds to write it (median and worst; training waits
for them), the bare speed of the disk (a file of the same size, synced), and the part of the time
that one checkpoint every `--interval` seconds takes.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from fm_algo.checkpoint import Checkpoints
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.initialization import draw_initial
from fm_algo.kernels.cpu import CPUKernel
from fm_algo.progress import Notes, Progress


def write_bare(path: Path, size: int) -> float:
    """Write and sync a file of so many bytes; return the seconds."""
    block = np.random.default_rng(0).bytes(1 << 24)
    started = time.perf_counter()
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
        file.flush()
        os.fsync(file.fileno())
    elapsed_s = time.perf_counter() - started
    path.unlink()
    return elapsed_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--feature-dim", type=int, default=200_000)
    parser.add_argument("--num-factors", type=int, default=16)
    parser.add_argument("--interval", type=float, default=60.0, help="seconds")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="of the disk to measure")
    arguments = parser.parse_args()
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": arguments.feature_dim,
            "num_factors": arguments.num_factors,
            "predictor_type": "regressor",
        }
    )
    kernel = CPUKernel(hyperparameters)
    draw_initial(kernel.model(), hyperparameters)
    seconds = []
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        checkpoints = Checkpoints(directory, hyperparameters)
        for epoch in range(arguments.runs):
            started = time.perf_counter()
            checkpoints.write(Progress(epoch=epoch), Notes(), kernel.state())
            seconds.append(time.perf_counter() - started)
        size = next(directory.glob("*.checkpoint")).stat().st_size
        bare_s = write_bare(directory / "bare", size)
    median_s = statistics.median(seconds)
    row = {
        "megabytes": round(size / 1e6),
        "checkpoint_s": round(median_s, 3),
        "worst_s": round(max(seconds), 3),
        "bare_disk_s": round(bare_s, 3),
        "interval_s": arguments.interval,
        "slower_by_percent": round(100 * median_s / arguments.interval, 2),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
