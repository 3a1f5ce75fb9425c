"""The metrics of a model's rankings, against scoring every user with every item in plain loops."""

import numpy as np
import pyarrow as pa
import pytest

from fm_algo.data.tables.arrow.seen import SeenPairs
from fm_algo.data.tables.hashing import hash_text
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.ranking.metrics import ranking_metrics
from fm_algo.training.ranking.queries import QueryCollector, evaluate_ranking, most_users

ITEMS = ["i2", "i1", "i9"]  # in the order of the items table
ROWS = [
    ("u1", "i1", 5),
    ("u1", "i2", 1),
    ("u2", "i9", 4),
    ("u2", "i1", 4),
    ("u2", "i1", 5),
    ("new", "i2", 5),
    ("u3", "i7", 5),  # no row of the items table
    (None, "i1", 5),
    ("u4", "i1", 3),
    ("u5", "i9", 5),  # has it in the training rows
    ("u6", "i9", 5),
]
SEEN = [("u5", "i9"), ("u2", "i9"), ("u1", "i2"), ("u8", "i1")]


def hashes(users):
    return np.array([hash_text((user or "").encode()) for user in users], np.uint64)


def numbers(items):
    return np.array([ITEMS.index(item) if item in ITEMS else len(ITEMS) for item in items])


@pytest.fixture
def model(table_encoder):
    rng = np.random.default_rng(8)
    n = table_encoder.feature_dim
    parameters = (rng.normal(size=shape).astype(np.float32) for shape in ((1,), (n,), (n, 3)))
    return FMModel("regressor", *parameters)


@pytest.fixture
def seen(table_encoder):
    pairs = SeenPairs("user", "item")
    users, items = zip(*SEEN, strict=True)
    pairs.add(pa.record_batch({"user": users, "item": items}))
    return pairs.finish(table_encoder)


@pytest.fixture
def nothing_seen(table_encoder):
    return SeenPairs("user", "item").finish(table_encoder)


def labelled(encoder, rows):
    batch = RowEncoder(encoder).encode([{"user": u, "item": i} for u, i, _ in rows]).batch
    labels = np.array([label for *_, label in rows], np.float32)
    return CSRBatch(batch.indptr, batch.indices, batch.values, labels, batch.feature_dim)


def collect(encoder, rows, seen, most=100, block=4):
    collector = QueryCollector(encoder, most, 3.5, seen)
    for start in range(0, len(rows), block):
        some = rows[start : start + block]
        users = hashes(user for user, _, _ in some)
        collector.add(users, numbers(item for _, item, _ in some), labelled(encoder, some))
    return collector


def slow(model, encoder, rows, seen):
    answers = []
    for user in dict.fromkeys(user for user, *_ in rows if user):
        out = {item for name, item in seen if name == user}
        liked = {i for u, i, label in rows if u == user and label >= 3.5 and i in ITEMS} - out
        if not liked:
            continue
        pairs = [{"user": user, "item": item} for item in ITEMS]
        margins = model.margin(RowEncoder(encoder).encode(pairs).batch)
        best = [i for i in np.argsort(-margins).tolist() if ITEMS[i] not in out]
        answers.append((np.array(best), np.array([ITEMS.index(item) for item in liked])))
    assert len(answers) == 4
    return ranking_metrics(answers)


@pytest.mark.parametrize("block", [1, 4, 100])
def test_every_user_is_asked_for_the_best_of_all_items(model, table_encoder, seen, block):
    queries = collect(table_encoder, ROWS, seen, block=block).finish()

    found = evaluate_ranking(model, queries)

    expected = slow(model, table_encoder, ROWS, SEEN)
    assert not queries.is_sample
    assert [metric.name for metric in found] == [metric.name for metric in expected]
    np.testing.assert_allclose(
        [metric.value for metric in found], [metric.value for metric in expected]
    )


def test_a_sample_of_many_users_depends_on_their_names_alone(table_encoder, nothing_seen):
    rows = [(f"u{number}", ITEMS[number % 3], 5) for number in range(200)]

    queries = [
        collect(table_encoder, some, nothing_seen, most=20, block=block).finish()
        for some, block in ((rows, 7), (rows[::-1], 60))
    ]

    lowest = sorted(range(200), key=lambda number: hash_text(f"u{number}".encode()))[:20]
    for each in queries:
        assert each.is_sample
        assert [items.tolist() for items in each.relevant] == [[number % 3] for number in lowest]
        assert each.contexts.num_rows == 20


def test_a_context_has_no_feature_of_an_item(table_encoder, nothing_seen):
    queries = collect(table_encoder, ROWS, nothing_seen).finish()
    assert queries.contexts.indices.max() < 3


def test_without_relevant_rows_there_are_no_metrics(model, table_encoder, seen):
    for rows in (ROWS[8:10], []):
        assert evaluate_ranking(model, collect(table_encoder, rows, seen).finish()) == []


def test_without_a_table_of_items_there_is_nothing_to_rank(table_encoder, seen):
    alone = type(table_encoder)(
        table_encoder.columns, table_encoder.blocks[:2], table_encoder.dictionaries
    )
    with pytest.raises(UserError, match="items channel"):
        QueryCollector(alone, 10, 1, seen)


def test_the_more_items_the_fewer_users_are_asked():
    assert most_users(1_000, 16) == 10_000
    assert most_users(1_000_000, 64) == 232
    assert most_users(2**31, 256) == 100
