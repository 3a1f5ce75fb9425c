"""Positives are gathered from rows of tables, block by block."""

import numpy as np
import pytest

from fm_algo.data.tables.hashing import hash_text
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch
from fm_algo.training.positives import PositiveCollector

ITEMS = ["i2", "i1", "i9"]  # in the order of the items table
ROWS = [
    ("u2", "i1", 5, 1),
    ("u1", "i2", 0, 1),  # not wanted
    ("u1", "i9", 1, 2),
    ("u3", "i7", 1, 1),  # no row of the items table
    ("u2", "i9", 0.5, 1),
    ("u1", "i1", -1, 1),
    ("u1", "i1", 1, 0),  # of no weight
    (None, "i2", 1, 1),
    (None, "i1", 1, 1),
    ("u2", "i1", 1, 1),  # once more
]


def collect(encoder, rows, *, block=4, labelled=True, weighed=True):
    collector = PositiveCollector(encoder)
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        batch = RowEncoder(encoder).encode([{"user": u, "item": i} for u, i, *_ in some]).batch
        labels = np.array([label for _, _, label, _ in some], np.float32) if labelled else None
        weights = np.array([weight for *_, weight in some], np.float32) if weighed else None
        users = np.array([hash_text((user or "").encode()) for user, *_ in some], np.uint64)
        items = np.array([ITEMS.index(i) if i in ITEMS else len(ITEMS) for _, i, *_ in some])
        collector.add(
            users,
            items,
            CSRBatch(batch.indptr, batch.indices, batch.values, labels, batch.feature_dim, weights),
        )
    return collector


@pytest.mark.parametrize("block", [1, 4, 100])
def test_what_users_want_is_kept(table_encoder, block):
    collector = collect(table_encoder, ROWS, block=block)
    positives = collector.finish()

    kept = [0, 2, 4, 7, 8, 9]
    assert collector.num_unknown == 1
    assert positives.num_rows == len(kept)
    assert [ITEMS[item] for item in positives.items] == [ROWS[n][1] for n in kept]
    assert positives.contexts.weights.tolist() == [ROWS[n][3] for n in kept]
    # Rows of one user have one number; a missing user is another one in each row.
    names = [ROWS[n][0] or n for n in kept]
    same = [[one == other for one in names] for other in names]
    assert (positives.users[:, np.newaxis] == positives.users).tolist() == same
    assert sorted(set(positives.users.tolist())) == list(range(4))


def test_contexts_and_items_make_the_rows(table_encoder):
    positives = collect(table_encoder, ROWS).finish()
    whole = RowEncoder(table_encoder).encode([{"user": "u1", "item": "i9"}]).batch
    context, item = positives.contexts.rows(1, 2), positives.item_rows.rows(2, 3)
    both = np.concatenate([context.indices, item.indices])
    assert sorted(both.tolist()) == sorted(whole.indices.tolist())
    assert len(context.indices) == 1


def test_without_labels_all_rows_are_wanted(table_encoder):
    positives = collect(table_encoder, ROWS, labelled=False, weighed=False).finish()
    assert positives.num_rows == 9
    assert positives.contexts.weights is None


def test_nothing_to_learn_from_is_told(table_encoder):
    with pytest.raises(UserError, match=r"^no row to learn from, expected .* items table$"):
        collect(table_encoder, ROWS[1:2]).finish()
    with pytest.raises(UserError, match=r"1 of them with an item that the items table lacks$"):
        collect(table_encoder, ROWS[3:4]).finish()


def test_without_a_table_of_items_there_is_nothing_to_rank(table_encoder):
    alone = type(table_encoder)(
        table_encoder.columns, table_encoder.blocks[:2], table_encoder.dictionaries
    )
    with pytest.raises(UserError, match="items channel"):
        PositiveCollector(alone)
