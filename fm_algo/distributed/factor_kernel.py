"""The kernel of several hosts that split the factors: all see all rows, each trains some factors.

A margin is a sum over factors, and a parameter's gradient needs besides its own numbers only the
rows' residuals. So a model of k factors is N smaller models, the first with the bias and the linear
part, whose margins add up::

    ahead      the hosts' next mini-batches  →  exchanged; joined and transposed by each
    all        each row's margin in part (`passes.forward_rows`)  →  exchanged
    row's host adds the parts up and finds the residual  →  exchanged
    all        gradients and updates (`passes.update_columns`)

Rows depend on the data alone and travel while others are trained on; of parameters nothing does. A
step waits for two numbers a row. What it is not good for: an optimiser that looks at a feature's
factors together, and fewer factors a host than a vector holds.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from fm_algo.distributed.group import HostGroup
from fm_algo.distributed.host_kernel import IS_CHECKPOINT_DUE, IS_TO_STOP, HostKernel
from fm_algo.distributed.placement import FactorPlacement
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import Columns, PreparedBatch
from fm_algo.kernels.parameters import Layout
from fm_algo.kernels.passes import update_columns
from fm_algo.kernels.split_passes import find_residuals
from fm_algo.kernels.transpose import transpose
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class JointBatch(PreparedBatch):
    """The mini-batches of all hosts as one; `batch` is this host's.

    Attributes
    ----------
    columns : Columns
        Of all rows.
    joint : CSRBatch
        All rows, in the order of the hosts, without labels.
    counts : int64, shape (num_hosts,)
        Rows of each host.
    flags : int64, shape (num_hosts,)
        What each host said with its rows.
    """

    columns: Columns
    joint: CSRBatch
    counts: Int64Array
    flags: Int64Array


class FactorKernel(HostKernel):
    """A host's kernel where each host has some of every feature's factors; see `HostKernel`.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        mini_batch_size is that of each host.
    group : HostGroup
    should_stop : callable, optional
        Whether this host is to stop.
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        group: HostGroup,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        layout = Layout.of(hyperparameters)
        placement = FactorPlacement(hyperparameters.feature_dim, group.size, layout)
        first, last = placement.factors(group.rank)
        own: dict[str, object] = {"num_factors": last - first}
        if group.rank > 0:
            own |= {"use_bias": False, "use_linear": False}
        super().__init__(own, placement, hyperparameters, group, should_stop)
        self.replicated = (self._parameters.num_steps,)
        self._ahead = group.beside()
        self._is_stop_announced = self._is_checkpoint_announced = False

    def prepare(self, batch: CSRBatch) -> PreparedBatch:
        """Get the other hosts' rows of the same step; in order, and beside other steps."""
        if self._is_stop_announced:
            return PreparedBatch(batch)  # all stop before it, and nobody else announces one
        return self._announce(batch, has_rows=True)

    def in_step(self, prepared: Iterator[PreparedBatch]) -> Iterator[PreparedBatch]:
        """Pass on this host's mini-batches, then empty ones until no host has any left."""
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

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update all hosts' parameters once; return the margins of this host's rows from before."""
        if not isinstance(prepared, JointBatch):
            raise TypeError("a mini-batch of another kernel")
        counts, columns = prepared.counts, prepared.columns
        part, _, factor_sums = self._forward_own(prepared.joint)
        margin = self._add_up_parts(part, counts)
        own_residual = np.empty_like(margin)
        is_classifier = self._hyperparameters.predictor_type == "binary_classifier"
        find_residuals(margin, prepared.labels, is_classifier, own_residual)
        residual = self.group.spread(own_residual, counts).wait()
        update_columns(
            columns.features, columns.starts, columns.rows, columns.values, residual, factor_sums,
            *self._begin_update(),
        )  # fmt: skip
        return margin

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row, float32, (num_rows,); a host without rows takes part too."""
        joint, counts, _ = join_rows(self.group, batch, 0)
        part, _, _ = self._forward_own(joint)
        return self._add_up_parts(part, counts)

    def _announce(self, batch: CSRBatch, *, has_rows: bool) -> JointBatch:
        """Exchange rows and wishes, some steps ahead: what is asked for once is not again."""
        said = self._flags(has_rows=has_rows)
        if self._is_checkpoint_announced:
            said &= ~IS_CHECKPOINT_DUE
        elif said & IS_CHECKPOINT_DUE:
            self._is_checkpoint_announced = True
        joint, counts, flags = join_rows(self._ahead, batch, said)
        self._is_stop_announced = bool((flags & IS_TO_STOP).any())
        return JointBatch(batch, transpose(joint), joint, counts, flags)

    def _add_up_parts(self, part: Float32Array, counts: Int64Array) -> Float32Array:
        """Send each host its rows' margins as far as they are known here; add up one's own."""
        num_own = int(counts[self.rank])
        found = self.group.exchange(part, counts, np.full(self.size, num_own)).wait()
        margin: Float32Array = found.reshape(self.size, num_own).sum(axis=0)
        return margin


def join_rows(
    group: HostGroup, batch: CSRBatch, flags: int
) -> tuple[CSRBatch, Int64Array, Int64Array]:
    """Exchange rows; for all hosts to call.

    Parameters
    ----------
    group : HostGroup
    batch : CSRBatch
        This host's rows; labels stay here.
    flags : int
        Sent along.

    Returns
    -------
    joint : CSRBatch
        The rows of all hosts, in their order.
    counts : int64, shape (num_hosts,)
        Rows of each.
    flags : int64, shape (num_hosts,)
    """
    all_one = bool((batch.values == 1).all())
    said = np.array([batch.num_rows, batch.num_entries, all_one, flags], np.int64)
    counts, entries, all_ones, all_flags = group.gather(said).T
    lengths = group.spread(np.diff(batch.indptr).astype(np.int32), counts)
    indices = group.spread(batch.indices, entries)
    values = None if all_ones.all() else group.spread(batch.values, entries)
    indptr = np.zeros(counts.sum() + 1, np.int64)
    np.cumsum(lengths.wait(), out=indptr[1:])
    joint = CSRBatch(
        indptr,
        indices.wait(),
        np.ones(entries.sum(), np.float32) if values is None else values.wait(),
        None,
        batch.feature_dim,
    )
    return joint, counts, all_flags
