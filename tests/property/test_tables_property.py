"""A row is the same row of features from every source, in training and in serving."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.formats.number import parse_number
from fm_algo.data.tables.arrow.columns import to_numbers
from fm_algo.data.tables.arrow.encoding import ArrowEncoder, encode_table
from fm_algo.data.tables.arrow.fitting import Side, fit_encoder
from fm_algo.data.tables.arrow.reading import open_table, read_frame
from fm_algo.data.tables.arrow.texts import Texts, find, hash_all
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.dictionary import Dictionary
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.named_model import Names
from fm_algo.data.tables.requests.factory import make_named_decoder
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.model import FMModel

COLUMNS = parse_columns(
    {
        "user": {"kind": "category", "min_count": 2},
        "item": "category",
        "tags": {"set": "|", "min_count": 1},
        "words": {"kind": "set", "separator": "::", "scale": "one", "min_count": 1},
        "age": {"bins": 3},
        "price": "number",
        "url": {"hash": 3},
        "tokens": {"kind": "hash", "bits": 3, "separator": " "},
        "label": "label",
        "note": "ignore",
        "kind": {"kind": "category", "min_count": 1},
        "year": "number",
        "genres": {"set": ","},
    }
)
CSV, PARQUET, JSONLINES = (
    parse_content_type(text)
    for text in ("text/csv;header=present", "application/x-parquet", "application/jsonlines")
)

words = (
    st.none()
    | st.sampled_from(["u1", " u1", "u2\t", "ü", "日本", "a b", "7", "7.0", " "])
    | st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=4)
)
ids = st.none() | st.integers(-3, 3) | st.integers(-(2**62), 2**62)
numbers = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(0, 9)
floats = st.none() | st.floats(-1e30, 1e30, allow_nan=False) | st.sampled_from([1.0, 0.1, -0.0])


def joined(separator):
    members = st.sampled_from(["a", "b", " b", "c ", "d e", "é", "", " "])
    return st.none() | st.lists(members, max_size=4).map(separator.join)


rows = st.fixed_dictionaries(
    {
        "user": words,
        "item": st.sampled_from([None, "i1", "i2", "i3"]),
        "tags": joined("|"),
        "words": joined("::"),
        "age": numbers,
        "price": floats,
        "url": words,
        "tokens": joined(" "),
        "label": st.integers(0, 1),
        "note": words,
    }
)
ITEMS = pa.table(
    {"item": ["i1", "i2"], "kind": ["x", None], "year": [1990, None], "genres": ["A,B", ""]}
)


def to_table(some_rows):
    texts = ("user", "item", "tags", "words", "url", "tokens", "note")
    types = [(name, pa.string()) for name in texts] + [
        ("age", pa.float64()),
        ("price", pa.float64()),
    ]
    schema = pa.schema([*types, ("label", pa.int64())])
    return pa.Table.from_pylist(some_rows, schema).cast(schema).select(list(some_rows[0]))


def to_csv(some_rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(some_rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(some_rows)
    return text.getvalue().encode()


def to_parquet(table):
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target)
    return target.getvalue()


def to_json_lines(some_rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in some_rows)


def encode(reader, encoder, num_threads=1):
    batches = list(encode_table(reader, ArrowEncoder(encoder, num_threads), labelled=True))
    return type(batches[0]).join(batches)


def request(body, content_type, encoder):
    """Return the rows of a request by name."""
    zeros = np.zeros((encoder.feature_dim, 1), np.float32)
    model = FMModel("regressor", zeros[0], zeros[:, 0], zeros)
    decoder = make_named_decoder(content_type, Names(model, Tables(encoder)))
    batches = [rows.batch for rows in (*decoder.feed(body), *decoder.close())]
    return type(batches[0]).join(batches)


def assert_same(one, other, *, labelled=True):
    for name in ("indptr", "indices", "values") + (("labels",) if labelled else ()):
        expected, found = getattr(one, name), getattr(other, name)
        assert expected.dtype == found.dtype
        np.testing.assert_array_equal(expected, found)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=8), st.lists(rows, min_size=1, max_size=4))
def test_all_sources_and_the_server_make_the_same_rows(training, serving):
    sides = [Side("items", ITEMS)]
    encoder = fit_encoder(COLUMNS, read_frame(to_table(training)), sides=sides, num_threads=2)
    again = fit_encoder(COLUMNS, open_table(io.BytesIO(to_csv(training)), CSV), sides=sides)
    assert again.describe() == encoder.describe()
    assert [name.tobytes() for name in again.arrays().values()] == [
        array.tobytes() for array in encoder.arrays().values()
    ]
    encoder = TableEncoder.of_arrays(encoder.describe(), encoder.arrays())
    for some_rows in (training, serving):
        table = to_table(some_rows)
        expected = encode(read_frame(table), encoder)
        sources = [
            (to_csv(some_rows), CSV),
            (to_parquet(table), PARQUET),
            (to_json_lines(some_rows), JSONLINES),
        ]
        for text, content_type in sources:
            found = encode(open_table(io.BytesIO(text), content_type), encoder, num_threads=2)
            assert_same(expected, found)
            assert_same(expected, request(text, content_type, encoder), labelled=False)
        served = RowEncoder(encoder).encode(some_rows)
        assert_same(expected, served.batch, labelled=False)
        texts = [
            {name: "" if cell is None else str(cell) for name, cell in row.items()}
            for row in some_rows
        ]
        assert_same(expected, RowEncoder(encoder).encode(texts).batch, labelled=False)
        for row in range(len(some_rows)):
            entries = expected.indices[expected.indptr[row] : expected.indptr[row + 1]]
            assert (np.diff(entries) > 0).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ids, floats), min_size=1, max_size=6))
def test_a_word_is_the_same_however_a_file_types_it(cells):
    columns = parse_columns(
        {"id": {"kind": "category", "min_count": 1}, "x": {"kind": "category", "min_count": 1}}
    )
    some_rows = [{"id": one, "x": two} for one, two in cells]
    schema = pa.schema([("id", pa.int64()), ("x", pa.float64())])
    table = pa.Table.from_pylist(some_rows, schema)
    encoder = fit_encoder(columns, read_frame(table))
    (expected,) = encode_table(read_frame(table), ArrowEncoder(encoder), labelled=False)
    assert_same(expected, RowEncoder(encoder).encode(some_rows).batch, labelled=False)
    lines = open_table(io.BytesIO(to_json_lines(some_rows)), JSONLINES)
    (found,) = encode_table(lines, ArrowEncoder(encoder), labelled=False)
    assert_same(expected, found, labelled=False)
    assert not RowEncoder(encoder).encode(some_rows).unknown


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("0123456789+-.eExinfa_ \t"), max_size=8) | st.floats().map(repr))
def test_numbers_in_texts_are_read_by_one_rule(text):
    try:
        expected = parse_number(text.encode()) if text.strip(" \t\r\n") else np.nan
    except ValueError:
        expected = None
    try:
        (found,) = to_numbers(pa.array([text]))
    except UserError:
        found = None
    assert found == expected or (np.isnan(found) and np.isnan(expected))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=80), unique=True, max_size=40), st.lists(st.binary(max_size=9)))
def test_a_dictionary_finds_what_it_holds(values, others):
    values = [value for value in values if value]
    dictionary = Dictionary.of(values)
    assert list(dictionary.values()) == values
    texts = [*values, *others]
    offsets = np.cumsum([0, *map(len, texts)])
    column = Texts(np.frombuffer(b"".join(texts), np.uint8), offsets[:-1], offsets[1:])
    assert hash_all(column).tolist() == [xxhash.xxh64_intdigest(text) for text in texts]
    expected = [values.index(text) if text in values else -1 for text in texts]
    assert [dictionary.find(text) for text in texts] == expected
    found = [-2 if not text else number for text, number in zip(texts, expected, strict=True)]
    assert find(column, dictionary).tolist() == found
