"""The kernel of several GPUs, a process each, that split the factors as `factor_kernel` does.

Each GPU finds its part of all rows' margins; the parts are added up from GPU to GPU, and each finds
all residuals. So labels travel with the rows::

    ahead   the hosts' next mini-batches  →  exchanged; joined and copied to the device by each
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
from fm_algo.training.gradient.gpu_rows import DeviceBatch
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
    """A process's kernel where each GPU has some of every feature's factors; see `HostKernel`.

    What is said of hosts there is said of processes here.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The job's; mini_batch_size is that of each host.
    group : HostGroup
        Of all processes; those of a host stand together, and its first one has its rows.
    should_stop : callable, optional
        Whether this process is to stop.
    num_gpus : int, optional
        Processes of each host.
    device : str
        As of `GPUKernel`.

    Raises
    ------
    UserError
        If the device's memory does not suffice.
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
        # All connect before one of them may find that its memory does not suffice.
        sums = group.on_device(torch.device(device))
        super().__init__(placement, hyperparameters, group, should_stop)
        self._part = _PartKernel(self._hyperparameters, device, sums)
        self.replicated = (self._part.num_steps_on_host,)

    @property
    def description(self) -> str:
        """What trains, for the log."""
        return f"{self.size} processes, here {self._part.description}"

    def hold(self, rows: CSRBatch) -> None:
        """Leave rows where they are: other GPUs need them, too."""

    def step(self, prepared: PreparedBatch) -> LateSums:
        """Update all GPUs' parameters once; return what waits for the metrics of the margins.

        Those are of all rows, and the first process's to tell: the others have no rows to tell of.
        """
        if not isinstance(prepared, DeviceJointBatch):
            raise TypeError("a mini-batch of another kernel")
        late_sums = self._part.step(prepared.on_device)
        return late_sums if self.rank == 0 else lambda: dict.fromkeys(late_sums(), 0)

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row, float32, (num_rows,); a process without rows takes part too."""
        joint, counts, _ = join_rows(self.group, batch, 0)
        first = int(counts[: self.rank].sum())
        return self._part.margin(joint)[first : first + batch.num_rows]

    def model(self) -> FMModel:
        """Return this process's parameters, as of `GPUKernel`."""
        return self._part.model()

    def state(self) -> State:
        """Return this process's part of the state, as of `GPUKernel`."""
        return self._part.state()

    def writable_state(self) -> State:
        """Return the same, to be written to."""
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

    def _complete(self, num_places: int) -> None:
        margin, residual = self._work.margin[:num_places], self._work.residual[:num_places]
        self._complete_margin(margin)
        residual.copy_(margin)
        if self._loss.is_classifier:
            residual.sigmoid_()
        residual.sub_(self._work.row_labels[:num_places])

    def _complete_margin(self, margin: torch.Tensor) -> None:
        self._sums.add_up(margin)

    def _wait(self, done: torch.cuda.Event) -> None:
        self._sums.wait(done)
