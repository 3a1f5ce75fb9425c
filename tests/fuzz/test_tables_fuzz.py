"""Tables to train on, mutated: each becomes rows, or is refused in one line.

`python tests/fuzz/test_tables_fuzz.py COUNT SEED` runs more of them.
"""

import io
import json
import random
import sys

import pyarrow as pa
import pyarrow.parquet
import pytest

from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.tables.arrow.encoding import ArrowEncoder, encode_table
from fm_algo.data.tables.arrow.fitting import Side, fit_encoder
from fm_algo.data.tables.arrow.reading import open_table
from fm_algo.data.tables.columns import parse_columns
from fm_algo.errors import UserError

TYPES = {
    name: parse_content_type(text)
    for name, text in {
        "csv": "text/csv;header=present",
        "json": "application/jsonlines",
        "parquet": "application/x-parquet",
    }.items()
}
KINDS = [
    *("category", "number", "ignore", "label", "weight"),
    *({"set": "|"}, {"set": ","}, {"bins": 3}, {"hash": 4}, {"hash": 4, "separator": " "}),
    *({"label": "yes"}, {"kind": "set", "scale": "one", "min_count": 1}, {"kind": "set"}),
]
WORDS = [
    *("u1", "u2", " u1", "", " ", "7", "7.0", "1e5", "-0", "nan", "inf", "1e39", "0x1", "1_0"),
    *(
        "yes",
        "no",
        "a|b",
        "a||b|",
        "a,b",
        '"',
        '""',
        "ü",
        "日本語",
        "e\u0301",
        "\u200f",
        "\0",
        "\t",
    ),
    *("null", "NaN", "true", "x" * 5000, "'", "\\", "\ufeff", "🎬", "-1", "0.5"),
]
GOOD = ["1", "2", "0", "yes", "u1", "a|b", "0.5", ""]
NAMES = ["user", "item", "tags", "age", "rating", "w"]
PIECES = [
    *(b'"', b",", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"{", b"}", b"[", b"]", b":", b"null"),
    *(b"PAR1", b"\x1f\x8b", b"1", b"user", b"\xef\xbb\xbf", b"\\ud800", b"e", b"-", b"  "),
]
ITEMS = pa.table({"item": ["u1", "u2"], "year": [1990.0, None]})


def make_rows(rng):
    cells = [*WORDS, None, 1, 0, 2.5, True, [], ["a", "b"], [1, None], {"a": 1}, [["x"]], 10**30]
    plain = rng.choice([WORDS, cells, GOOD, GOOD])
    names = rng.sample(NAMES, rng.randint(1, len(NAMES)))
    return [{name: rng.choice(plain) for name in names} for _ in range(rng.randint(0, 6))]


def to_bytes(rng, kind, rows):
    names = list(dict.fromkeys(name for row in rows for name in row)) or ["user"]
    if kind == "json":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if kind == "csv":
        quote = rng.random() < 0.5
        lines = [names, *([row[name] for name in names] for row in rows)]
        texts = [["" if cell is None else str(cell) for cell in line] for line in lines]
        if quote:
            texts = [['"' + cell.replace('"', '""') + '"' for cell in line] for line in texts]
        return "\n".join(",".join(line) for line in texts).encode("utf-8", "surrogatepass")
    target = io.BytesIO()
    try:
        table = pa.Table.from_pylist(rows) if rows else pa.table({name: [] for name in names})
    except (pa.ArrowException, OverflowError):
        table = pa.table({name: [str(row[name]) for row in rows] for name in names})
    try:
        pyarrow.parquet.write_table(table, target)
    except pa.ArrowException:
        pyarrow.parquet.write_table(pa.table({"user": ["u1"]}), target)
    return target.getvalue()


def mutate(rng, text):
    mutated = bytearray(text)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 5])):
        at = rng.randint(0, len(mutated))
        match rng.randint(0, 3):
            case 0:
                mutated[at:at] = rng.choice(PIECES)
            case 1:
                del mutated[at : at + rng.randint(1, 4)]
            case 2:
                mutated[at:at] = mutated[: rng.randint(0, 30)]
            case _ if mutated:
                mutated[at % len(mutated)] = rng.randrange(256)
    return bytes(mutated)


def try_one(rng):
    """Read, learn and encode one table; return whether it became rows."""
    rows = make_rows(rng)
    kind = rng.choice(list(TYPES))
    text = mutate(rng, to_bytes(rng, kind, rows))
    names = list(rows[0]) if rows and rng.random() < 0.8 else rng.sample(NAMES, 3)
    described = {name: rng.choice(KINDS) for name in names}
    sides = []
    if rng.random() < 0.2:
        sides, described = [Side("items", ITEMS)], described | {"year": "number"}
    try:
        columns = parse_columns(described)
        encoder = fit_encoder(columns, open_table(io.BytesIO(text), TYPES[kind]), sides=sides)
        for _ in range(2):
            names = [column.name for column in encoder.columns]
            reader = open_table(io.BytesIO(text), TYPES[kind], names)
            for batch in encode_table(reader, ArrowEncoder(encoder), labelled=True):
                assert batch.indptr[-1] == len(batch.indices) == len(batch.values)
                assert not len(batch.indices) or batch.indices.min() >= 0
                assert not len(batch.indices) or batch.indices.max() < encoder.feature_dim
        type(encoder).of_arrays(encoder.describe(), encoder.arrays())
    except UserError as error:
        told = error.message
    else:
        return True
    assert told
    assert "\n" not in told, repr(told)
    assert len(told) < 2000, told
    return False


def run(count, seed):
    """Try so many tables; return how many became rows."""
    num_rows = 0
    for number in range(count):
        try:
            num_rows += try_one(random.Random(f"{seed}/{number}"))  # noqa: S311
        except Exception as error:
            raise AssertionError(f"table {number} of seed {seed}") from error
    return num_rows


@pytest.mark.parametrize("seed", [0, 1])
def test_a_mutated_table_becomes_rows_or_is_refused_in_one_line(seed):
    num_rows = run(400, seed)

    assert 20 < num_rows < 380, "both happen"


if __name__ == "__main__":
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    print(f"{run(count, seed)} of {count} tables became rows, the others were refused")  # noqa: T201
