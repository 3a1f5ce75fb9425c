"""The CPU kernel of several hosts: rows are fetched from their owners, gradients sent back.

A step of all hosts together is the step of one host on all their rows::

    owners     pack the rows wanted          →  exchanged  →
    all        margins, residuals, gradients  (`passes.forward_rows`, `split_passes`)
    owners  ←  exchanged  ←  gradients; add them up in the order of the hosts, update each row once

Which rows are wanted depends on the data alone: the numbers of the next mini-batch's rows travel
while this one is trained on. Their values cannot: this step's update may change them. The bias is
kept by all, who add up its gradient in the same order.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fm_algo.distributed.group import HostGroup, Pending
from fm_algo.distributed.ownership import Ownership
from fm_algo.distributed.routes import Baggage, Route, RoutedBatch
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import PreparedBatch
from fm_algo.kernels.cpu import CPUKernel
from fm_algo.kernels.split_passes import apply_gradients, pack_rows, sum_gradients
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array

_SCORED_AT_ONCE = 4096
"""Rows scored in one exchange."""

_HAS_ROWS, _IS_TO_STOP, _IS_CHECKPOINT_DUE = 1, 2, 4


class DistributedKernel(CPUKernel):
    """One host's part of a training on several; also its `Peers`.

    `step`, `margin` and all of `Peers` are for all hosts to call in the same order.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        mini_batch_size is that of each host.
    group : HostGroup
    should_stop : callable, optional
        Whether this host is to stop.

    Attributes
    ----------
    ownership : Ownership
        Which rows are this host's: those that `model` and `state` hold.
    is_checkpoint_due : callable
        Whether this host finds that it is time for one.
    checkpoint_agreed : bool
        Whether a host has found so, as all know before the step.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        group: HostGroup,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.ownership = Ownership(hyperparameters.feature_dim, group.size)
        self.group = group
        own = {
            "feature_dim": self.ownership.num_rows(group.rank),
            "mini_batch_size": group.size * hyperparameters.mini_batch_size,
        }
        super().__init__(msgspec.structs.replace(hyperparameters, **own))
        self._feature_dim = hyperparameters.feature_dim
        self._should_stop = should_stop
        self._stop_agreed = self._has_rows = False
        self._route: Route | None = None
        self._baggage = Baggage(self._parameters.width + 1)
        self.is_checkpoint_due: Callable[[], bool] = lambda: False
        self.checkpoint_agreed = False

    @property
    def rank(self) -> int:
        """Number of this host."""
        return self.group.rank

    @property
    def size(self) -> int:
        """Number of hosts."""
        return self.group.size

    @property
    def own_parameters(self) -> Float32Array:
        """The rows of this host, with optimiser state, laid out as in `kernels.parameters`."""
        return self._parameters.rows

    @property
    def w_columns(self) -> tuple[int, int]:
        """Where in them w begins and ends."""
        return self._parameters.w_at, self._parameters.w_at + 1

    def prepare(self, batch: CSRBatch) -> PreparedBatch:
        """Find out which rows of which host a mini-batch needs; may run beside other steps."""
        return RoutedBatch.of(batch, self.ownership)

    def in_step(self, prepared: Iterator[PreparedBatch]) -> Iterator[PreparedBatch]:
        """Pass on this host's mini-batches, then empty ones until no host has any left.

        What is passed on is always one behind what has been announced to the others.
        """
        then_none = itertools.chain(prepared, itertools.repeat(None))
        route = self._announce_next(then_none)
        while route is not None:
            following = self._announce_next(then_none)
            self._route = route
            yield route.batch
            route = following

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update all hosts' parameters once; return the margins of this host's rows from before."""
        route, self._route = self._route, None
        if route is None or prepared is not route.batch:
            raise RuntimeError("a mini-batch was not announced to the other hosts")
        compact, columns = route.batch.compact, route.batch.columns
        fetched = self._fetch(route)
        wanted = route.by_row(len(self._parameters.rows))
        packed = fetched.wait()
        margin, residual, factor_sums = self._forward(compact, packed, self._parameters.width)
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
        """Margin of each row, float32, (num_rows,); a host without rows takes part too."""
        route = self._announce(RoutedBatch.of(batch, self.ownership), 0)
        packed = self._fetch(route).wait()
        return self._forward(route.batch.compact, packed, self._parameters.width)[0]

    def blocks_in_step(self, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        """Pass on the rows of this host in small blocks, then empty ones until no host has any."""
        pieces = (
            block.rows(start, min(start + _SCORED_AT_ONCE, block.num_rows))
            for block in blocks
            for start in range(0, block.num_rows, _SCORED_AT_ONCE)
        )
        for piece in itertools.chain(pieces, itertools.repeat(None)):
            flags = self.gather([self._flags(has_rows=piece is not None)])
            if not self._agree(flags):
                return
            yield self._no_rows() if piece is None else piece

    def add_up(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Add up each number over all hosts, in their order."""
        return self.group.add_up(numbers)

    def gather(self, numbers: list[int]) -> Int64Array:
        """Return the numbers of all hosts, shape (size, len(numbers))."""
        return self.group.gather(np.array(numbers, np.int64))

    def is_stopping(self) -> bool:
        """Tell whether the hosts have agreed to stop."""
        return self._stop_agreed

    def agree_on_stop(self) -> bool:
        """Stop together if one of the hosts is to stop; return `is_stopping`."""
        self._agree(self.gather([self._flags(has_rows=False)]))
        return self._stop_agreed

    def _announce_next(self, prepared: Iterator[PreparedBatch | None]) -> Route | None:
        """Tell the others what the next mini-batch needs; None if no host has one."""
        batch = next(prepared)
        flags = self._flags(has_rows=batch is not None)
        if batch is None:
            batch = self.prepare(self._no_rows())
        if not isinstance(batch, RoutedBatch):
            raise TypeError("a mini-batch of another kernel")
        route = self._announce(batch, flags)
        return route if self._has_rows else None

    def _announce(self, batch: RoutedBatch, flags: int) -> Route:
        """Exchange how many rows of each other the hosts want, and their wishes."""
        each_one = np.ones(self.size, np.int64)
        said = np.column_stack([batch.counts, np.full(self.size, flags)])
        heard = self.group.exchange(np.ascontiguousarray(said), each_one, each_one).wait()
        self._has_rows = self._agree(heard[:, 1:])
        return Route(self.group, batch, np.ascontiguousarray(heard[:, 0]))

    def _flags(self, *, has_rows: bool) -> int:
        return (
            _HAS_ROWS * has_rows
            | _IS_TO_STOP * self._should_stop()
            | _IS_CHECKPOINT_DUE * self.is_checkpoint_due()
        )

    def _agree(self, flags: Int64Array) -> bool:
        """Take the wishes of all hosts for one's own; return whether any has rows."""
        agreed = int(np.bitwise_or.reduce(flags, axis=None))
        self._stop_agreed |= bool(agreed & _IS_TO_STOP)
        self.checkpoint_agreed = bool(agreed & _IS_CHECKPOINT_DUE)
        return bool(agreed & _HAS_ROWS)

    def _fetch(self, route: Route) -> Pending[np.float32]:
        rows = route.wanted()
        packed = self._baggage.rows("rows out", len(rows))
        pack_rows(self._parameters.rows, self._parameters.w_at, rows, packed)
        return route.bring(packed, self._baggage.rows("rows in", len(route.batch.rows)))

    def _no_rows(self) -> CSRBatch:
        return CSRBatch.empty(self._feature_dim, labelled=True)
