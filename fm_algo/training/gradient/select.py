"""Choose what trains: GPUs if there are any, unless a job asks for the CPU."""

# torch takes seconds and 200 MB to import, so it is imported only where there is a GPU.
# ruff: noqa: PLC0415

import importlib.util
import logging
import shutil
from pathlib import Path
from typing import Any

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.gradient.cpu_fields import FieldCPUKernel

_log = logging.getLogger(__name__)

_DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of these exists where a GPU driver is installed."""

_COMPILERS = ("gcc", "clang")

_ONE_GPU = "one GPU (FM_GPUS=1) of one host"
_NO_GPU = "device=gpu: {}; use a GPU instance, or device=auto or cpu"


def make_kernel(hyperparameters: Hyperparameters, space: FeatureSpace | None = None) -> Kernel[Any]:
    """Make the kernel that the hyperparameter `device` asks for, with all parameters 0.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    space : FeatureSpace, optional
        The fields whose pairs have weights, if they have.

    Raises
    ------
    UserError
        If device is gpu and there is no GPU, or its memory is too small; or if there are too many
        fields.
    """
    if hyperparameters.device == "cpu":
        return _cpu_kernel(hyperparameters, space)
    lack = _why_no_gpu()
    if lack is None:
        return make_gpu_kernel(hyperparameters, space)
    if hyperparameters.device == "gpu":
        raise UserError(_NO_GPU.format(lack))
    if _has_driver():
        _log.warning("the GPU is not used: %s", lack)
    return _cpu_kernel(hyperparameters, space)


def _cpu_kernel(hyperparameters: Hyperparameters, space: FeatureSpace | None) -> CPUKernel:
    return CPUKernel(hyperparameters) if space is None else FieldCPUKernel(hyperparameters, space)


def make_gpu_kernel(
    hyperparameters: Hyperparameters, space: FeatureSpace | None, device: str = "cuda"
) -> Kernel[Any]:
    """Make the kernel of one GPU, with all parameters 0.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    space : FeatureSpace or None
        The fields whose pairs have weights, if they have.
    device : str
        See `GPUKernel`.

    Raises
    ------
    UserError
        If its memory is too small, or if there are too many fields.
    """
    from fm_algo.training.gradient.gpu import GPUKernel
    from fm_algo.training.gradient.gpu_fields import FieldGPUKernel

    if space is None:
        return GPUKernel(hyperparameters, device)
    return FieldGPUKernel(hyperparameters, device, space)


def count_gpus(hyperparameters: Hyperparameters, num_hosts: int = 1, most: int = 1) -> int:
    """Count the GPUs of this host that a job trains on, each with some of the factors.

    A job must ask for several GPUs, or for hosts with GPUs: real cards have not proved them yet.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The job's.
    num_hosts : int, optional
        Hosts of the job, each with as many GPUs.
    most : int, optional
        The most GPUs to use per host.

    Returns
    -------
    int
        0 if the CPU trains.

    Raises
    ------
    UserError
        If device is gpu and there is no GPU, or the GPUs cannot split the model.
    """
    if hyperparameters.device == "cpu":
        return 0
    lack = _why_no_gpu()
    if lack is None and num_hosts > 1 and hyperparameters.device == "auto":
        lack = "several hosts train on theirs with device=gpu alone"
    if lack is None:
        import torch

        num_gpus = min(torch.cuda.device_count(), most)
        lack = _why_not_split(hyperparameters, num_hosts, num_gpus)
        if lack is None:
            return min(num_gpus, hyperparameters.num_factors // num_hosts)
        if hyperparameters.device == "gpu":
            raise UserError(f"device=gpu: {lack}; use {_ONE_GPU}, or device=auto or cpu")
        if num_hosts == 1:
            _log.warning("one GPU is used: %s", lack)
            return 1
    elif hyperparameters.device == "gpu":
        raise UserError(_NO_GPU.format(lack))
    if num_hosts > 1 and _has_driver():
        _log.warning("the GPUs are not used: %s", lack)
    return 0


def _why_not_split(hyperparameters: Hyperparameters, num_hosts: int, num_gpus: int) -> str | None:
    """Say why the GPUs of all hosts cannot split a model; None if they can."""
    if num_hosts * num_gpus == 1:
        return None
    what = f"{num_gpus} GPUs" if num_hosts == 1 else f"the GPUs of {num_hosts} hosts"
    if hyperparameters.is_field_weighted:
        return f"interaction=field_weighted is learnt as a whole, and {what} would each have a part"
    if hyperparameters.optimizer == "rowwise_adagrad":
        return (
            f"optimizer=rowwise_adagrad looks at all factors of a feature together, and {what} "
            "would each have some of them"
        )
    if hyperparameters.loss is not None:
        return f"loss={hyperparameters.loss} compares items on one GPU, and here are {what}"
    num_factors = hyperparameters.num_factors
    if num_factors < num_hosts:
        return f"num_factors={num_factors} are too few for {what}, which need one each"
    return None


def _has_driver() -> bool:
    return any(path.exists() for path in _DRIVER)


def _why_no_gpu() -> str | None:
    """Say why no GPU can be used; None if one can."""
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
