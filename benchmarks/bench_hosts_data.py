"""The rows of `bench_hosts`: like those of `bench_train`, 39 fields over 1,000,000 features."""

import numpy as np
from bench_train import make_rows
from peers import NUM_FIELDS

from fm_algo.sparse import CSRBatch

FEATURE_DIM = 1_000_000
_ZIPF = 1.2


def draw_rows(data: str, num_rows: int, seed: int = 1) -> CSRBatch:
    """Draw rows, "uniform" or "skewed" by Zipf's law in each field, as in click logs."""
    rows = make_rows(num_rows, FEATURE_DIM, seed)
    if data == "uniform":
        return rows
    width = FEATURE_DIM // NUM_FIELDS
    random = np.random.default_rng(seed)
    rank = np.minimum(random.zipf(_ZIPF, rows.num_entries) - 1, width - 1)
    fields = np.tile(np.arange(NUM_FIELDS) * width, rows.num_rows)
    indices = (fields + rank).astype(np.int32)
    return CSRBatch(rows.indptr, indices, rows.values, rows.labels, FEATURE_DIM)
