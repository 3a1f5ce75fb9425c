"""How the hosts of a job split its model."""

from collections.abc import Callable

from fm_algo.distributed.factor_kernel import FactorKernel
from fm_algo.distributed.group import HostGroup
from fm_algo.distributed.host_kernel import HostKernel
from fm_algo.distributed.row_kernel import RowKernel
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels.parameters import WIDTH


def is_split_by_factor(hyperparameters: Hyperparameters, num_hosts: int) -> bool:
    """Tell whether hosts split the factors, not the features.

    They do where each gets a vector of them, unless the optimiser looks at all factors of a feature
    together.
    """
    is_coordinatewise = hyperparameters.optimizer != "rowwise_adagrad"
    return is_coordinatewise and hyperparameters.num_factors >= WIDTH * num_hosts


def make_kernel(
    hyperparameters: Hyperparameters, group: HostGroup, should_stop: Callable[[], bool]
) -> HostKernel:
    """Make this host's kernel, numbers 0.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The job's.
    group : HostGroup
    should_stop : callable
        Whether this host is to stop.
    """
    kind = FactorKernel if is_split_by_factor(hyperparameters, group.size) else RowKernel
    return kind(hyperparameters, group, should_stop)
