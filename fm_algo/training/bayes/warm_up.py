"""Compile what a chain runs: sweep a few rows, with values and without, of both predictor types."""

import itertools

import numpy as np

from fm_algo.loss import LOSSES
from fm_algo.sparse import CSRBatch
from fm_algo.training.bayes.chain import Chain

_NUM_ROWS, _NUM_FEATURES = 40, 8


def main() -> None:
    """Run each compiled function once."""
    random = np.random.default_rng(0)
    indices = np.stack([np.arange(_NUM_ROWS) % 4, 4 + np.arange(_NUM_ROWS) % 3], axis=1)
    indptr = np.arange(0, 2 * _NUM_ROWS + 1, 2, dtype=np.int64)
    labels = random.integers(0, 2, _NUM_ROWS).astype(np.float32)
    for value, (predictor_type, draws) in itertools.product(
        (1, 2), itertools.product(LOSSES, (True, False))
    ):
        values = np.full(2 * _NUM_ROWS, value, np.float32)
        flat = indices.reshape(-1).astype(np.int32)
        rows = CSRBatch(indptr, flat, values, labels, _NUM_FEATURES)
        chain = Chain(rows, predictor_type, 2, seed=0, draws=draws)
        for _ in range(20):
            chain.sweep()
        chain.model()
