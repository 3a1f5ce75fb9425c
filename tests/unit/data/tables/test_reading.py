"""Tables that are none: the error says what was found and where."""

import gzip
import io
import re

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.tables.arrow.encoding import ArrowEncoder, encode_table
from fm_algo.data.tables.arrow.fitting import Side, fit_encoder
from fm_algo.data.tables.arrow.reading import is_table, open_table, read_frame
from fm_algo.data.tables.columns import parse_columns
from fm_algo.errors import UserError

CSV = "text/csv;header=present"
PARQUET = "application/x-parquet"
JSONLINES = "application/jsonlines"
COLUMNS = {"user": "category", "age": {"bins": 4}, "rating": "label"}


def read(text, content_type=CSV):
    reader = open_table(io.BytesIO(text), parse_content_type(content_type))
    return [row for batch in reader for row in batch.to_pylist()]


def train(text, content_type=CSV, columns=COLUMNS, sides=()):
    columns, content_type = parse_columns(columns), parse_content_type(content_type)
    encoder = fit_encoder(columns, open_table(io.BytesIO(text), content_type), sides=sides)
    reader = open_table(io.BytesIO(text), content_type)
    return list(encode_table(reader, ArrowEncoder(encoder), labelled=True))


def to_parquet(table):
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target)
    return target.getvalue()


def test_cells_of_text_are_text_and_empty_ones_are_missing():
    assert read(b'a,"b, c",d\r\n1,"x ""y""\nz",\r\n,2,3') == [
        {"a": "1", "b, c": 'x "y"\nz', "d": None},
        {"a": None, "b, c": "2", "d": "3"},
    ]
    assert read(b"\xef\xbb\xbfa,b\n1,2\n") == [{"a": "1", "b": "2"}]
    assert read(b" a, b \n1, 2\n") == [{"a": "1", "b": " 2"}], "cells are trimmed where they count"
    assert read(b"a,b\n") == []
    assert read(b"a,b\n1,2\n\r\n\n") == [{"a": "1", "b": "2"}], "blank lines at the end"
    assert read(b"a\n1\n\n2\n") == [{"a": "1"}, {"a": None}, {"a": "2"}]
    assert read(b'{"a": 1.0, "b": ["x", 2]}\n{"b": null, "c": true}', JSONLINES) == [
        {"a": "1", "b": ["x", "2"], "c": None},
        {"a": None, "b": None, "c": "true"},
    ]


