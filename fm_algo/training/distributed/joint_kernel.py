"""The base of the kernels that split the factors: each sees the training rows of all hosts.

Which rows come next depends only on the data. So the hosts exchange and join the next rows while
they train on others.
"""

import abc
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Int64Array
from fm_algo.training.distributed.group import HostGroup
from fm_algo.training.distributed.host_kernel import IS_CHECKPOINT_DUE, IS_TO_STOP, HostKernel
from fm_algo.training.distributed.placement import FactorPlacement
from fm_algo.training.gradient import Columns, PreparedBatch


@dataclass(frozen=True, slots=True, eq=False)
class JointBatch(PreparedBatch):
    """The mini-batches of all hosts as one; `batch` is this host's.

    Attributes
    ----------
    columns : Columns or None
        Columns of all rows, if the kernel needs them.
    joint : CSRBatch
        All rows, in the order of the hosts.
    counts : int64, shape (num_hosts,)
        Rows per host.
    flags : int64, shape (num_hosts,)
        The flags that each host sent with its rows.
    """

    columns: Columns | None
    joint: CSRBatch
    counts: Int64Array
    flags: Int64Array


class JointKernel(HostKernel):
    """A host's kernel that sees the rows of all hosts; see `HostKernel`."""

    _has_joint_labels = False
    """Whether labels and weights are joined too."""

    def __init__(
        self,
        placement: FactorPlacement,
        hyperparameters: Hyperparameters,
        group: HostGroup,
        should_stop: Callable[[], bool],
    ) -> None:
        super().__init__(placement, hyperparameters, group, should_stop)
        self._ahead = group.beside()
        self._is_stop_announced = self._is_checkpoint_announced = False

    @abc.abstractmethod
    def _lay_out(
        self, batch: CSRBatch, *joined: *tuple[CSRBatch, Int64Array, Int64Array]
    ) -> JointBatch:
        """Prepare a step from this host's rows and from what `join_rows` returned."""

    def prepare(self, batch: CSRBatch) -> PreparedBatch:
        """Get the other hosts' rows of the same step; may run during other steps, but in order."""
        if self._is_stop_announced:
            return PreparedBatch(batch)  # all hosts stop before it, and no other announces one
        return self._announce(batch, has_rows=True)

    def in_step(self, prepared: Iterator[PreparedBatch]) -> Iterator[PreparedBatch]:
        """Yield this host's mini-batches, then empty ones until no host has rows left."""
        without_rows = (self._announce(self._no_rows(), has_rows=False) for _ in itertools.count())
        for batch in itertools.chain(prepared, without_rows):
            if not isinstance(batch, JointBatch):
                raise TypeError("a mini-batch of another kernel")
            has_rows, is_checkpoint_agreed = self._agree(batch.flags), self.checkpoint_agreed
            if has_rows:
                yield batch
            if is_checkpoint_agreed:
                self._is_checkpoint_announced = False
            if not has_rows:
                return

    def _announce(self, batch: CSRBatch, *, has_rows: bool) -> JointBatch:
        """Exchange rows and wishes some steps ahead; ask for a checkpoint only once."""
        said = self._flags(has_rows=has_rows)
        if self._is_checkpoint_announced:
            said &= ~IS_CHECKPOINT_DUE
        elif said & IS_CHECKPOINT_DUE:
            self._is_checkpoint_announced = True
        joined = join_rows(self._ahead, batch, said, with_labels=self._has_joint_labels)
        self._is_stop_announced = bool((joined[2] & IS_TO_STOP).any())
        return self._lay_out(batch, *joined)


def join_rows(
    group: HostGroup, batch: CSRBatch, flags: int, *, with_labels: bool = False
) -> tuple[CSRBatch, Int64Array, Int64Array]:
    """Exchange rows; all hosts must call it.

    Parameters
    ----------
    group : HostGroup
    batch : CSRBatch
        This host's rows.
    flags : int
        Sent along with the rows.
    with_labels : bool, optional
        Whether labels and weights are sent too.

    Returns
    -------
    joint : CSRBatch
        The rows of all hosts, in their order.
    counts : int64, shape (num_hosts,)
        Rows per host.
    flags : int64, shape (num_hosts,)
    """
    all_one = bool((batch.values == 1).all())
    is_weighted = batch.weights is not None
    said = np.array([batch.num_rows, batch.num_entries, all_one, is_weighted, flags], np.int64)
    counts, entries, all_ones, are_weighted, all_flags = group.gather(said).T
    lengths = group.spread(np.diff(batch.indptr).astype(np.int32), counts)
    indices = group.spread(batch.indices, entries)
    values = None if all_ones.all() else group.spread(batch.values, entries)
    labels = group.spread(batch.require_labels(), counts) if with_labels else None
    weights = None
    if with_labels and are_weighted.any():  # on some hosts: beside weighted rows, others weigh 1
        weights = group.spread(batch.weigh(np.ones(batch.num_rows, np.float32)), counts)
    indptr = np.zeros(counts.sum() + 1, np.int64)
    np.cumsum(lengths.wait(), out=indptr[1:])
    joint = CSRBatch(
        indptr,
        indices.wait(),
        np.ones(entries.sum(), np.float32) if values is None else values.wait(),
        None if labels is None else labels.wait(),
        batch.feature_dim,
        None if weights is None else weights.wait(),
    )
    return joint, counts, all_flags
