"""Choose how the hosts of a job split its model."""

from collections.abc import Callable

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.runtime.simd import WIDTH
from fm_algo.training.distributed.factor_kernel import FactorKernel
from fm_algo.training.distributed.group import HostGroup
from fm_algo.training.distributed.host_kernel import HostKernel
from fm_algo.training.distributed.row_kernel import RowKernel


def is_split_by_factor(hyperparameters: Hyperparameters, num_hosts: int) -> bool:
    """Tell whether hosts split the factors, not the features.

    They do if each host gets at least one vector of factors, unless the optimiser looks at all
    factors of a feature together.
    """
    is_coordinatewise = hyperparameters.optimizer != "rowwise_adagrad"
    return is_coordinatewise and hyperparameters.num_factors >= WIDTH * num_hosts


def make_kernel(
    hyperparameters: Hyperparameters,
    group: HostGroup,
    should_stop: Callable[[], bool],
    num_gpus: int = 0,
    device: str = "cuda",
) -> HostKernel:
    """Make the kernel of this host, or of one of its GPUs, with all numbers 0.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The job's.
    group : HostGroup
    should_stop : callable
        Whether this host is to stop.
    num_gpus : int, optional
        GPUs per host, with one process per GPU; 0 if the CPU trains.
    device : str, optional
        See `GPUKernel`.
    """
    if num_gpus:
        # Imported here, because Triton is not installed everywhere.
        from fm_algo.training.distributed.gpu_factor_kernel import GPUFactorKernel  # noqa: PLC0415

        return GPUFactorKernel(hyperparameters, group, should_stop, num_gpus, device)
    kind = FactorKernel if is_split_by_factor(hyperparameters, group.size) else RowKernel
    return kind(hyperparameters, group, should_stop)
