"""Positives for tests: users who want items, with weights and side features."""

import numpy as np

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.positives import Positives
from fm_algo.training.rows import Rows

NUM_USERS, NUM_ITEMS, NUM_KINDS = 30, 40, 4
FEATURE_DIM = NUM_USERS + 1 + NUM_ITEMS + NUM_KINDS  # users, an age, items, kinds of items


def to_rows(rows, weights=None):
    """Make rows of pairs (feature, value)."""
    indptr = np.cumsum([0, *map(len, rows)])
    entries = np.array([entry for row in rows for entry in row], np.float32).reshape(-1, 2)
    features, values = entries[:, 0].astype(np.int32), entries[:, 1].copy()
    return CSRBatch(indptr, features, values, None, FEATURE_DIM, weights)


def item_rows():
    first = NUM_USERS + 1
    return to_rows(
        [
            [(first + item, 1.0), (first + NUM_ITEMS + item % NUM_KINDS, 0.5)]
            for item in range(NUM_ITEMS)
        ]
    )


def positives_of(pairs, weights=None):
    """Make positives of pairs (user, item)."""
    users, items = np.array(pairs, np.int64).T
    contexts = to_rows([[(user, 1.0), (NUM_USERS, user / 10)] for user in users.tolist()], weights)
    _, numbers = np.unique(users, return_inverse=True)
    return Positives(contexts, items.astype(np.int32), numbers.astype(np.int64), item_rows())


def draw_positives(seed, num_rows=150, *, weighed=False):
    drawn = np.random.default_rng(seed)
    users, items = drawn.integers(0, NUM_USERS, num_rows), drawn.integers(0, NUM_ITEMS, num_rows)
    weights = drawn.uniform(0.5, 2, num_rows).astype(np.float32) if weighed else None
    return positives_of(list(zip(users.tolist(), items.tolist(), strict=True)), weights)


def rows_of(positives):
    return Rows(lambda _epoch: iter(()), positives=positives)


def hyperparameters(**changes):
    # A large eps, for the reason given where kernels are compared.
    return parse_hyperparameters(
        {
            "feature_dim": FEATURE_DIM,
            "num_factors": 5,
            "predictor_type": "regressor",
            "mini_batch_size": 32,
            "epochs": 2,
            "linear_lr": 0.02,
            "factors_lr": 0.02,
            "factors_init_sigma": 0.1,
            "eps": 1e-3,
            **changes,
        }
    )
