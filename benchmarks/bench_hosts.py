"""Several hosts: what a step costs beside one host's, and what follows from it.

    sudo python benchmarks/bench_hosts.py                k = 64, mini-batch 8,192, 1, 10, 25 Gbit/s
    sudo python benchmarks/bench_hosts.py --num-factors 16 --rates 10

All hosts would share this machine's processors. So only two hosts are measured training together,
each with one thread on its own processor, beside one such host alone. For more hosts, the parts of
a step are measured separately:

- `step_ms`: one host's step; `share_ms`: the part of a step of N hosts that one of them computes;
- `prepare_ms`: what the reading thread does ahead of the step, on its own processor;
- `awaited_ms`: exchanges that the step waits for; `ahead_ms`: exchanges beside other steps. Both
  are measured between two processes that send as many bytes as each of N hosts. Each process is in
  a network namespace whose link is shaped with tc.

The prediction is for hosts like this machine: a step takes the longest of share + awaited, prepare
and ahead. Efficiency is one host's step divided by that, because each host trains as many rows. The
program prints one line of JSON per prediction.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from bench_hosts_data import FEATURE_DIM, draw_rows
from peers import NUM_FIELDS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local_test"))

from host_network import Network  # noqa: E402 - found in the path just added

from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters  # noqa: E402
from fm_algo.runtime.simd import WIDTH  # noqa: E402
from fm_algo.sparse import CSRBatch  # noqa: E402
from fm_algo.training.distributed.group import Pending  # noqa: E402
from fm_algo.training.distributed.row_kernel import RowKernel  # noqa: E402
from fm_algo.training.distributed.select import is_split_by_factor  # noqa: E402
from fm_algo.training.distributed.warm_up import lone_group  # noqa: E402
from fm_algo.training.gradient import Kernel  # noqa: E402
from fm_algo.training.gradient.cpu import CPUKernel  # noqa: E402
from fm_algo.training.gradient.parameters import Layout  # noqa: E402

NUM_STEPS = 12
WORKER = Path(__file__).with_name("bench_hosts_worker.py")


def times_ms(kernel: Kernel[Any], batches: Iterable[CSRBatch]) -> tuple[float, float]:
    """Return median times of a step and of the work ahead of it; the first two warm up."""
    steps, ahead = [], []
    for batch in batches:
        started = time.perf_counter()
        prepared = kernel.prepare(batch)
        ahead.append(time.perf_counter() - started)
        started = time.perf_counter()
        kernel.step(prepared)
        steps.append(time.perf_counter() - started)
    return 1000 * statistics.median(steps[2:]), 1000 * statistics.median(ahead[2:])


def batches_of(data: str, size: int) -> list[CSRBatch]:
    """Draw the mini-batches of a few steps."""
    rows = draw_rows(data, size * NUM_STEPS)
    return [rows.rows(start, start + size) for start in range(0, rows.num_rows, size)]


def measure_rows_split(
    hyperparameters: Hyperparameters, batches: list[CSRBatch]
) -> tuple[float, float]:
    """Time a step whose rows all go to this host itself, without its waits, and the work ahead."""
    waited = [0.0]
    wait = Pending.wait

    def timed(pending: Pending[np.float32]) -> object:
        started = time.perf_counter()
        array = wait(pending)
        waited[0] += time.perf_counter() - started
        return array

    steps, ahead = [], []
    with lone_group() as group:
        kernel = RowKernel(hyperparameters, group)
        Pending.wait = timed  # type: ignore[method-assign,assignment] # timed from outside
        for batch in batches:
            started = time.perf_counter()
            prepared = kernel.prepare(batch)
            ahead.append(time.perf_counter() - started)
            for one in kernel.in_step(iter([prepared])):
                waited[0], started = 0.0, time.perf_counter()
                kernel.step(one)
                steps.append(time.perf_counter() - started - waited[0])
        Pending.wait = wait  # type: ignore[method-assign]
    return 1000 * statistics.median(steps[2:]), 1000 * statistics.median(ahead[2:])


class Split:
    """What one of N hosts computes and sends in a step.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        Those of the job.
    data : str
    num_hosts : int
    """

    def __init__(self, hyperparameters: Hyperparameters, data: str, num_hosts: int) -> None:
        size, others = hyperparameters.mini_batch_size, num_hosts - 1
        k = hyperparameters.num_factors
        self.is_by_factor = is_split_by_factor(hyperparameters, num_hosts)
        if self.is_by_factor:
            num_vectors = Layout.of(hyperparameters).width // WIDTH
            share = {
                "num_factors": min(-(-num_vectors // num_hosts) * WIDTH, k),
                "mini_batch_size": num_hosts * size,
            }
            kernel = CPUKernel(msgspec.structs.replace(hyperparameters, **share))
            joint = batches_of(data, num_hosts * size)
            self.share_ms, self.prepare_ms = times_ms(kernel, joint)
            self.awaited_bytes = [others * 4 * size, others * 4 * size]
            self.ahead_bytes = [others * 4 * size * (1 + NUM_FIELDS)]
        else:
            batches = batches_of(data, size)
            self.share_ms, self.prepare_ms = measure_rows_split(hyperparameters, batches)
            distinct = statistics.mean(len(np.unique(batch.indices)) for batch in batches)
            sent = distinct * others / num_hosts
            row_bytes = 4 * (Layout.of(hyperparameters).width + 1)
            self.awaited_bytes = [round(sent * row_bytes)] * 2
            self.ahead_bytes = [round(4 * sent)]


def run_worker(prefix: Sequence[str], rank: int, num_hosts: int, work: object) -> Any:  # noqa: ANN401
    """Start one of the hosts, and return its result."""
    return subprocess.Popen(
        [*prefix, "env", "GLOO_SOCKET_IFNAME=eth0", "TORCH_CPP_LOG_LEVEL=ERROR",
         sys.executable, WORKER, str(rank), str(num_hosts), json.dumps(work)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def of_two_hosts(rate_gbit: float, work: object) -> list[float]:
    """Let two hosts, one per processor, work over links of a rate; return the leader's result."""
    with Network(2) as network:
        processes = []
        for rank, name in enumerate(network.names):
            shape = ["tbf", "rate", f"{rate_gbit}gbit", "burst", "8mb", "latency", "50ms"]
            network.shape(name, *shape)
            pinned = [*network.inside(name), "taskset", "-c", str(rank)]
            processes.append(run_worker(pinned, rank, 2, work))
        output = [process.communicate(timeout=300)[0] for process in processes]
    result: list[float] = json.loads(output[0])
    return result


