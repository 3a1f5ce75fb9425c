"""Compile the CPU kernel and the decoders into their cache, once an installation."""

import numpy as np

from fm_algo.bulk import warm_up as bulk
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.initialization import initial_model
from fm_algo.kernels.cpu import CPUKernel
from fm_algo.sparse import CSRBatch


def main() -> None:
    """Run each compiled function once."""
    hyperparameters = parse_hyperparameters(
        {"feature_dim": 2, "num_factors": 1, "predictor_type": "regressor"}
    )
    rows = CSRBatch(
        np.array([0, 1], np.int64),
        np.array([1], np.int32),
        np.ones(1, np.float32),
        np.ones(1, np.float32),
        2,
    )
    CPUKernel(initial_model(hyperparameters), hyperparameters).step(rows)
    bulk.main()


if __name__ == "__main__":
    main()
