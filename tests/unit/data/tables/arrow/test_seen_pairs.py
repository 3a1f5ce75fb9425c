import collections

import numpy as np
import pyarrow as pa
import pytest

from fm_algo.data.tables.arrow import seen as module
from fm_algo.data.tables.arrow.fitting import Side, fit_encoder
from fm_algo.data.tables.arrow.reading import read_frame
from fm_algo.data.tables.arrow.seen import SeenPairs
from fm_algo.data.tables.columns import parse_columns

COLUMNS = parse_columns({"user": "category", "item": {"kind": "category", "min_count": 3}})


def draw(num_rows=3000):
    random = np.random.default_rng(2)
    users = [f"u{number}" if number else None for number in random.integers(0, 40, num_rows)]
    items = [f"i{number}" if number else "" for number in random.integers(0, 900, num_rows)]
    return pa.table({"user": users, "item": items})


def collect(table, encoder):
    pairs = SeenPairs("user", "item")
    for batch in table.to_batches(max_chunksize=250):
        pairs.add(batch)
    return pairs.finish(encoder)


def expected(table, number_of):
    found = collections.defaultdict(set)
    for user, item in zip(*table.to_pydict().values(), strict=True):
        if user and item and number_of(item) is not None:
            found[user].add(number_of(item))
    return {user: sorted(items) for user, items in found.items()}


@pytest.mark.parametrize("rows_at_once", [1, 700, 1 << 22])
def test_each_user_has_the_known_items_of_its_rows_once(monkeypatch, rows_at_once):
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", rows_at_once)
    table = draw()
    encoder = fit_encoder(COLUMNS, read_frame(table))
    numbers = {value.decode(): n for n, value in enumerate(encoder.dictionaries["item"].values())}

    seen = collect(table, encoder)

    wanted = expected(table, numbers.get)
    assert len(numbers) < 800  # some are rare, and rare ones are no candidates
    assert {user: seen.items_of(user.encode()).tolist() for user in wanted} == wanted
    assert len(seen.users) == len(wanted)
    assert (np.diff(seen.users.astype(object)) > 0).all()
    assert (seen.user, seen.item) == ("user", "item")
    assert [array.dtype for array in seen.arrays().values()] == ["uint64", "int64", "int32"]


def test_items_of_a_table_are_its_rows():
    table = draw()
    names = [f"i{number}" for number in range(899, 0, -3)]
    sides = [Side("items", pa.table({"item": names}))]
    encoder = fit_encoder(COLUMNS, read_frame(table), sides=sides)

    seen = collect(table, encoder)

    wanted = expected(table, {name: row for row, name in enumerate(names)}.get)
    assert {user: seen.items_of(user.encode()).tolist() for user in wanted} == wanted


def test_without_known_items_there_are_no_pairs():
    table = pa.table({"user": ["u1", "u2"], "item": ["i1", "i2"]})

    seen = collect(table, fit_encoder(COLUMNS, read_frame(table)))

    assert (len(seen.users), seen.indptr.tolist(), len(seen.items)) == (0, [0], 0)