def test_a_packed_stream_is_read_as_it_comes():
    packed = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(b"a,b\n1,2\n")))
    (batch,) = open_table(packed, parse_content_type(CSV))
    assert batch.to_pylist() == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("text", "content_type", "message"),
    [
        (b"", CSV, "line 1: no header, expected the names of the columns"),
        (b"\n1,2\n", CSV, "line 1: no header"),
        (b"a,b,a\n", CSV, "two columns are named 'a', expected different names"),
        (b"a,data\n", CSV, "a column cannot be named data: not allowed are configuration, data,"),
        (b"\xff,b\n", CSV, "line 1: the header is not UTF-8 (byte 0)"),
        (b"a,b\n1,2\n3\n", CSV, "line 3: 1 columns, expected 2 as in the header"),
        (b"a,b\n1,\xff\n", CSV, "invalid UTF8 data"),
        (b"PAR1", PARQUET, "this is no Parquet file: "),
        (b"PAR1" + b"\0" * 60 + b"PAR1", PARQUET, "this is no Parquet file: "),
        (b'{"a": 1}\n{"a": 1', JSONLINES, "line 2: input data was truncated"),
        (b'{"a": 1}\n[1]\n', JSONLINES, "line 2: expected object, got array"),
        (b'{"a": {"b": 1}}', JSONLINES, "line 1: column a: an object, expected one text or number"),
        (b'{"a": [[1]]}', JSONLINES, "line 1: column a: a list, expected one text or number"),
        (b'{"a": [1]}\n{"a": 1}', JSONLINES, "line 2: column a: a int, where other lines have"),
        (b'{"a": 1e999}', JSONLINES, "line 1: "),
        (b'{"features": [1]}', JSONLINES, "a column cannot be named features"),
        (b"1,2\n", "text/csv", "text/csv is no content type of tables, allowed: "),
    ],
)
def test_what_is_no_table_is_refused(text, content_type, message):
    with pytest.raises(UserError, match=re.escape(message)):
        read(text, content_type)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            b"user,age,rating\nu1,18,1\nu2,n/a,1\n",
            "line 3: column age: 'n/a' is not a number; empty means missing",
        ),
        (b"user,age,rating\nu1,1e39,1\n", "line 2: column age: 1e39 is too large for float32"),
        (b"user,age,rating\nu1,18,\n", "line 2: column rating: a label is missing"),
        (b'user,age,rating\n"u\n1",18,1\nu2,18,x\n', "row 1 (from 0): column rating: x is not a"),
        (b"user,age\nu1,18\n", "columns names rating, which no table has; there are age, user"),
        (
            b"user,age,rating,ts\nu1,18,1,5\n",
            "columns does not say what ts is: name it, as",
        ),
    ],
)
def test_a_cell_that_is_not_what_its_column_holds(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        train(text)


def test_types_of_a_file_tell_what_a_column_is_unless_they_can_mean_two_things():
    table = pa.table(
        {
            "user": ["a", "a"],
            "paid": [True, False],
            "price": [1.5, 2.5],
            "tags": [["x", "y"], ["x"]],
            "rating": [1, 0],
        }
    )
    (rows,) = train(to_parquet(table), PARQUET, {"rating": "label"})
    assert rows.num_entries == 9

    table = table.append_column("age", pa.array([7, 8]))
    message = "columns does not say what age (int64) is, because a whole number can be"
    with pytest.raises(UserError, match=re.escape(message)):
        train(to_parquet(table), PARQUET, {"rating": "label"})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (pa.array([{"b": 1}]), "column a: struct<b: int64> holds neither texts, numbers nor lists"),
        (pa.array([[[1]]]), "column a: list<element: list<element: int64>> holds neither"),
        (pa.array([b"\xff"]), "column a: binary holds neither"),
    ],
)
def test_nested_types_are_refused_where_they_are_used(array, message):
    table = pa.table({"a": array, "rating": [1]})
    for kind in ("category", "number", {"set": "|"}):
        with pytest.raises(UserError, match=re.escape(message)):
            train(to_parquet(table), PARQUET, {"a": kind, "rating": "label"})
    table = table.append_column("user", pa.array(["u"]))
    columns = {"a": "ignore", "user": "category", "rating": "label"}
    assert train(to_parquet(table), PARQUET, columns)[0].num_rows == 1


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"item": ["i1", "i1"], "year": [1, 2]}, "the items table: column item: 'i1' stands in"),
        ({"item": ["i1", None], "year": [1, 2]}, "the items table: column item: 1 keys are"),
        ({"id": ["i1"], "year": [1]}, "the items table shares no column with the training table"),
        ({"item": ["i1"], "user": ["u"]}, "the items table shares the columns item, user with"),
        (
            {"item": ["i1", "i2"], "year": ["1990", "?"]},
            "the items table, row 1 (from 0): column year: '?' is not a number; empty means",
        ),
    ],
)
def test_a_side_table_that_cannot_be_joined(items, message):
    columns = {"user": "category", "item": "category", "rating": "label"}
    columns |= {"year": "number"} if "year" in items else {}
    columns |= {"id": "category"} if "id" in items else {}
    with pytest.raises(UserError, match=re.escape(message)):
        train(b"user,item,rating\nu,i1,1\n", CSV, columns, [Side("items", pa.table(items))])


def test_the_row_labels_of_pandas_are_no_column(tmp_path):
    frame = pd.DataFrame({"user": ["a", "a"], "rating": [1, 0]}, index=[7, 3])
    frame.to_parquet(tmp_path / "rows.parquet")
    text = (tmp_path / "rows.parquet").read_bytes()

    assert "__index_level_0__" in pyarrow.parquet.read_schema(io.BytesIO(text)).names
    assert read(text, PARQUET) == [{"user": "a", "rating": 1}, {"user": "a", "rating": 0}]
    assert read_frame(frame).names == ["user", "rating"]


def test_what_is_no_data_frame_is_refused():
    with pytest.raises(UserError, match="a list is no table; allowed is a data frame that offers"):
        read_frame([1, 2])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CSV, True),
        ("text/csv; Header=PRESENT", True),
        ("text/csv", False),
        ("application/vnd.apache.parquet", True),
        (JSONLINES, True),
        ("text/libsvm", False),
    ],
)
def test_which_content_types_are_tables(text, expected):
    assert is_table(parse_content_type(text)) == expected


def test_many_columns_and_long_texts_are_read():
    names = [f"c{number}" for number in range(10_000)]
    wide = ",".join(names).encode() + b"\n" + b",".join([b"1"] * 10_000) + b"\n"
    (row,) = read(wide)
    assert len(row) == 10_000
    columns = {"c0": "label", "*": {"hash": 2}}
    (rows,) = train(wide, columns=columns)
    assert rows.num_entries == 9_999
    with pytest.raises(UserError, match=r"c0, c1, .*c39 and 9960 more is: name it, as") as caught:
        train(wide, columns={"c9999x": "label"})
    assert len(caught.value.message) < 1000

    long = "日本" * 200_000
    text = f"user,rating\n{long},1\n{long},0\n".encode()
    (rows,) = train(text, columns={"user": "category", "rating": "label"})
    assert rows.indices.tolist() == [0, 0]
    lines = "".join(f'{{"user": "{long}", "rating": {n}}}\n' for n in (1, 0)).encode()
    (rows,) = train(lines, JSONLINES, {"user": {"hash": 4}, "rating": "label"})
    assert rows.indices[0] == rows.indices[1]
