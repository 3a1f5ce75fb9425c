import numpy as np
import pytest

from fm_algo.data.tables import row_encoder
from fm_algo.data.tables.blocks import Block, number_blocks
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.dictionary import Dictionary
from fm_algo.data.tables.encoder import SideTable, TableEncoder
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.errors import UserError


def entries_of(encoded):
    batch = encoded.batch
    return [
        dict(zip(row.indices.tolist(), row.values.tolist(), strict=True))
        for row in (batch.rows(number, number + 1) for number in range(batch.num_rows))
    ]


def test_rows_are_features_and_the_side_tables_features(table_encoder):
    rows = [{"user": "u2", "item": "i2"}, {"item": "i9", "user": None}, {}]

    encoded = RowEncoder(table_encoder).encode(rows)

    assert entries_of(encoded) == [
        {1: 1, 4: 1, 7: 0.5, 8: 0.5, 10: -1.5},
        {2: 1, 6: 1, 9: 1},
        {2: 1, 6: 1},
    ]
    assert encoded.unknown == {1: ["item"]}
    assert encoded.batch.feature_dim == 11


def test_cells_that_are_equal_in_python_are_not_one_word():
    columns = parse_columns({"id": {"kind": "category", "min_count": 1}})
    block = Block(column=columns["id"], first=0, num_values=2)
    dictionary = Dictionary.of([b"1", b"true"])
    encoder = TableEncoder((columns["id"],), (block,), {"id": dictionary})
    rows = [{"id": cell} for cell in (1, True, 1.0, "1", "true", False, 0)]

    for _ in range(2):  # the second time, from memory
        encoded = RowEncoder(encoder).encode(rows)
        assert encoded.batch.indices.tolist() == [0, 1, 0, 0, 1, 2, 2]
        assert encoded.unknown == {5: ["id"], 6: ["id"]}


@pytest.mark.parametrize("missing", [None, "", float("nan")])
def test_a_missing_side_column_is_the_side_tables(table_encoder, missing):
    row = {"item": "i2", "price": missing, "genres": "War"}

    encoded = RowEncoder(table_encoder).encode([row])

    assert entries_of(encoded) == [{2: 1, 4: 1, 8: 1, 10: -1.5}]


def test_a_key_that_is_no_feature_is_unknown_if_the_side_table_has_it_not(table_encoder):
    blocks = [block for block in table_encoder.blocks if block.name in {"user", "price"}]
    side = SideTable(
        "items",
        "item",
        Dictionary.of([b"i1"]),
        np.array([0, 1, 1]),
        np.array([3], np.int32),
        np.ones(1, np.float32),
    )
    encoder = TableEncoder(
        table_encoder.columns, number_blocks(blocks), table_encoder.dictionaries, (side,)
    )

    encoded = RowEncoder(encoder).encode([{"item": "i1"}, {"item": "i7"}, {}])

    assert entries_of(encoded) == [{2: 1, 3: 1}, {2: 1}, {2: 1}]
    assert encoded.unknown == {1: ["item"]}


def test_what_is_remembered_has_a_bound(table_encoder, monkeypatch):
    monkeypatch.setattr(row_encoder, "_CACHED_CELLS", 10)
    rows = RowEncoder(table_encoder)
    words = [f"word {number}" for number in range(100)] + ["x" * 10_000, "u1"]

    encoded = rows.encode([{"user": word, "item": word, "price": 3} for word in words * 2])

    assert encoded.batch.indices.tolist() == [2, 6, 10] * 101 + [0, 6, 10] + [2, 6, 10] * 101 + [
        0,
        6,
        10,
    ]
    remembered = [cache for _, _, cache in rows._of_rows] + [rows._of_sides[0][1]]
    assert all(0 < len(cache) <= 2 for cache in remembered)
    assert all(len(key or "") <= 256 for cache in remembered for key in cache)


def test_an_unknown_column_is_told_with_those_that_are_known(table_encoder):
    with pytest.raises(UserError) as caught:
        RowEncoder(table_encoder).encode([{"user": "u1"}, {"itme": "i1"}])

    assert caught.value.message == (
        "itme is no column of the model; allowed: genres, item, price, rating, user"
    )


def test_very_many_columns_are_not_all_told():
    names = [f"column {number}" for number in range(10_000)]
    columns = parse_columns(dict.fromkeys(names, "number"))
    blocks = number_blocks([Block(column=column, first=0) for column in columns.values()])
    rows = RowEncoder(TableEncoder(tuple(columns.values()), blocks, {}))

    assert rows.encode([dict.fromkeys(names, 2)]).batch.num_entries == 10_000
    assert rows.width == 10_000
    with pytest.raises(UserError, match="and 9960 more") as caught:
        rows.encode([{"x" * 1_000_000: 1}])
    assert len(caught.value.message) < 1000


def test_needed_are_the_columns_that_the_side_tables_do_not_have(table_encoder):
    assert table_encoder.needed == ["user", "item"]
