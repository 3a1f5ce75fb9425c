"""The kernel of several hosts that split the factors: all see all rows, each trains some factors.

A margin is a sum over factors. A parameter's gradient needs only the parameter's own numbers and
the rows' residuals. So N hosts can split a model of k factors into N smaller models whose margins
add up; the first one has the bias and the linear part::

    ahead      the hosts' next mini-batches  →  exchanged; joined and transposed by each
    all        each row's margin in part (`passes.forward_rows`)  →  exchanged
    row's host adds the parts up and finds the residual  →  exchanged
    all        gradients and updates (`passes.update_columns`)

The hosts send training rows while they train on others, and never send parameters. A step waits for
two numbers per row. This does not suit an optimiser that looks at a feature's factors together, or
fewer factors per host than a vector holds.
"""

from collections.abc import Callable

import numpy as np

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array
from fm_algo.training.distributed.group import HostGroup
from fm_algo.training.distributed.host_kernel import of_part
from fm_algo.training.distributed.joint_kernel import JointBatch, JointKernel, join_rows
from fm_algo.training.distributed.placement import FactorPlacement
from fm_algo.training.gradient import PreparedBatch
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.passes import find_residuals, update_columns
from fm_algo.training.gradient.transpose import transpose


class FactorKernel(JointKernel, CPUKernel):
    """The kernel of one host, which has some factors of every feature; see `HostKernel`.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        mini_batch_size is per host.
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
        placement = FactorPlacement.of(hyperparameters, group.size)
        own = placement.own_hyperparameters(group.rank)
        CPUKernel.__init__(self, of_part(hyperparameters, group.size, **own))
        JointKernel.__init__(self, placement, hyperparameters, group, should_stop)
        self.replicated = (self._parameters.num_steps,)

    def step(self, prepared: PreparedBatch) -> Float32Array:
        """Update all hosts' parameters once; return the margins of this host's rows before that."""
        if not isinstance(prepared, JointBatch):
            raise TypeError("a mini-batch of another kernel")
        counts, columns = prepared.counts, prepared.columns or transpose(prepared.joint)
        part, _, factor_sums = self._forward_own(prepared.joint)
        margin = self._add_up_parts(part, counts)
        own_residual = np.empty_like(margin)
        find_residuals(margin, prepared.labels, self._loss.is_classifier, own_residual)
        residual = self.group.spread(prepared.batch.weigh(own_residual), counts).wait()
        update_columns(
            columns.features, columns.starts, columns.rows, columns.values, residual, factor_sums,
            *self._begin_update(),
        )  # fmt: skip
        return margin

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row, float32, (num_rows,); hosts without rows must call it too."""
        joint, counts, _ = join_rows(self.group, batch, 0)
        part, _, _ = self._forward_own(joint)
        return self._add_up_parts(part, counts)

    def _lay_out(
        self, batch: CSRBatch, *joined: *tuple[CSRBatch, Int64Array, Int64Array]
    ) -> JointBatch:
        return JointBatch(batch, transpose(joined[0]), *joined)

    def _add_up_parts(self, part: Float32Array, counts: Int64Array) -> Float32Array:
        """Send each host the parts of its rows' margins; add up the parts of this host's own."""
        num_own = int(counts[self.rank])
        found = self.group.exchange(part, counts, np.full(self.size, num_own)).wait()
        margin: Float32Array = found.reshape(self.size, num_own).sum(axis=0)
        return margin
