import io
import json
import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.data.tables.requests import parquet
from fm_algo.data.tables.requests import rows as request_rows
from fm_algo.data.tables.requests.factory import make_named_decoder
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

HEADER, CSV = "text/csv;header=present", "text/csv"
PARQUET = "application/x-parquet"
JSON, JSONLINES = "application/json", "application/jsonlines"


@pytest.fixture(scope="module")
def names(table_encoder):
    blocks = tuple(block for block in table_encoder.blocks if block.table == "rows")
    encoder = type(table_encoder)(table_encoder.columns, blocks, table_encoder.dictionaries)
    parameters = [np.zeros(shape, np.float32) for shape in (1, 7, (7, 2))]
    return NamedModel.of(FMModel("regressor", *parameters), Tables(encoder)).names


def decode(names, content_type, *pieces):
    decoder = make_named_decoder(parse_content_type(content_type), names)
    decoded = [rows for piece in pieces for rows in decoder.feed(piece)]
    decoded += decoder.close()
    batches = [rows.batch for rows in decoded]
    return CSRBatch.join(batches) if batches else None


def outcome(names, content_type, *pieces):
    try:
        batch = decode(names, content_type, *pieces)
    except UserError as error:
        return error.message
    return None if batch is None else (batch.indptr.tolist(), batch.indices.tolist())


texts = st.text(st.sampled_from('ui12,"\n\r ü'), max_size=30).map(str.encode)


@given(texts, st.lists(st.integers(0, 60), max_size=3), st.sampled_from([HEADER, CSV]))
def test_a_table_does_not_depend_on_how_it_was_cut(names, text, cuts, content_type):
    body = b"user,item\n" + text if content_type == HEADER else text
    bounds = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[one:two] for one, two in pairwise(bounds)]

    assert outcome(names, content_type, *pieces) == outcome(names, content_type, body)


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=4)] * 2)))
def test_quoted_cells_are_what_they_were(names, rows):
    quoted = (",".join('"{}"'.format(cell.replace('"', '""')) for cell in row) for row in rows)
    body = "user,item\n" + "".join(f"{line}\n" for line in quoted)
    lines = "".join(json.dumps({"user": user, "item": item}) + "\n" for user, item in rows)

    found = outcome(names, HEADER, body.encode())

    assert found == outcome(names, JSONLINES, lines.encode())


def test_a_cell_of_many_lines_in_many_pieces_is_not_read_again_with_each(names):
    body = b'user,item\n"' + b"line\n" * 2_000_000 + b'",i1\n'
    pieces = [body[start : start + 65_536] for start in range(0, len(body), 65_536)]

    started = time.monotonic()
    batch = decode(names, HEADER, *pieces)

    assert batch.indices.tolist() == [2, 3]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"u1,i1\n\n", None),
        (b"u1,i1\n\n\r\n", None),
        (b"u1,i1\n\nu2,i2\n", "line 2: blank, expected a row; blank lines may only stand after"),
        (b"u1,i1\n \n", "line 2: 1 columns, expected 2: user, item"),
        (b'"u\n1",i1\nu2\n', "line 3: 1 columns"),
        (b"u1,i1\nu2,i2\nu3,i\xff\n", "line 3: not UTF-8: invalid start byte"),
    ],
)
def test_lines_are_counted_as_an_editor_does(names, body, cause):
    found = outcome(names, CSV, body)

    if cause is None:
        assert found == ([0, 2], [0, 3])
    else:
        assert found.startswith(cause)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSONLINES, b"{}\n" * 100),
        (JSON, json.dumps({"instances": [{}] * 100}).encode()),
        (CSV, b"u1,i1\n" * 100),
    ],
)
def test_short_bodies_cannot_ask_for_endless_work(names, monkeypatch, content_type, body):
    monkeypatch.setattr(request_rows, "MAX_CELLS", 199)

    assert "more than 99 rows" in outcome(names, content_type, body)
    monkeypatch.setattr(request_rows, "MAX_CELLS", 200)
    assert decode(names, content_type, body).num_rows == 100


@pytest.mark.parametrize(
    ("limit", "value", "cause"),
    [
        ("_MAX_CELLS", 1999, "1000 rows, allowed: 999 for a model whose rows have 2 features"),
        ("_MAX_UNPACKED", 99, "bytes unpacked, allowed: 99; write smaller row groups"),
    ],
)
def test_short_files_cannot_ask_for_endless_work(names, monkeypatch, limit, value, cause):
    target = io.BytesIO()
    table = pa.table({"user": ["u1"] * 1000, "item": ["i1"] * 1000})
    pyarrow.parquet.write_table(table, target)
    assert decode(names, PARQUET, target.getvalue()).num_rows == 1000

    monkeypatch.setattr(parquet, limit, value)

    assert cause in outcome(names, PARQUET, target.getvalue())


@pytest.mark.parametrize(
    ("item", "cause"),
    [
        (b'{"user": "\xff"}', "a text is not UTF-8: invalid start byte"),
        (b'{"\xff": 1}', "a text is not UTF-8: invalid start byte"),
        (b'{"user": 1e400}', "number out of range"),
        (b'{"user": %b}' % (b"[" * 5000 + b"]" * 5000), "JSON is nested too deeply"),
        (b'{"features": [1], "data": 1}', "expected 'object', got 'int' at data"),
    ],
)
def test_what_json_cannot_be_read_is_told_with_its_place(names, item, cause):
    assert outcome(names, JSONLINES, b'{"user": "u1"}\n' + item) == f"line 2: {cause}"
