"""Pairs of users and items gathered from rows, against a dictionary of sets."""

import numpy as np
import pytest

from fm_algo.data.tables import seen
from fm_algo.data.tables.hashing import hash_text
from fm_algo.data.tables.seen import SeenCollector

NAMES = [b"", b"u1", b"u2", b"\xc3\xa4", b"u" * 300]


@pytest.mark.parametrize("pairs_at_once", [1, 50, 1 << 22])
def test_each_user_has_the_items_of_its_rows_once(pairs_at_once, monkeypatch):
    monkeypatch.setattr(seen, "_PAIRS_AT_ONCE", pairs_at_once)
    rng = np.random.default_rng(4)
    hashes = np.array([hash_text(name) for name in NAMES], np.uint64)
    collector = SeenCollector("user", "item", 9)
    expected = {name: set() for name in NAMES}
    for size in (0, 1, 30, 200, 7):
        users, items = rng.integers(0, len(NAMES), size), rng.integers(-2, 12, size)
        collector.add(hashes[users], items)
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            if 0 <= item < 9 and NAMES[user]:  # no user, or no item of the table
                expected[NAMES[user]].add(item)

    found = collector.finish()

    assert (found.user, found.item) == ("user", "item")
    assert [array.dtype.name for array in found.arrays().values()] == ["uint64", "int64", "int32"]
    assert {name: found.items_of(name).tolist() for name in NAMES} == {
        name: sorted(items) for name, items in expected.items()
    }
    assert found.items_of(b"u9").tolist() == []
    assert np.all(np.diff(found.users) > 0)


def test_no_pairs_are_no_users():
    found = SeenCollector("user", "item", 9).finish()
    assert found.users.tolist() == found.items.tolist() == []
    assert found.indptr.tolist() == [0]
