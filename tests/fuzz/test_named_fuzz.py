"""Whatever is sent by name: an answer or one line that says why not, and soon.

    python -m pytest tests/fuzz                       some thousand inputs
    python tests/fuzz/test_named_fuzz.py --inputs 100000 [--seed 1]

As tests/fuzz/test_serve_fuzz.py, for a model of tables: mutated are good bodies of every format
that has names. What is neither an answer nor a UserError of one line ends the run.
"""

import argparse
import io
import json
import logging
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from container.serving.scoring import Scorer
from container.settings import ANSWER_TYPES, Settings
from fm_algo.answers.vectors import item_vectors
from fm_algo.data.tables.arrow.fitting import Side, fit_encoder
from fm_algo.data.tables.arrow.reading import read_frame
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.hashing import hash_text
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.data.tables.tables import Candidates, Seen, Tables, item_rows
from fm_algo.errors import UserError
from fm_algo.model import FMModel

_log = logging.getLogger(__name__)

LIMIT_S = 2.0
JSON, JSONLINES = "application/json", "application/jsonlines"
CSV, HEADER, PARQUET = "text/csv", "text/csv;header=present", "application/x-parquet"
TYPES = (JSON, JSONLINES, CSV, HEADER, PARQUET)
SETTINGS = Settings.from_environment({})

COLUMNS = parse_columns(
    {
        "rating": "label",
        "user": {"kind": "category", "min_count": 1},
        "item": {"kind": "category", "min_count": 1},
        "tags": {"set": "|", "min_count": 1},
        "age": {"bins": 3},
        "price": "number",
        "url": {"hash": 4},
        "words": {"kind": "hash", "bits": 3, "separator": " "},
        "note": "ignore",
        "genres": {"kind": "set", "min_count": 1},
        "year": "number",
        "job": {"kind": "category", "min_count": 1},
    }
)
CELLS = {
    "rating": [1, 2, 3, 4],
    "user": ["u1", "u2", "ü", None],
    "item": ["i1", "i2", "7", "i1"],
    "tags": ["a|b", "b", "", None],
    "age": [31, 18, 55, None],
    "price": [1.5, 2, None, 3],
    "url": ["x", "y", "z", None],
    "words": ["the quick", "fox", None, ""],
    "note": ["…", "", None, "a,b"],
}
ROWS = [dict(zip(CELLS, row, strict=True)) for row in zip(*CELLS.values(), strict=True)]
ITEMS = pa.table({"item": ["i2", "i9"], "genres": [["Drama", "War"], []], "year": [1990, None]})
USERS = pa.table({"user": ["u1", "u9"], "job": ["baker", None]})


def make_model():
    sides = [Side("users", USERS), Side("items", ITEMS)]
    encoder = fit_encoder(COLUMNS, read_frame(pa.Table.from_pylist(ROWS)), sides=sides)
    rng = np.random.default_rng(7)
    shapes = (1, encoder.feature_dim, (encoder.feature_dim, 2))
    bare, *samples = (
        FMModel("regressor", *(rng.normal(size=shape).astype(np.float32) for shape in shapes))
        for _ in range(3)
    )
    model = FMModel("regressor", bare.w0, bare.w, bare.V, tuple(samples))
    users = np.array(sorted(map(hash_text, (b"u1", b"u2"))), np.uint64)
    seen = Seen("user", "item", users, np.array([0, 1, 2]), np.array([0, 1], np.int32))
    items = item_rows(encoder)
    vectors = item_vectors(model, items.indptr, items.indices, items.values)
    return NamedModel.of(model, Tables(encoder, seen, Candidates(*vectors)))


MODEL = make_model()


def to_csv(rows, names, *, header=True):
    lines = [names] if header else []
    lines += [["" if row.get(name) is None else str(row[name]) for name in names] for row in rows]
    quoted = (",".join(f'"{cell}"' if "," in cell else cell for cell in line) for line in lines)
    return "".join(f"{line}\n" for line in quoted).encode()


