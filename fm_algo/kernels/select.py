"""Which kernel trains: the GPU's where there is one, unless a job asks for the other."""

# torch takes seconds and 200 MB: it is imported where there is a GPU, nowhere else.
# ruff: noqa: PLC0415

import importlib.util
import logging
import shutil
from pathlib import Path

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import Kernel
from fm_algo.kernels.cpu import CPUKernel

_log = logging.getLogger(__name__)

_DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of these exists where a GPU's driver is."""

_COMPILERS = ("gcc", "clang")


def make_kernel(hyperparameters: Hyperparameters) -> Kernel:
    """Make the kernel that the hyperparameter `device` asks for, its parameters 0.

    Raises
    ------
    UserError
        If device is gpu and there is none, or its memory does not suffice.
    """
    if hyperparameters.device == "cpu":
        return CPUKernel(hyperparameters)
    lack = _why_no_gpu()
    if lack is None:
        from fm_algo.kernels.gpu import GPUKernel

        return GPUKernel(hyperparameters)
    if hyperparameters.device == "gpu":
        raise UserError(f"device=gpu: {lack}; use a GPU instance, or device=auto or cpu")
    if _has_driver():
        _log.warning("the GPU is not used: %s", lack)
    return CPUKernel(hyperparameters)


def _has_driver() -> bool:
    return any(path.exists() for path in _DRIVER)


def _why_no_gpu() -> str | None:
    """Say why no GPU can be used; None: one can."""
    if not _has_driver():
        return "this machine has no NVIDIA GPU"
    missing = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} must be installed"
    import torch

    if torch.version.cuda is None:
        return f"the installed torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no GPU that it can use"
    if not any(map(shutil.which, _COMPILERS)):
        return f"Triton needs {' or '.join(_COMPILERS)} to link to the driver, and there is none"
    return None
