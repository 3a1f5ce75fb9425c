"""A job on more data than memory: a FIFO that a generator feeds, under `ulimit -v`.

    python benchmarks/bench_large.py
    python benchmarks/bench_large.py --gigabytes 20 --limit-mb 2048 --num-factors 16

Runs ./train in Pipe mode on RecordIO-protobuf rows of 39 entries over 1,000,000 features. It prints
one line of JSON: rows per second from the first byte to the exit, the job's peak resident memory,
and the expected memory, which is the parameters with their state plus the memory budget (half of
the limit).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_train import make_rows

from fm_algo.data.recordio_file import write_recordio
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.training.gradient.cpu import CPUKernel

ROOT = Path(__file__).resolve().parent.parent
ROWS_A_PIECE = 100_000
FEATURE_DIM = 1_000_000


def write_tree(base: Path, hyperparameters: dict[str, str]) -> Path:
    """Write what the platform writes before a job; return the job's FIFO."""
    config, data = base / "input" / "config", base / "input" / "data"
    config.mkdir(parents=True)
    data.mkdir()
    channels = {
        "train": {
            "ContentType": "application/x-recordio-protobuf",
            "TrainingInputMode": "Pipe",
            "S3DistributionType": "FullyReplicated",
            "RecordWrapperType": "None",
        }
    }
    hosts = {"current_host": "algo-1", "hosts": ["algo-1"]}
    for name, content in (
        ("hyperparameters", hyperparameters),
        ("inputdataconfig", channels),
        ("resourceconfig", hosts),
    ):
        (config / f"{name}.json").write_text(json.dumps(content))
    fifo = data / "train_0"
    os.mkfifo(fifo)
    return fifo


def feed(fifo: Path, piece: bytes, count: int) -> None:
    """Write the same rows again and again; stop quietly if the job ends first."""
    try:
        with fifo.open("wb") as stream:
            for _ in range(count):
                stream.write(piece)
    except BrokenPipeError:
        pass


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--limit-mb", type=int, default=2048, help="address space of the job")
    parser.add_argument("--num-factors", type=int, default=16)
    options = parser.parse_args()
    limit_bytes = options.limit_mb << 20
    given = {
        "feature_dim": str(FEATURE_DIM),
        "num_factors": str(options.num_factors),
        "predictor_type": "binary_classifier",
        "epochs": "1",
    }
    kernel = CPUKernel(parse_hyperparameters(given))
    parameter_bytes = sum(array.nbytes for array in kernel.state().values())
    del kernel
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        fifo = write_tree(base, given)
        write_recordio(base / "piece", make_rows(ROWS_A_PIECE, FEATURE_DIM, seed=1))
        piece = (base / "piece").read_bytes()
        count = round(options.gigabytes * 1e9 / len(piece))
        limited = f"ulimit -v {options.limit_mb << 10} && exec {sys.executable} {ROOT / 'train'}"
        variables = [f"SAGEMAKER_BASE_DIR={name}", "SAGEMAKER_CONTAINER_LOG_LEVEL=30"]
        job = subprocess.Popen(
            ["env", *variables, "bash", "-c", limited], stdout=subprocess.DEVNULL
        )
        started = time.perf_counter()
        feed(fifo, piece, count)
        _, status, usage = os.wait4(job.pid, 0)
        elapsed_s = time.perf_counter() - started
    planned = parameter_bytes + limit_bytes // 2
    row = {
        "benchmark": "large",
        "exit_code": os.waitstatus_to_exitcode(status),
        "gigabytes": round(count * len(piece) / 1e9, 2),
        "num_rows": count * ROWS_A_PIECE,
        "rows_per_second": round(count * ROWS_A_PIECE / elapsed_s),
        "seconds": round(elapsed_s, 1),
        "limit_mb": options.limit_mb,
        "peak_mb": usage.ru_maxrss >> 10,
        "planned_mb": planned >> 20,
        "peak_to_planned": round(usage.ru_maxrss * 1024 / planned, 3),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