def measure_two(
    hyperparameters: dict[str, Any], data: str, rates: Sequence[float]
) -> dict[str, Any]:
    """Return rows per second and host, of one host with one thread and of two such together."""
    train = hyperparameters | {"num_threads": 1, "epochs": 4}
    work = {"train": train, "data": data, "rows": 32 * hyperparameters["mini_batch_size"]}
    one = run_worker(["taskset", "-c", "0"], 0, 1, work)
    alone = statistics.median(json.loads(one.communicate(timeout=300)[0]))
    together = {rate: statistics.median(of_two_hosts(rate, work)) for rate in rates}
    efficiency = {rate: round(speed / alone, 2) for rate, speed in together.items()}
    return {"data": data, "one_thread_rows_per_second": round(alone), "two_hosts_seen": efficiency}


def main() -> None:
    """Measure and predict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-factors", type=int, default=64)
    parser.add_argument("--mini-batch-size", type=int, default=8192)
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 10, 25], help="Gbit/s")
    parser.add_argument("--hosts", type=int, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--data", nargs="+", default=["skewed", "uniform"])
    options = parser.parse_args()
    chosen = {
        "feature_dim": FEATURE_DIM,
        "num_factors": options.num_factors,
        "optimizer": options.optimizer,
        "predictor_type": "binary_classifier",
        "mini_batch_size": options.mini_batch_size,
    }
    hyperparameters = parse_hyperparameters(chosen)
    for data in options.data:
        one_kernel = CPUKernel(hyperparameters)
        step_ms, one_prepare_ms = times_ms(one_kernel, batches_of(data, options.mini_batch_size))
        one_ms = max(step_ms, one_prepare_ms)
        described = {"data": data, "step_ms": step_ms, "prepare_ms": one_prepare_ms}
        print(json.dumps(rounded(described)), flush=True)
        splits = {hosts: Split(hyperparameters, data, hosts) for hosts in options.hosts}
        asked = [sent for s in splits.values() for sent in (s.awaited_bytes, s.ahead_bytes)]
        for rate in options.rates:
            found = iter(of_two_hosts(rate, {"exchange": asked}))
            for hosts, split in splits.items():
                awaited_ms, ahead_ms = next(found), next(found)
                predicted_ms = max(split.share_ms + awaited_ms, split.prepare_ms, ahead_ms)
                row = {
                    "data": data, "hosts": hosts, "rate_gbit": rate,
                    "split": "factors" if split.is_by_factor else "features",
                    "share_ms": split.share_ms, "prepare_ms": split.prepare_ms,
                    "awaited_mb": sum(split.awaited_bytes) / 1e6, "awaited_ms": awaited_ms,
                    "ahead_mb": sum(split.ahead_bytes) / 1e6, "ahead_ms": ahead_ms,
                    "predicted_ms": predicted_ms, "efficiency": one_ms / predicted_ms,
                }  # fmt: skip
                print(json.dumps(rounded(row)), flush=True)
        print(json.dumps(measure_two(chosen, data, options.rates)), flush=True)


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Round numbers to their reliable digits."""
    return {
        name: round(value, 2) if isinstance(value, float) else value for name, value in row.items()
    }


if __name__ == "__main__":
    main()
