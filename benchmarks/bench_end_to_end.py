"""Rows a second of whole jobs: an epoch from memory, and one that reads and decodes its file.

    python benchmarks/bench_end_to_end.py
    python benchmarks/bench_end_to_end.py --num-rows 1000000 --num-factors 16 64 --runs 3

Runs ./train on a RecordIO-protobuf file of rows of 39 entries over 1,000,000 features: once with
room for the rows in memory, and once without, so that each epoch reads and decodes the file again.
The jobs take turns. Each shape gives one line of JSON with medians of rows per second: of an epoch
from memory (the first one apart); of an epoch from the file; of a whole job from memory with one
epoch (start, reading and decoding before training, one epoch, writing the model); and ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_train import commit, make_rows

from fm_algo.data.recordio_file import write_recordio

ROOT = Path(__file__).resolve().parent.parent
FEATURE_DIM = 1_000_000
NUM_EPOCHS = 4
STREAMED_MB = 96


def write_tree(base: Path, num_rows: int) -> None:
    """Write a job's channel and configuration, except hyperparameters."""
    config, channel = base / "input" / "config", base / "input" / "data" / "train"
    config.mkdir(parents=True)
    channel.mkdir(parents=True)
    write_recordio(channel / "rows.pbr", make_rows(num_rows, FEATURE_DIM, seed=1))
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
    (config / "resourceconfig.json").write_text(json.dumps(hosts))
    content_type = {"train": {"ContentType": "application/x-recordio-protobuf"}}
    (config / "inputdataconfig.json").write_text(json.dumps(content_type))


def run_job(base: Path, **hyperparameters: object) -> tuple[list[float], float]:
    """Run a job; return the seconds of each epoch, and of the whole job."""
    chosen = {
        "feature_dim": FEATURE_DIM,
        "predictor_type": "binary_classifier",
        "epochs": NUM_EPOCHS,
        **hyperparameters,
    }
    path = base / "input" / "config" / "hyperparameters.json"
    path.write_text(json.dumps({name: str(value) for name, value in chosen.items()}))
    command: list[str | Path] = [
        "env",
        f"SAGEMAKER_BASE_DIR={base}",
        sys.executable,
        ROOT / "train",
    ]
    started = time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    elapsed_s = time.perf_counter() - started
    epochs = [
        json.loads(line.removeprefix("#metrics "))["Metrics"]["update.time"]["sum"] / 1000
        for line in output.splitlines()
        if line.startswith("#metrics ") and "update.time" in line
    ]
    return epochs, elapsed_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-rows", type=int, default=500_000)
    parser.add_argument("--num-factors", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        write_tree(base, options.num_rows)
        for num_factors in options.num_factors:
            memory, file, whole = [], [], []
            for _ in range(options.runs):
                epochs, elapsed_s = run_job(base, num_factors=num_factors)
                memory += epochs[1:]
                whole.append(elapsed_s - sum(epochs[1:]))
                epochs, _ = run_job(base, num_factors=num_factors, memory_budget_mb=STREAMED_MB)
                file += epochs[1:]
            speeds = {
                kind: options.num_rows / statistics.median(seconds)
                for kind, seconds in (("memory", memory), ("file", file), ("whole_job", whole))
            }
            row = {
                "benchmark": "end_to_end",
                "num_factors": num_factors,
                "num_rows": options.num_rows,
                **{f"{kind}_rows_per_second": round(speed) for kind, speed in speeds.items()},
                "file_to_memory": round(speeds["file"] / speeds["memory"], 3),
                "whole_job_to_memory": round(speeds["whole_job"] / speeds["memory"], 3),
                "commit": commit(),
            }
            print(json.dumps(row))


if __name__ == "__main__":
    main()
