"""The kernel of several GPUs, one process per GPU, that split the factors like `factor_kernel`.

Each GPU finds its part of all rows' margins. The GPUs add the parts up, and each finds all
residuals. So labels and weights are sent with the rows::

    ahead   the hosts' next mini-batches  →  exchanged; each joins them and copies them to the GPU
    all     each row's margin in part (`gpu_passes.forward_rows`)  →  added up over all
    all     residuals, metrics, gradients and updates

Rows are copied batch by batch, and steps are not recorded.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array
from fm_algo.training.distributed.group import DeviceGroup, HostGroup
from fm_algo.training.distributed.host_kernel import of_part
from fm_algo.training.distributed.joint_kernel import JointBatch, JointKernel, join_rows
from fm_algo.training.distributed.placement import FactorPlacement
from fm_algo.training.gradient import LateSums, PreparedBatch
from fm_algo.training.gradient.gpu import GPUKernel
from fm_algo.training.gradient.gpu_rows import DeviceBatch, DeviceRows
from fm_algo.training.state import State


@dataclass(frozen=True, slots=True, eq=False)
class DeviceJointBatch(JointBatch):
    """A mini-batch of all hosts on its way to this process's device.

    Attributes
    ----------
    on_device : DeviceBatch
        All rows.
    """

    on_device: DeviceBatch


class GPUFactorKernel(JointKernel):
    """The kernel of one process, whose GPU has some factors of every feature; see `HostKernel`.

    What `HostKernel` says of hosts holds for processes here.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The job's; mini_batch_size is per host.
    group : HostGroup
        All processes. Those of a host stand together; the first one has the host's rows.
    should_stop : callable, optional
        Whether this process is to stop.
    num_gpus : int, optional
        Processes per host.
    device : str
        See `GPUKernel`.

    Raises
    ------
    UserError
        If the device's memory is too small.
    """

    _has_joint_labels = True

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        group: HostGroup,
        should_stop: Callable[[], bool] = lambda: False,
        num_gpus: int = 1,
        device: str = "cuda",
    ) -> None:
        placement = FactorPlacement.of(hyperparameters, group.size)
        own = placement.own_hyperparameters(group.rank)
        self._hyperparameters = of_part(hyperparameters, group.size // num_gpus, **own)
        # All processes connect before one of them may find that its memory is too small.
        sums = group.on_device(torch.device(device))
        super().__init__(placement, hyperparameters, group, should_stop)
        self._part = _PartKernel(self._hyperparameters, device, sums)
        self.replicated = (self._part.num_steps_on_host,)

    @property
    def description(self) -> str:
        """What trains, for the log."""
        return f"{self.size} processes, here {self._part.description}"

    def hold(self, rows: CSRBatch) -> None:
        """Leave the rows where they are: the other GPUs need them too."""

    def step(self, prepared: PreparedBatch) -> LateSums:
        """Update all GPUs' parameters once; return a function that waits for the metrics' sums.

        In the first process the sums are those of all rows; in the others they are 0.
        """
        if not isinstance(prepared, DeviceJointBatch):
            raise TypeError("a mini-batch of another kernel")
        late_sums = self._part.step(prepared.on_device)
        return late_sums if self.rank == 0 else lambda: dict.fromkeys(late_sums(), 0)

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row, float32, (num_rows,); processes without rows must call it too."""
        joint, counts, _ = join_rows(self.group, batch, 0)
        first = int(counts[: self.rank].sum())
        return self._part.margin(joint)[first : first + batch.num_rows]

    def model(self) -> FMModel:
        """Return this process's parameters, as `GPUKernel` does."""
        return self._part.model()

    def state(self) -> State:
        """Return this process's part of the state, as `GPUKernel` does."""
        return self._part.state()

    def writable_state(self) -> State:
        """Return the same, for writing."""
        return self._part.writable_state()

    def _lay_out(
        self, batch: CSRBatch, *joined: *tuple[CSRBatch, Int64Array, Int64Array]
    ) -> DeviceJointBatch:
        return DeviceJointBatch(batch, None, *joined, self._part.prepare(joined[0]))


class _PartKernel(GPUKernel):
    """The kernel of a GPU that has a part of the factors: margins are sums over all GPUs."""

    def __init__(self, hyperparameters: Hyperparameters, device: str, sums: DeviceGroup) -> None:
        super().__init__(hyperparameters, device)
        self._sums = sums
        self.num_steps_on_host = self._host.num_steps

    def _complete(self, rows: DeviceRows, num_places: int) -> None:
        margin, residual = self._work.margin[:num_places], self._work.residual[:num_places]
        self._complete_margin(margin)
        residual.copy_(margin)
        if self._loss.is_classifier:
            residual.sigmoid_()
        residual.sub_(self._work.row_labels[:num_places])
        if rows.weights is not None:
            residual.mul_(rows.weights[self._work.plan[:num_places]])

    def _complete_margin(self, margin: torch.Tensor) -> None:
        self._sums.add_up(margin)

    def _wait(self, done: torch.cuda.Event) -> None:
        self._sums.wait(done)
