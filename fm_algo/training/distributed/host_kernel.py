"""What a host's kernel has in common, however the parameters are split: it keeps step with others.

Wishes to stop, to write a checkpoint, and "I have rows left" travel before each step, so that all
hosts do the same at the same one.
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
"""Rows of a host scored in one exchange."""

HAS_ROWS, IS_TO_STOP, IS_CHECKPOINT_DUE = 1, 2, 4
"""What a host says before a step, added up."""


class HostKernel(Kernel[PreparedBatch]):
    """One host's part of a training on several; also its `Peers`.

    A base that stands before a kernel of one host, which has the parameters of this host's part.
    `step`, `margin` and all of `Peers` are for all hosts to call in the same order.

    Parameters
    ----------
    placement : Placement
    hyperparameters : Hyperparameters
        The job's; mini_batch_size is that of each host.
    group : HostGroup
    should_stop : callable
        Whether this host is to stop.

    Attributes
    ----------
    placement : Placement
        Which parameters are this host's: those that `model` and `state` hold.
    group : HostGroup
    replicated : tuple of array
        What all hosts keep, and the leader knows, if it has read a checkpoint.
    is_checkpoint_due : callable
        Whether this host finds that it is time for one.
    checkpoint_agreed : bool
        Whether a host has found so, as all know before the step.
    """

    replicated: tuple[NDArray[Any], ...]
    _hyperparameters: Hyperparameters  # of the kernel of this host's part

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
        """Pass on this host's mini-batches, then empty ones until no host has any left."""

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
        """The same rows, to be written to."""
        return cast("Float32Array", self.writable_state()[PARAMETER_ROWS])

    def writable_model(self) -> ParameterStore:
        """Return what can be written to like the whole model; what is this host's is kept."""
        layout = self.placement.layout
        here = self.writable_parameters, self.placement, self.rank
        w0 = self.model().w0 if self._hyperparameters.use_bias else np.zeros(1, np.float32)
        w = WritableColumns(*here, layout.w_at, layout.w_at + 1, is_flat=True)
        return PartOfModel(w0, w, WritableColumns(*here, 0, layout.num_factors))

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

    def _flags(self, *, has_rows: bool) -> int:
        return (
            HAS_ROWS * has_rows
            | IS_TO_STOP * self._should_stop()
            | IS_CHECKPOINT_DUE * self.is_checkpoint_due()
        )

    def _agree(self, flags: Int64Array) -> bool:
        """Take the wishes of all hosts for one's own; return whether any has rows."""
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
        Those with rows: the kernel's mini_batch_size is that of all together.
    **own : object
        What else is other than the job's.
    """
    # Not checked as a job's are: a host may own no feature.
    part = copy.copy(hyperparameters)
    of_all = num_hosts * hyperparameters.mini_batch_size
    for name, value in {"mini_batch_size": of_all, **own}.items():
        msgspec.structs.force_setattr(part, name, value)
    return part
