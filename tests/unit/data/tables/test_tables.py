import dataclasses

import numpy as np
import pytest

from fm_algo.data.tables.blocks import Block
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.dictionary import UNKNOWN, Dictionary
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.hashing import hash_text
from fm_algo.data.tables.tables import Candidates, Seen, Tables, item_rows
from fm_algo.errors import UserError

CANDIDATES = {
    "candidates.V": np.zeros((3, 4), np.float32),
    "candidates.w": np.zeros(3, np.float32),
}


@pytest.fixture
def seen():
    hashes = {hash_text(user): items for user, items in ((b"u1", [0, 2]), (b"u7", [1]))}
    items = [item for hashed in sorted(hashes) for item in hashes[hashed]]
    ends = np.cumsum([len(hashes[hashed]) for hashed in sorted(hashes)])
    return Seen(
        "user",
        "item",
        np.array(sorted(hashes), np.uint64),
        np.array([0, *ends], np.int64),
        np.array(items, np.int32),
    )


def rows_of(batch):
    return [
        list(zip(row.indices.tolist(), row.values.tolist(), strict=True))
        for row in (batch.rows(number, number + 1) for number in range(batch.num_rows))
    ]


def test_the_items_of_a_user_are_found_by_name(seen):
    assert seen.items_of(b"u1").tolist() == [0, 2]
    assert seen.items_of(b"u7").tolist() == [1]
    for user in (b"", b"u2", *(b"%d" % number for number in range(50))):
        assert seen.items_of(user).tolist() == []


def test_what_is_described_and_listed_comes_back(table_encoder, seen):
    tables = Tables(table_encoder, seen)

    again = Tables.of_arrays(tables.describe(), tables.arrays() | CANDIDATES)

    assert again.describe() == tables.describe()
    assert again.arrays().keys() == tables.arrays().keys()
    for name, array in tables.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, strict=True)
    assert (again.seen.user, again.seen.item) == ("user", "item")
    assert (
        again.describe_check() == tables.describe_check() != Tables(table_encoder).describe_check()
    )
    assert again.candidates.V.shape == (3, 4)
    again.check_fits(11, 4)


def test_seen_items_without_their_columns_are_refused(table_encoder, seen):
    tables = Tables(table_encoder, seen)
    described = tables.describe() | {"seen": {"user": "user"}}

    with pytest.raises(UserError, match=r"seen items are damaged: .*`item`"):
        Tables.of_arrays(described, tables.arrays() | CANDIDATES)


