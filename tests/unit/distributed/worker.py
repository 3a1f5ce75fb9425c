"""One host of a training on several: trains on its share and writes what it ends with."""

import sys
import threading
from pathlib import Path

import msgspec
import numpy as np

from fm_algo.distributed.group import HostGroup, open_store
from fm_algo.distributed.kernel import DistributedKernel
from fm_algo.distributed.own_rows import writable_model
from fm_algo.distributed.watch import Watch
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.initialization import draw_initial
from fm_algo.row_source import CachedRows
from fm_algo.sparse import CSRBatch
from fm_algo.trainer import train


def load_rows(path: Path) -> CSRBatch:
    with np.load(path) as stored:
        arrays = [stored[name] for name in ("indptr", "indices", "values", "labels")]
        return CSRBatch(*arrays, int(stored["feature_dim"]))


def main() -> None:
    directory, rank, size, port = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    hyperparameters = parse_hyperparameters(
        msgspec.json.decode((directory / "hyperparameters.json").read_bytes())
    )
    rows = load_rows(directory / "rows.npz")
    hosts = [f"host {number}" for number in range(size)]
    stop = threading.Event()

    store = open_store("127.0.0.1", port, is_leader=rank == 0, timeout_s=30)
    watch = Watch(store.clone(), rank, hosts, stop)
    watch.start()
    watch.meet()
    group = HostGroup(store, rank, hosts, watch)
    kernel = DistributedKernel(hyperparameters, group, stop.is_set)
    draw_initial(writable_model(kernel.model(), kernel.ownership, rank), hyperparameters)
    share = rows.take(np.arange(rank, rows.num_rows, size))
    reports = train(kernel, CachedRows(share, hyperparameters), hyperparameters, peers=kernel)
    losses = [report.metrics[0].value for report in reports if report.metrics]
    owned = np.arange(rows.feature_dim, dtype=np.int32)
    owners, places = kernel.ownership.find(owned)
    mine = owners == rank
    model = kernel.model()
    np.savez(
        directory / f"host{rank}.npz",
        features=owned[mine],
        w0=model.w0,
        w=model.w[places[mine]],
        V=model.V[places[mine]],
        losses=losses,
    )
    group.gather(np.zeros(1))
    watch.end()


main()
