"""The base of the kernels of several hosts, which keeps the hosts in step.

Before each step, every host tells the others whether it has rows left, wants to stop, or wants to
write a checkpoint. So all hosts do the same at the same step.
"""

import abc
import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array
from fm_algo.training.distributed.group import HostGroup
from fm_algo.training.distributed.placement import PartOfModel, Placement, WritableColumns
from fm_algo.training.gradient import Kernel, PreparedBatch
from fm_algo.training.gradient.parameters import PARAMETER_ROWS
from fm_algo.training.state import ParameterStore

_SCORED_AT_ONCE = 4096
"""Rows per host that one exchange scores."""

HAS_ROWS, IS_TO_STOP, IS_CHECKPOINT_DUE = 1, 2, 4
"""What a host tells the others before a step, added up."""


class HostKernel(Kernel[PreparedBatch]):
    """One host's part of training on several hosts; it is also the host's `Peers`.

    A subclass adds the kernel of a single host, which holds the parameters of this host's part. All
    hosts must call `step`, `margin` and the methods of `Peers` in the same order.

    Parameters
    ----------
    placement : Placement
    hyperparameters : Hyperparameters
        The job's; mini_batch_size is per host.
    group : HostGroup
    should_stop : callable
        Whether this host is to stop.

    Attributes
    ----------
    placement : Placement
        Tells which parameters this host keeps; `model` and `state` hold those.
    group : HostGroup
    replicated : tuple of array
        Arrays that all hosts keep. When a checkpoint is read, only the leader has its numbers.
    is_checkpoint_due : callable
        Whether this host finds that it is time for a checkpoint.
    checkpoint_agreed : bool
        Whether some host has found so; all hosts know it before the step.
    """

    replicated: tuple[NDArray[Any], ...]
    _hyperparameters: Hyperparameters  # those of this host's part

    def __init__(
        self,
        placement: Placement,
        hyperparameters: Hyperparameters,
        group: HostGroup,
        should_stop: Callable[[], bool],
    ) -> None:
        self.placement = placement
        self.group = group
        self._feature_dim = hyperparameters.feature_dim
        self._should_stop = should_stop
        self._stop_agreed = False
        self.is_checkpoint_due: Callable[[], bool] = lambda: False
        self.checkpoint_agreed = False

    @abc.abstractmethod
    def in_step(self, prepared: Iterator[PreparedBatch]) -> Iterator[PreparedBatch]:
        """Yield this host's mini-batches, then empty ones until no host has rows left."""

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
        """The rows of this host's part, with optimiser state, as in `gradient.parameters`."""
        return cast("Float32Array", self.state()[PARAMETER_ROWS])

    @property
    def writable_parameters(self) -> Float32Array:
        """The same rows, for writing."""
        return cast("Float32Array", self.writable_state()[PARAMETER_ROWS])

    def writable_model(self) -> ParameterStore:
        """Return a store that is written like the whole model, but keeps only this host's part."""
        layout = self.placement.layout
        here = self.writable_parameters, self.placement, self.rank
        w0 = self.model().w0 if self._hyperparameters.use_bias else np.zeros(1, np.float32)
        w = WritableColumns(*here, layout.w_at, layout.w_at + 1, is_flat=True)
        return PartOfModel(w0, w, WritableColumns(*here, 0, layout.num_factors))

    def blocks_in_step(self, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        """Yield this host's rows in small blocks, then empty ones until no host has rows left."""
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
        """Stop all hosts if one of them is to stop; return `is_stopping`."""
        self._agree(self.gather([self._flags(has_rows=False)]))
        return self._stop_agreed

    def _flags(self, *, has_rows: bool) -> int:
        return (
            HAS_ROWS * has_rows
            | IS_TO_STOP * self._should_stop()
            | IS_CHECKPOINT_DUE * self.is_checkpoint_due()
        )

    def _agree(self, flags: Int64Array) -> bool:
        """Adopt the wishes of all hosts; return whether any host has rows."""
        agreed = int(np.bitwise_or.reduce(flags, axis=None))
        self._stop_agreed |= bool(agreed & IS_TO_STOP)
        self.checkpoint_agreed = bool(agreed & IS_CHECKPOINT_DUE)
        return bool(agreed & HAS_ROWS)

    def _no_rows(self) -> CSRBatch:
        return CSRBatch.empty(self._feature_dim, labelled=True)


def of_part(hyperparameters: Hyperparameters, num_hosts: int, **own: object) -> Hyperparameters:
    """Return a job's hyperparameters for the kernel of one host's part.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The job's.
    num_hosts : int
        Number of hosts with rows; the kernel's mini_batch_size is that of all of them together.
    **own : object
        Other values that differ from the job's.
    """
    # Not checked like those of a job, because a host may own no feature.
    part = copy.copy(hyperparameters)
    of_all = num_hosts * hyperparameters.mini_batch_size
    for name, value in {"mini_batch_size": of_all, **own}.items():
        msgspec.structs.force_setattr(part, name, value)
    return part