def to_parquet(table, **options):
    target = io.BytesIO()
    pyarrow.parquet.write_table(table, target, **options)
    return target.getvalue()


ASKED = [
    {"explain": True, "uncertainty": True},
    {"top_k": 2, "exclude": ["i9", 7, None], "exclude_seen": True},
    {"similar": 3, "top_k": 1},
    {"top_k": 3, "candidates": "job"},
]
INSTANCES = [
    *ROWS,
    {"user": "new", "item": "i2", "genres": ["War", "x"], "year": "1999", "job": "baker"},
    {"features": {"keys": [0, 3], "values": [1, 2]}},
    *({**row, "configuration": asked} for row, asked in zip(ROWS, ASKED, strict=True)),
]
NAMES = list(CELLS)
ODD = pa.table(
    {
        "user": pa.array([1, 2]),
        "item": pa.array(["i1", "i2"]).dictionary_encode(),
        "tags": pa.array([["a", None], None]),
        "age": pa.array([True, None]),
        "price": pa.array([1.5, float("nan")], pa.float32()),
        "url": pa.array([0, 1], pa.timestamp("s")),
        "words": pa.array([{"a": 1}, None]),
    }
)
SEEDS = {
    JSON: [
        json.dumps({"instances": INSTANCES}, ensure_ascii=ascii_only).encode()
        for ascii_only in (True, False)
    ]
    + [json.dumps({"instances": [instance]}).encode() for instance in INSTANCES],
    JSONLINES: ["".join(f"{json.dumps(each)}\n" for each in INSTANCES).encode()]
    + [f"{json.dumps(instance)}\n".encode() for instance in INSTANCES],
    CSV: [to_csv(ROWS, NAMES, header=False), to_csv(ROWS, NAMES[1:], header=False)],
    HEADER: [to_csv(ROWS, NAMES), to_csv(ROWS, [*NAMES[:0:-1], "genres", "job"])],
    PARQUET: [
        to_parquet(pa.Table.from_pylist(ROWS)),
        to_parquet(pa.Table.from_pylist(ROWS * 20), compression="zstd", row_group_size=7),
        to_parquet(pa.Table.from_pylist(ROWS), compression="none", use_dictionary=False),
        to_parquet(ODD),
    ],
}
ALPHABET = b'0123456789.,:-+eE"[]{} \n\r\t\\|u\xff\0nulltrue'
PIECES = [
    *(b'"user"', b'"item"', b'"genres"', b'"configuration"', b'"top_k"', b'"similar"'),
    *(b'"candidates"', b'"exclude"', b'"exclude_seen"', b'"explain"', b'"features"', b'"data"'),
    *(b"null", b"true", b"1e400", b"1e39", b"NaN", b"-0", b"9" * 30, b"9" * 5000, b'""', b"[[]]"),
    *(b'"\\ud83d\\ude00"', b'"\\ud800"', b"\xe2\x80\xa8", b"\xf0\x9f\x8e\xac", b'"\\u0000"'),
    *(b"user", b"item", b"user,item", b"\n\n", b'"', b'""', b",,", b"\r\n", b"x" * 1000),
    *(b'{"user": {}}', b"{}", b"{}\n", b"[]", b"\x00\x00\x00\x80"),
]


def mutate(rng, content_type):
    """Change a body in a few places, mostly one; Parquet in single bytes, so as to get past it."""
    seeds = SEEDS[content_type]
    body = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.geometric(0.5) - 1):
        place = int(rng.integers(len(body) + 1))
        length = int(min(rng.geometric(0.2), len(body) - place))
        kind = rng.integers(7) if content_type != PARQUET else rng.integers(3)
        if kind == 0 and place < len(body):
            body[place] ^= 1 << int(rng.integers(8))
        elif kind == 1 and place < len(body):
            body[place] = ALPHABET[rng.integers(len(ALPHABET))]
        elif kind == 2:
            body[place : place + length] = bytes(rng.integers(0, 256, length, np.uint8))
        elif kind == 3:
            del body[place : place + length]
        elif kind == 4:
            body[place:place] = body[place : place + length] * int(rng.integers(1, 20))
        elif kind == 5:
            body[place : place + length] = PIECES[rng.integers(len(PIECES))]
        elif kind == 6:
            body[place:place] = PIECES[rng.integers(len(PIECES))]
    return bytes(body)


