"""Several hosts: what a step's exchange costs beside its computing, and what follows from it.

    sudo python benchmarks/bench_hosts.py                k = 64, mini-batch 8,192, 1, 10, 25 Gbit/s
    sudo python benchmarks/bench_hosts.py --num-factors 16 --rates 10

All hosts would share this machine's processors, so nothing is measured on all at once. Measured are

- computing: a step of one host, and the same step cut in two, whose rows all go to itself, less the
  time spent waiting for them;
- the exchange alone: two processes, each in a network namespace whose link is shaped with tc, send
  each other what a step of two hosts sends.

Predicted, for hosts like this machine with links of such a rate: the exchange of N hosts takes
bytes / rate, and no computing hides it; efficiency is the time of one host's step over that of N
hosts' (each trains as many rows). It is given for the rate that two hosts achieved here, where both
and the shaping share the processors, and for the link's own. A line of JSON comes out for each.

Data: `bench_train`'s rows of 39 fields; "uniform" over 1,000,000 features, "skewed" with each
field's values drawn by Zipf's law, exponent 1.2, as in logs of clicks.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from bench_train import make_rows
from peers import NUM_FIELDS

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "local_test"))

from host_network import Network  # noqa: E402 - found in the place just named

from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters  # noqa: E402
from fm_algo.kernels import Kernel  # noqa: E402
from fm_algo.sparse import CSRBatch  # noqa: E402

FEATURE_DIM = 1_000_000
ZIPF = 1.2
NUM_STEPS = 12
MOST_HOSTS = 16
PORT = 7777


def draw_batches(data: str, size: int) -> list[CSRBatch]:
    """Draw the mini-batches of a few steps."""
    rows = make_rows(size * NUM_STEPS, FEATURE_DIM, seed=1)
    if data == "skewed":
        width = FEATURE_DIM // NUM_FIELDS
        random = np.random.default_rng(0)
        rank = np.minimum(random.zipf(ZIPF, rows.num_entries) - 1, width - 1)
        fields = np.tile(np.arange(NUM_FIELDS) * width, rows.num_rows)
        indices = (fields + rank).astype(np.int32)
        rows = CSRBatch(rows.indptr, indices, rows.values, rows.labels, FEATURE_DIM)
    return [rows.rows(start, start + size) for start in range(0, rows.num_rows, size)]


def step_ms(kernel: Kernel, batches: Iterable[CSRBatch]) -> float:
    """Median time of a step, mini-batches prepared before; the first two warm up."""
    elapsed = []
    for batch in batches:
        prepared = kernel.prepare(batch)
        started = time.perf_counter()
        kernel.step(prepared)
        elapsed.append(time.perf_counter() - started)
    return 1000 * statistics.median(elapsed[2:])


def measure_computing(
    hyperparameters: Hyperparameters, batches: list[CSRBatch]
) -> dict[str, float]:
    """Time a step of one host, and the step cut in two without the waiting."""
    from fm_algo.distributed.group import Pending
    from fm_algo.distributed.row_kernel import RowKernel
    from fm_algo.distributed.warm_up import lone_group
    from fm_algo.kernels.cpu import CPUKernel

    waited = [0.0]
    wait = Pending.wait

    def timed(pending: Pending[np.float32]) -> object:
        started = time.perf_counter()
        array = wait(pending)
        waited[0] += time.perf_counter() - started
        return array

    fused_ms = step_ms(CPUKernel(hyperparameters), batches)
    with lone_group() as group:
        kernel = RowKernel(hyperparameters, group)
        Pending.wait = timed  # type: ignore[method-assign,assignment] # to be timed from outside
        waits, totals = [], []
        for batch in batches:
            for one in kernel.in_step(iter([kernel.prepare(batch)])):
                waited[0], started = 0.0, time.perf_counter()
                kernel.step(one)
                totals.append(time.perf_counter() - started)
                waits.append(waited[0])
    split = [total - wait for total, wait in zip(totals[2:], waits[2:], strict=True)]
    return {"step_ms": fused_ms, "split_step_ms": 1000 * statistics.median(split)}


def row_floats(num_factors: int) -> int:
    """Numbers of a row on its way."""
    return -(-num_factors // 8) * 8 + 1


def bytes_sent(num_features: int, num_factors: int, num_hosts: int) -> float:
    """Bytes a host sends, and gets, in a step: row numbers, rows and gradients."""
    return num_features * (num_hosts - 1) / num_hosts * (4 + 2 * 4 * row_floats(num_factors))


def replicated_bytes(num_features: int, num_factors: int, num_hosts: int) -> float:
    """Bytes of the way not taken: every gradient, with its number, to every other host."""
    return num_features * (num_hosts - 1) * (4 + 4 * row_floats(num_factors))


def exchange(options: argparse.Namespace) -> None:
    """Be one of two hosts that only send each other rows and gradients; the leader prints ms."""
    from fm_algo.distributed.group import HostGroup, open_store
    from fm_algo.distributed.watch import Watch

    rank, num_features, floats = options.exchange
    hosts = ["algo-1", "algo-2"]
    while True:
        try:
            store = open_store("10.77.0.1", PORT, is_leader=rank == 0, timeout_s=30)
        except OSError:
            time.sleep(0.1)
        else:
            break
    watch = Watch(store, rank, hosts, threading.Event())
    watch.start()
    watch.meet()
    group = HostGroup(store, rank, hosts, watch)
    counts = np.array([num_features - num_features // 2, num_features // 2])
    rows = np.ones((num_features, floats), np.float32)
    elapsed = []
    for _ in range(options.repeats):
        group.gather(np.zeros(1))
        started = time.perf_counter()
        counts_in = np.full(2, counts[rank])
        there = group.exchange(rows, counts, counts_in).wait()
        group.exchange(there, counts_in, counts).wait()
        elapsed.append(time.perf_counter() - started)
    group.gather(np.zeros(1))
    if rank == 0:
        print(1000 * statistics.median(elapsed[1:]), flush=True)
    watch.leave()
    watch.end()
    group.close()


def measure_exchange(num_features: int, num_factors: int, rate_gbit: float, repeats: int) -> float:
    """Time the exchange of two hosts, ms."""
    with Network(2) as network:
        processes = []
        for rank, name in enumerate(network.names):
            shape = ["tbf", "rate", f"{rate_gbit}gbit", "burst", "8mb", "latency", "50ms"]
            network.shape(name, *shape)
            asked = map(str, (rank, num_features, row_floats(num_factors)))
            processes.append(
                subprocess.Popen(
                    [*network.inside(name), "env", "GLOO_SOCKET_IFNAME=eth0",
                     "TORCH_CPP_LOG_LEVEL=ERROR", sys.executable, __file__,
                     "--repeats", str(repeats), "--exchange", *asked],
                    stdout=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
            if rank == 0:
                time.sleep(1)
        output = [process.communicate(timeout=300)[0] for process in processes]
    return float(output[0])


def main() -> None:
    """Measure and predict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-factors", type=int, default=64)
    parser.add_argument("--mini-batch-size", type=int, default=8192)
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 10, 25], help="Gbit/s")
    parser.add_argument("--data", nargs="+", default=["skewed", "uniform"])
    parser.add_argument("--repeats", type=int, default=8, help="exchanges timed")
    parser.add_argument("--exchange", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.exchange:
        exchange(options)
        return
    k = options.num_factors
    hyperparameters = parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": k,
            "predictor_type": "binary_classifier",
            "mini_batch_size": options.mini_batch_size,
        }
    )
    for data in options.data:
        batches = draw_batches(data, options.mini_batch_size)
        num_features = round(statistics.mean(len(np.unique(b.indices)) for b in batches))
        computing = measure_computing(hyperparameters, batches)
        described = {"data": data, "num_factors": k, "features_a_step": num_features}
        rounded = {name: round(value, 2) for name, value in computing.items()}
        print(json.dumps(described | rounded), flush=True)
        for rate in options.rates:
            exchange_ms = measure_exchange(num_features, k, rate, options.repeats)
            sent = bytes_sent(num_features, k, 2)
            gbit = 8e-6 * sent / exchange_ms
            achieved: dict[int, float] = {}
            nominal: dict[int, float] = {}
            megabytes, replicated = {}, {}
            for num_hosts in (2, 3, 4, 8, MOST_HOSTS):
                n_sent = bytes_sent(num_features, k, num_hosts)
                for efficiency, speed in ((achieved, gbit), (nominal, rate)):
                    n_ms = computing["split_step_ms"] + 8e-6 * n_sent / speed
                    efficiency[num_hosts] = round(computing["step_ms"] / n_ms, 2)
                megabytes[num_hosts] = round(n_sent / 1e6, 1)
                replicated[num_hosts] = round(replicated_bytes(num_features, k, num_hosts) / 1e6, 1)
            row = {
                "data": data, "rate_gbit": rate, "exchange_ms": round(exchange_ms, 2),
                "achieved_gbit": round(gbit, 2), "mb_sent": megabytes,
                "mb_sent_if_replicated": replicated, "efficiency_achieved": achieved,
                "efficiency_nominal": nominal,
            }  # fmt: skip
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
