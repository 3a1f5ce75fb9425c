"""Run one host of `bench_hosts` in a network namespace: exchange bytes, or train.

    … bench_hosts_worker.py RANK NUM_HOSTS '{"exchange": [[393216, 393216], …]}'
    … bench_hosts_worker.py RANK NUM_HOSTS '{"train": {…}, "data": "skewed", "rows": 262144}'

The numbers are the bytes that each of two hosts sends, one exchange after another. The leader
prints a JSON list of ms, or of rows per second.
"""

import json
import statistics
import sys
import threading
import time
from typing import Any

import numpy as np
from bench_hosts_data import draw_rows

from fm_algo.errors import PlatformError
from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters
from fm_algo.training.distributed.group import HostGroup, open_store
from fm_algo.training.distributed.select import make_kernel
from fm_algo.training.distributed.watch import Watch
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.initialization import draw_initial
from fm_algo.training.peers import Peers
from fm_algo.training.report import EpochReport
from fm_algo.training.state import ParameterStore
from fm_algo.training.trainer import train

LEADER, PORT = "10.77.0.1", 7777
REPEATS = 12


def exchange_ms(group: HostGroup, sizes: list[int]) -> float:
    """Time exchanges of two hosts, one after another; return the median ms of all together."""
    elapsed = []
    sent = [np.ones(size, np.uint8) for size in sizes]
    for _ in range(REPEATS):
        group.gather(np.zeros(1))
        started = time.perf_counter()
        for size, numbers in zip(sizes, sent, strict=True):
            counts = np.zeros(2, np.int64)
            counts[1 - group.rank] = size
            group.exchange(numbers, counts, counts).wait()
        elapsed.append(time.perf_counter() - started)
    return 1000 * statistics.median(elapsed[2:])


def rows_per_second(
    kernel: Kernel[Any],
    model: ParameterStore,
    hyperparameters: Hyperparameters,
    work: dict[str, Any],
    rank: int,
    peers: Peers | None,
) -> list[float]:
    """Train; return this host's rows per second in each epoch but the first, which warms up."""
    draw_initial(model, hyperparameters)
    rows = draw_rows(work["data"], work["rows"], seed=rank)
    learner = GradientLearner(kernel, hyperparameters, CachedRows(rows, hyperparameters))
    reports = train(learner, hyperparameters, peers=peers)
    epochs = [report for report in reports if isinstance(report, EpochReport)]
    return [rows.num_rows / report.elapsed_s for report in epochs[1:]]


def main() -> None:
    """Meet the other hosts, if there are any, and do the work."""
    rank, num_hosts, work = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    if "train" in work:
        hyperparameters = parse_hyperparameters(work["train"])
    if num_hosts == 1:
        alone = CPUKernel(hyperparameters)
        print(json.dumps(rows_per_second(alone, alone.model(), hyperparameters, work, 0, None)))
        return
    while True:
        try:
            store = open_store(LEADER, PORT, is_leader=rank == 0, timeout_s=30)
        except PlatformError:
            time.sleep(0.1)
        else:
            break
    hosts = [f"algo-{number + 1}" for number in range(num_hosts)]
    beside = open_store(LEADER, PORT, is_leader=False, timeout_s=30)
    watch = Watch(beside, rank, hosts, threading.Event())
    watch.start()
    watch.meet()
    group = HostGroup(store, rank, hosts, watch)
    if "exchange" in work:
        result = [exchange_ms(group, sizes) for sizes in work["exchange"]]
    else:
        kernel = make_kernel(hyperparameters, group, lambda: False)
        result = rows_per_second(
            kernel, kernel.writable_model(), hyperparameters, work, rank, kernel
        )
    group.gather(np.zeros(1))
    if rank == 0:
        print(json.dumps(result), flush=True)
    watch.leave()
    watch.end()
    group.close()


if __name__ == "__main__":
    main()
