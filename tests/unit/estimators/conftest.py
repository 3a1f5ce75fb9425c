import numpy as np
import pytest
import scipy.sparse

NUM_USERS, NUM_ITEMS = 40, 30


class Ratings:
    """One-hot users and items, with labels from planted factors and noise of 0.1."""

    def __init__(self, num_rows: int = 2000, seed: int = 3) -> None:
        random = np.random.default_rng(seed)
        users = random.integers(0, NUM_USERS, num_rows)
        items = random.integers(0, NUM_ITEMS, num_rows)
        of_users, of_items = random.normal(size=(NUM_USERS, 2)), random.normal(size=(NUM_ITEMS, 2))
        margin = 3 + (of_users[users] * of_items[items]).sum(axis=1)
        columns = np.stack([users, NUM_USERS + items], axis=1).ravel().astype(np.int32)
        starts = np.arange(0, 2 * num_rows + 1, 2, dtype=np.int32)
        shape = (num_rows, NUM_USERS + NUM_ITEMS)
        ones = np.ones(2 * num_rows, np.float32)
        self.X = scipy.sparse.csr_array((ones, columns, starts), shape=shape)
        self.y = (margin + random.normal(0, 0.1, num_rows)).astype(np.float32)
        self.liked = np.where(self.y > 3, "yes", "no")


@pytest.fixture(scope="session")
def ratings() -> Ratings:
    return Ratings()
