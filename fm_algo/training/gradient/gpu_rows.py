"""Rows in the memory of a GPU, and mini-batches of them."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from fm_algo.sparse import CSRBatch, Float32Array, Int64Array

_BLOCK_NUMBERS = 1 << 22
"""Numbers copied at once, through pinned memory, which the device reads by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class DeviceRows:
    """Rows on a device, in compressed sparse row form like `CSRBatch`.

    Attributes
    ----------
    indptr : int64, shape (num_rows + 1,)
    indices : int32, shape (num_entries,)
    values : float32, shape (num_entries,), or None
        None if all are 1.
    labels : float32, shape (num_rows,)
        0 if there are none.
    weights : float32, shape (num_rows,), or None
        None if all are 1.
    """

    indptr: torch.Tensor
    indices: torch.Tensor
    values: torch.Tensor | None
    labels: torch.Tensor
    weights: torch.Tensor | None

    @staticmethod
    def num_bytes(batch: CSRBatch) -> int:
        """Return the bytes of device memory that the rows of `batch` would take."""
        entry_bytes = 4 if _all_one(batch.values) else 8
        row_bytes = 12 if batch.weights is None else 16
        return 8 + row_bytes * batch.num_rows + entry_bytes * batch.num_entries

    @classmethod
    def copy_of(cls, batch: CSRBatch, device: torch.device) -> Self:
        """Copy rows to a device, without waiting until they are there."""
        labels = np.zeros(batch.num_rows, np.float32) if batch.labels is None else batch.labels
        return cls(
            to_device(batch.indptr, device),
            to_device(batch.indices, device),
            None if _all_one(batch.values) else to_device(batch.values, device),
            to_device(labels, device),
            None if batch.weights is None else to_device(batch.weights, device),
        )

    def used_by(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until `stream` has done all work launched on it so far."""
        for tensor in (self.indptr, self.indices, self.values, self.labels, self.weights):
            if tensor is not None:
                tensor.record_stream(stream)


@dataclass(frozen=True, slots=True, eq=False)
class DeviceBatch:
    """A mini-batch of rows that are in a device's memory, or on their way there.

    Attributes
    ----------
    rows : DeviceRows
        They contain the rows of the mini-batch, perhaps among others.
    plan : int64, shape (2 * num_places + 1,)
        First the number of the row at each place of the mini-batch, or -1 if the place is empty.
        Then where the entries of each place begin, and where the last ones end.
    num_rows : int
        Places beyond it are empty.
    is_held : bool
        Whether the rows stay on the device, not only for this mini-batch.
    arrived : torch.cuda.Event or None
        Event after which the rows are on the device; None if they are there already.
    compared : CSRBatch or None
        Of a ranking loss: the rows of the mini-batch on the host.
    """

    rows: DeviceRows
    plan: Int64Array
    num_rows: int
    is_held: bool = False
    arrived: torch.cuda.Event | None = None
    compared: CSRBatch | None = None

    @property
    def num_places(self) -> int:
        """Places for rows, empty ones included."""
        return len(self.plan) // 2

    @property
    def num_entries(self) -> int:
        """Entries of all its rows."""
        return int(self.plan[-1])


def plan_of(numbers: Int64Array, lengths: Int64Array, num_places: int) -> Int64Array:
    """Make the `DeviceBatch.plan` of the rows `numbers`, which have `lengths` entries."""
    n = len(numbers)
    plan = np.full(2 * num_places + 1, -1, np.int64)
    plan[:n] = numbers
    starts = plan[num_places:]
    starts[0] = 0
    np.cumsum(lengths, out=starts[1 : n + 1])
    starts[n + 1 :] = starts[n]
    return plan


def to_device(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Copy an array of one dimension to new memory on a device, as `copy_to` does."""
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    target = torch.empty(len(array), dtype=dtype, device=device)
    copy_to(target, array)
    return target


def copy_to(target: torch.Tensor, array: NDArray[Any]) -> None:
    """Copy an array to the start of a tensor, in order with the work of the present stream."""
    for start in range(0, len(array), _BLOCK_NUMBERS):
        block = array[start : start + _BLOCK_NUMBERS]
        # torch keeps pinned memory until the device has read it.
        staged = torch.empty(len(block), dtype=target.dtype, pin_memory=target.is_cuda)
        staged.numpy()[:] = block
        target[start : start + len(block)].copy_(staged, non_blocking=True)


def _all_one(values: Float32Array) -> bool:
    return bool((values == 1).all())
