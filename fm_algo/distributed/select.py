"""How the hosts of a job split its model."""

from collections.abc import Callable

from fm_algo.distributed.factor_kernel import FactorKernel
from fm_algo.distributed.group import HostGroup
from fm_algo.distributed.host_kernel import HostKernel
from fm_algo.distributed.row_kernel import RowKernel
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels.parameters import WIDTH


def make_kernel(
    hyperparameters: Hyperparameters, group: HostGroup, should_stop: Callable[[], bool]
) -> HostKernel:
    """Make this host's kernel, numbers 0: by factors where each host gets a vector of them.

    Parameters
    ----------
    hyperparameters : Hyperparameters
        The job's; row-wise Adagrad looks at all factors of a feature and is split by features.
    group : HostGroup
    should_stop : callable
        Whether this host is to stop.
    """
    is_by_factor = (
        hyperparameters.num_factors >= WIDTH * group.size
        and hyperparameters.optimizer != "rowwise_adagrad"
    )
    kind = FactorKernel if is_by_factor else RowKernel
    return kind(hyperparameters, group, should_stop)
