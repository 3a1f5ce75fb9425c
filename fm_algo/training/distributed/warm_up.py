"""Compile the functions that only several hosts need, by training a little in a group of one."""

import contextlib
import threading
from collections.abc import Iterator

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.distributed.factor_kernel import FactorKernel
from fm_algo.training.distributed.group import HostGroup, open_store
from fm_algo.training.distributed.row_kernel import RowKernel
from fm_algo.training.distributed.watch import Watch
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.initialization import draw_initial
from fm_algo.training.rows import Rows
from fm_algo.training.trainer import train


@contextlib.contextmanager
def lone_group() -> Iterator[HostGroup]:
    """Yield a group with this process only."""
    store = open_store("127.0.0.1", 0, is_leader=True, timeout_s=60)
    hosts = ["localhost"]
    watch = Watch(store, 0, hosts, threading.Event())
    watch.start()
    watch.meet()
    group = HostGroup(store, 0, hosts, watch)
    try:
        yield group
    finally:
        watch.end()
        group.close()


def main(rows: CSRBatch, hyperparameters: Hyperparameters) -> None:
    """Run each compiled function once."""
    with lone_group() as group:
        for kind in (RowKernel, FactorKernel):
            kernel = kind(hyperparameters, group)
            learner = GradientLearner(kernel, hyperparameters)
            draw_initial(learner.writable_model(), hyperparameters)
            learner.take_rows(Rows.in_memory(rows))
            for _report in train(learner, hyperparameters, peers=kernel):
                pass
