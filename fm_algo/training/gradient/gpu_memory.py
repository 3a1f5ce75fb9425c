"""Check that a GPU's memory suffices, and say what it is needed for if it does not."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fm_algo.errors import PlatformError, UserError

_GB = 1e9


def free_bytes(device: torch.device) -> int:
    """Return the bytes that can still be allocated, including torch's own reserve."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def check_room(device: torch.device, num_bytes: int, purpose: str) -> None:
    """Check that there is room for what is about to be allocated.

    Raises
    ------
    UserError
        If there is not. The message says how much is needed, for what, and how much is free.
    """
    if device.type == "cuda" and num_bytes > (free := free_bytes(device)):
        raise UserError(_too_small(device, num_bytes, purpose, free))


@contextmanager
def device_errors(device: torch.device, num_bytes: int, purpose: str) -> Iterator[None]:
    """Turn torch's errors into ours: memory that runs out, and a device that fails.

    Raises
    ------
    UserError
        If the device has too little memory for `purpose`, which needs `num_bytes`.
    PlatformError
        If the device reports an error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        free = free_bytes(device)
        raise UserError(_too_small(device, num_bytes, purpose, free)) from error
    except torch.AcceleratorError as error:
        first_line = str(error).partition("\n")[0]
        raise PlatformError(f"the GPU failed: {first_line}") from error


def _too_small(device: torch.device, num_bytes: int, purpose: str, free: int) -> str:
    total = torch.cuda.get_device_properties(device).total_memory
    return (
        f"the GPU's memory is too small: {purpose} needs {num_bytes / _GB:.2f} GB, and "
        f"{free / _GB:.2f} of {total / _GB:.2f} GB are free; lower mini_batch_size or num_factors, "
        "take a GPU with more memory, or set device=cpu"
    )