def ask(body, content_type, accept):
    """Return the status of one request, and check that the answer is one a caller may get."""
    started = time.monotonic()
    place = sum(body[:8]) % (len(body) + 1)
    try:
        scorer = Scorer(MODEL, content_type, accept, SETTINGS)
        pieces = (body[:place], body[place:])
        answer = b"".join(piece for data in pieces for piece in scorer.feed(data))
        answer += b"".join(scorer.close())
    except UserError as error:
        status, reason = error.http_status, error.message
    else:
        status, reason = 200, "answered"
        assert scorer.num_rows > 0
        if scorer.answer_type == JSON:
            assert len(json.loads(answer)["predictions"]) == scorer.num_rows
        elif scorer.answer_type != "application/x-recordio-protobuf":
            assert answer.count(b"\n") == scorer.num_rows
    assert status == 200 or 400 <= status < 500
    assert reason
    assert "\n" not in reason
    assert time.monotonic() - started < LIMIT_S
    return status


def fuzz(num_inputs, seed, content_types=TYPES):
    """Ask with `num_inputs` mutated bodies; return how often each status came, by type."""
    rng = np.random.default_rng(seed)
    statuses = {content_type: Counter() for content_type in content_types}
    for number in range(num_inputs):
        content_type = content_types[number % len(content_types)]
        body = mutate(rng, content_type)
        accept = (JSON, JSONLINES, None, *ANSWER_TYPES)[rng.integers(len(ANSWER_TYPES) + 3)]
        try:
            status = ask(body, content_type, accept)
        except BaseException as error:
            error.add_note(f"input {number} of seed {seed}: {content_type}, {accept}, {body!r}")
            raise
        statuses[content_type][status] += 1
        if number % 10_000 == 9_999:
            _log.info("%d inputs", number + 1)
    return statuses


@pytest.mark.parametrize("content_type", TYPES)
def test_mutated_bodies_are_answered_or_refused_in_one_line(content_type):
    statuses = fuzz(600, 0, (content_type,))[content_type]

    assert statuses[200] > 0
    assert statuses[400] > 0


cells = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
configurations = st.fixed_dictionaries(
    {},
    optional={
        "explain": st.booleans(),
        "uncertainty": st.booleans(),
        "top_k": st.integers(-1, 4) | cells,
        "similar": st.integers(-1, 4) | cells,
        "exclude": st.lists(cells, max_size=3),
        "exclude_seen": st.booleans(),
        "candidates": st.sampled_from([None, "item", "user", "job", "tags", "x"]) | cells,
        "other": cells,
    },
)
names = st.sampled_from([*COLUMNS, "features", "data"]) | st.text(max_size=4)
instances = st.builds(
    lambda row, asked: row if asked is None else {**row, "configuration": asked},
    st.dictionaries(names, cells, max_size=5),
    st.none() | configurations | cells,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(instances | cells, max_size=3), st.sampled_from([None, *ANSWER_TYPES]))
def test_objects_of_any_structure_are_answered_or_refused_in_one_line(some, accept):
    ask(json.dumps({"instances": some}).encode(), JSON, accept)
    ask("".join(f"{json.dumps(each)}\n" for each in some).encode(), JSONLINES, accept)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    started = time.monotonic()
    statuses = fuzz(options.inputs, options.seed)
    row = {"inputs": options.inputs, "seed": options.seed, "statuses": statuses}
    print(json.dumps(row | {"elapsed_s": round(time.monotonic() - started)}))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
