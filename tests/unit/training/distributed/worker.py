"""One host of a training on several: trains on its share and writes what it ends with."""

import itertools
import os
import sys
import threading
import time
from pathlib import Path

import msgspec
import numpy as np

from fm_algo.errors import FMError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.distributed.group import HostGroup, open_store
from fm_algo.training.distributed.select import make_kernel
from fm_algo.training.distributed.shared_rows import RowService
from fm_algo.training.distributed.watch import Watch
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import CachedRows
from fm_algo.training.initialization import draw_initial
from fm_algo.training.trainer import train


def load_rows(path: Path) -> CSRBatch:
    with np.load(path) as stored:
        arrays = [stored[name] for name in ("indptr", "indices", "values", "labels")]
        return CSRBatch(*arrays, int(stored["feature_dim"]), stored.get("weights"))


class SlowRows:
    """Two mini-batches, and then none for as long as anyone may wait."""

    def __init__(self, source: CachedRows) -> None:
        self._source = source

    def mini_batches(self, epoch):
        yield from itertools.islice(self._source.mini_batches(epoch), 2)
        time.sleep(1000)


def main() -> None:
    directory, rank, size, port, num_gpus = Path(sys.argv[1]), *map(int, sys.argv[2:6])
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
    kernel = make_kernel(hyperparameters, group, stop.is_set, num_gpus, "cpu")
    draw_initial(kernel.writable_model(), hyperparameters)
    host, gpu = divmod(rank, num_gpus or 1)
    first = rows.num_rows if gpu else host  # the host's first process has its rows
    share = rows.take(np.arange(first, rows.num_rows, size // (num_gpus or 1)))
    source = CachedRows(share, hyperparameters)
    if (directory / f"slow{rank}").exists():
        source = SlowRows(source)
    try:
        learner = GradientLearner(kernel, hyperparameters, source)
        reports = list(train(learner, hyperparameters, peers=kernel))
    except FMError as error:
        watch.report(error)
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)  # as a job ends
    told = [[metric.value for metric in report.metrics] for report in reports if report.metrics]
    np.save(directory / f"metrics{rank}.npy", told)
    service = RowService(kernel)
    if rank == 0:
        model = service.model()
        np.savez(directory / "model.npz", w0=model.w0, w=model.w[:], V=model.V[:])
        service.dismiss()
    else:
        service.serve()
    (directory / f"split{rank}").write_text(type(kernel).__name__)
    group.gather(np.zeros(1))
    watch.leave()
    watch.end()
    group.close()


main()