def test_without_seen_items_there_are_none(table_encoder):
    tables = Tables(table_encoder)

    again = Tables.of_arrays(tables.describe(), tables.arrays() | CANDIDATES)

    assert again.seen is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"candidates.V": None}, "candidates are damaged: no 'V'"),
        ({"seen.users": None}, "seen items are damaged: no 'users'"),
        ({"seen.items": np.zeros(3, np.int64)}, "seen items are damaged"),
        ({"seen.indptr": np.zeros(2, np.int64)}, "seen items are damaged"),
        ({"seen.items": np.zeros(4, np.int32)}, "seen items are damaged"),
        ({"seen.users": np.zeros((2, 1), np.uint64)}, "seen items are damaged"),
        ({"items.indptr": None}, "encoder is damaged: 'indptr'"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(table_encoder, seen, changes, message):
    tables = Tables(table_encoder, seen)
    arrays = tables.arrays() | CANDIDATES | changes
    arrays = {name: array for name, array in arrays.items() if array is not None}

    with pytest.raises(UserError, match=message):
        Tables.of_arrays(tables.describe(), arrays)


@pytest.mark.parametrize(
    ("candidates", "sizes", "message"),
    [
        (None, (12, 4), "an encoder of 11 features beside a model of 12"),
        ((np.zeros((3, 5)), np.zeros(3)), (11, 4), r"candidates V \(3, 5\) and w \(3,\) beside 3"),
        ((np.zeros((3, 4)), np.zeros(4)), (11, 4), r"candidates V \(3, 4\) and w \(4,\) beside 3"),
    ],
)
def test_tables_of_another_model_are_refused(table_encoder, candidates, sizes, message):
    tables = Tables(table_encoder)
    if candidates is not None:
        tables = dataclasses.replace(tables, candidates=Candidates(*candidates))

    with pytest.raises(UserError, match=message):
        tables.check_fits(*sizes)


@pytest.mark.parametrize(
    ("fields", "num_fields"),
    [
        (None, 4),
        (np.array([1, 2], np.int32), None),
        (np.array([1, 4], np.int32), 4),
        (np.array([-1, 2], np.int32), 4),
        (np.array([1, 2], np.int64), 4),
        (np.array([[1, 2]], np.int32), 4),
    ],
)
def test_candidates_of_other_fields_are_refused(table_encoder, fields, num_fields):
    candidates = Candidates(np.zeros((3, 8), np.float32), np.zeros(3, np.float32), fields)
    tables = Tables(table_encoder, candidates=candidates)

    with pytest.raises(UserError, match="their fields are not the model's"):
        tables.check_fits(11, 4, num_fields)


def test_candidates_of_a_models_fields_have_a_vector_for_each(table_encoder):
    fields = np.array([1, 3], np.int32)
    candidates = Candidates(np.zeros((3, 8), np.float32), np.zeros(3, np.float32), fields)

    Tables(table_encoder, candidates=candidates).check_fits(11, 4, 4)
    with pytest.raises(UserError, match=r"candidates V \(3, 8\) .+ and num_factors 3"):
        Tables(table_encoder, candidates=candidates).check_fits(11, 3, 4)


def test_a_row_of_the_items_table_is_its_item_and_its_side_columns(table_encoder):
    batch = item_rows(table_encoder)

    assert rows_of(batch) == [
        [(4, 1.0), (7, 0.5), (8, 0.5), (10, -1.5)],
        [(3, 1.0), (10, 2.0)],
        [(6, 1.0), (9, 1.0)],
    ]
    assert batch.feature_dim == 11


def test_an_item_column_that_is_hashed_counts_by_hash(table_encoder):
    column = parse_columns({"item": {"hash": 3}})["item"]
    items = dataclasses.replace(table_encoder.sides[0], indptr=np.zeros(5, np.int64))

    batch = item_rows(TableEncoder((column,), (Block(column=column, first=0),), {}, (items,)))

    assert rows_of(batch) == [[(hash_text(key) & 7, 1.0)] for key in (b"i2", b"i1", b"i9")]


def test_an_item_column_without_features_is_only_the_key(table_encoder):
    blocks = tuple(block for block in table_encoder.blocks if block.name != "item")
    encoder = dataclasses.replace(table_encoder, blocks=blocks)

    assert rows_of(item_rows(encoder))[1] == [(10, 2.0)]


def test_without_an_items_table_there_are_no_rows(table_encoder):
    assert item_rows(dataclasses.replace(table_encoder, sides=())) is None


def test_the_values_of_one_dictionary_are_found_in_another():
    random = np.random.default_rng(1)
    values = [b"%d" % number for number in random.permutation(3000)] + [b""]
    one, other = Dictionary.of([*values[:2000], b""]), Dictionary.of(values[1000:])

    numbers = one.numbers_in(other).tolist()

    assert numbers == [other.find(value) for value in one.values()]
    assert numbers.count(UNKNOWN) == 1000
    assert one.numbers_in(Dictionary.of([])).tolist() == [UNKNOWN] * 2001
    assert Dictionary.of([]).numbers_in(one).tolist() == []


def test_texts_with_the_same_hash_are_told_apart():
    def collide(values):
        offsets = np.arange(len(values) + 1, dtype=np.int64) * 2
        return Dictionary.of_hashed(
            np.full(len(values), hash_text(b"aa"), np.uint64),
            offsets,
            np.frombuffer(b"".join(values), np.uint8),
        )

    one, other = collide([b"bb", b"aa"]), collide([b"cc", b"aa"])

    assert one.numbers_in(other).tolist() == [UNKNOWN, 1]
