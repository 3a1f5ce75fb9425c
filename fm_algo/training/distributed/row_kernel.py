"""The kernel of several hosts that split the features: each feature's row has one owner.

Hosts fetch parameter rows from their owners, and send gradients back. A step of all hosts together
is the same as the step of one host on all their training rows::

    owners     pack the rows wanted          →  exchanged  →
    all        margins, residuals, gradients  (`passes.forward_rows`, `split_passes`)
    owners  ←  exchanged  ←  gradients; add them up in the order of the hosts, update each row once

Which rows are wanted depends only on the data. So hosts send the numbers of the rows that the next
mini-batch wants while they train on this one. They cannot send the values yet, because this step's
update may change them. All hosts keep the bias, and add up its gradient in the same order.
"""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.distributed.group import HostGroup, Pending
from fm_algo.training.distributed.host_kernel import HostKernel, of_part
from fm_algo.training.distributed.ownership import Ownership
from fm_algo.training.distributed.placement import RowPlacement
from fm_algo.training.distributed.routes import Baggage, Route, RoutedBatch
from fm_algo.training.gradient import PreparedBatch
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.parameters import Layout
from fm_algo.training.gradient.split_passes import apply_gradients, pack_rows, sum_gradients


class RowKernel(HostKernel, CPUKernel):
    """The kernel of one host, which owns the rows of some features; see `HostKernel`.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        mini_batch_size is per host.
    group : HostGroup
    should_stop : callable, optional
        Whether this host is to stop.

    Attributes
    ----------
    ownership : Ownership
        Tells which rows this host owns.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        group: HostGroup,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.ownership = Ownership(hyperparameters.feature_dim, group.size)
        placement = RowPlacement(Layout.of(hyperparameters), self.ownership)
        num_rows = self.ownership.num_rows(group.rank)
        CPUKernel.__init__(self, of_part(hyperparameters, group.size, feature_dim=num_rows))
        HostKernel.__init__(self, placement, hyperparameters, group, should_stop)
        self.replicated = self._parameters.bias, self._parameters.num_steps
        self._has_rows = False
        self._route: Route | None = None
        self._baggage = Baggage(placement.layout.width + 1)

    def prepare(self, batch: CSRBatch) -> PreparedBatch:
        """Find out which rows of which host a mini-batch needs; may run during other steps."""
        return RoutedBatch.of(batch, self.ownership)

    def in_step(self, prepared: Iterator[PreparedBatch]) -> Iterator[PreparedBatch]:
        """Yield this host's mini-batches, then empty ones until no host has rows left.

        The mini-batch yielded is always one behind the one announced to the other hosts.
        """
        then_none = itertools.chain(prepared, itertools.repeat(None))
        route = self._announce_next(then_none)
        while route is not None:
            following = self._announce_next(then_none)
            self._route = route
            yield route.batch
            route = following

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update all hosts' parameters once; return the margins of this host's rows before that."""
        route, self._route = self._route, None
        if route is None or prepared is not route.batch:
            raise RuntimeError("a mini-batch was not announced to the other hosts")
        compact, columns = route.batch.compact, route.batch.columns
        fetched = self._fetch(route)
        wanted = route.by_row(len(self._parameters.rows))
        packed = fetched.wait()
        margin, residual, factor_sums = self._forward(compact, packed, self.placement.layout.width)
        sums = self.group.gather_later(residual.sum(dtype=np.float64, keepdims=True))
        gradients = self._baggage.rows("gradients out", len(packed))
        sum_gradients(
            columns.features, columns.starts, columns.rows, columns.values,
            residual, factor_sums, packed, gradients,
        )  # fmt: skip
        returned = route.bring_back(
            gradients, self._baggage.rows("gradients in", len(route.wanted()))
        )
        residual_sum = np.float32(sums.wait().sum())
        apply_gradients(
            wanted.features,
            wanted.starts,
            wanted.rows,
            returned.wait(),
            residual_sum,
            *self._begin_update(),
        )
        return margin

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row, float32, (num_rows,); hosts without rows must call it too."""
        route = self._announce(RoutedBatch.of(batch, self.ownership), 0)
        packed = self._fetch(route).wait()
        return self._forward(route.batch.compact, packed, self.placement.layout.width)[0]

    def _announce_next(self, prepared: Iterator[PreparedBatch | None]) -> Route | None:
        """Tell the other hosts what the next mini-batch needs; return None if no host has one."""
        batch = next(prepared)
        flags = self._flags(has_rows=batch is not None)
        if batch is None:
            batch = self.prepare(self._no_rows())
        if not isinstance(batch, RoutedBatch):
            raise TypeError("a mini-batch of another kernel")
        route = self._announce(batch, flags)
        return route if self._has_rows else None

    def _announce(self, batch: RoutedBatch, flags: int) -> Route:
        """Exchange wishes, and how many rows each host wants from each other host."""
        each_one = np.ones(self.size, np.int64)
        said = np.column_stack([batch.counts, np.full(self.size, flags)])
        heard = self.group.exchange(np.ascontiguousarray(said), each_one, each_one).wait()
        self._has_rows = self._agree(heard[:, 1:])
        return Route(self.group, batch, np.ascontiguousarray(heard[:, 0]))

    def _fetch(self, route: Route) -> Pending[np.float32]:
        rows = route.wanted()
        packed = self._baggage.rows("rows out", len(rows))
        pack_rows(self._parameters.rows, self.placement.layout.w_at, rows, packed)
        return route.bring(packed, self._baggage.rows("rows in", len(route.batch.rows)))
