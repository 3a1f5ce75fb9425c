import pyarrow as pa

from fm_algo.data.tables.arrow.fitting import Side, fit_encoder
from fm_algo.data.tables.arrow.reading import read_frame
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.moves import find_moves

COLUMNS = {
    "user": {"kind": "category", "min_count": 1},
    "age": {"bins": 3},
    "price": "number",
    "url": {"hash": 2},
    "item": {"kind": "category", "min_count": 1},
    "genres": {"set": "|", "min_count": 1},
}
EARLIER = {
    "user": ["u1", "u2", None, "u1"],
    "age": [1.0, 2.0, 3.0, 4.0],
    "price": [1.0, 2.0, 3.0, None],
    "url": ["a", "b", "c", "d"],
    "item": ["i1", "i2", "i1", "i1"],
}
LATER = {name: [*cells, *cells] for name, cells in EARLIER.items()} | {
    "user": ["u3", "u3", "u3", "u2", "u4", "u4", None, "u5"],
    "item": ["i3", "i3", "i1", "i2", "i2", "i3", "i3", "i3"],
}
ITEMS = {"item": ["i1", "i2"], "genres": ["War", "Drama|War"]}
LATER_ITEMS = {"item": ["i1", "i2", "i3"], "genres": ["New", "New|Drama", "New"]}


def fit(rows, items, earlier=None, columns=COLUMNS):
    frame = read_frame(pa.table({name: rows[name] for name in columns if name in rows}))
    sides = [Side("items", pa.table(items))] if items else []
    return fit_encoder(parse_columns(columns), frame, sides=sides, earlier=earlier)


def names(encoder, first, stop):
    return [encoder.feature_name(feature) for feature in range(first, stop)]


def test_each_feature_goes_where_the_same_value_of_the_same_column_is():
    earlier = fit(EARLIER, ITEMS)
    later = fit(LATER, LATER_ITEMS, earlier)

    moves = find_moves(earlier, later)

    moved = []
    for first, stop, to in moves:
        assert names(earlier, first, stop) == names(later, to, to + stop - first)
        moved += range(first, stop)
    assert sorted(moved) == list(range(earlier.feature_dim))
    assert later.feature_dim == earlier.feature_dim + 3 + 1 + 1  # u3 to u5, i3 and New


def test_a_column_that_only_one_of_them_has_does_not_move():
    earlier = fit(EARLIER, ITEMS)
    columns = {name: COLUMNS[name] for name in ("item", "price")} | {"new": {"hash": 1}}
    later = fit(LATER | {"new": ["x"] * 8}, None, earlier, columns)

    moved = [names(later, to, to + stop - first) for first, stop, to in find_moves(earlier, later)]

    assert moved == [["item=i1", "item=i2"], ["item=(rare)"], ["price"]]


def test_without_values_only_the_rare_one_moves():
    nothing = {"user": [None, None, None, None]}
    bare = fit(EARLIER | nothing, ITEMS)
    assert len(bare.dictionaries["user"]) == 0

    moves = [move for move in find_moves(bare, fit(LATER, LATER_ITEMS, bare)) if move.first < 2]

    assert [move.stop - move.first for move in moves] == [1, 1]  # rare, missing
