"""Compile what reads tables into its cache: learn from a small table, and turn it into rows."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from fm_algo.data.formats.content_type import TABLE_TYPES, parse_content_type
from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.data.tables.arrow.fitting import EncoderFit, Side
from fm_algo.data.tables.arrow.reading import open_table
from fm_algo.data.tables.arrow.seen import SeenPairs
from fm_algo.data.tables.arrow.table_reader import TableReader
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.encoder import TableEncoder

_COLUMNS = parse_columns(
    {
        "rating": "label",
        "user": "category",
        "item": "category",
        "words": {"set": "|"},
        "url": {"hash": 2},
        "tags": {"hash": 2, "separator": "|"},
        "age": {"bins": 2},
        "price": "number",
        "genres": {"set": "|"},
    },
    min_count=1,
)
_CSV = b"rating,user,item,words,url,tags,age,price\n1,u1,i1,a|b,x,p|q,3,4\n2,,i2,,,,,\n"
_LINES = (
    b'{"rating": 1, "user": "u1", "item": "i1", "words": ["a", "b"], "url": "x", "tags": ["p"], '
    b'"age": 3, "price": 4}\n{"rating": 2, "item": 7}\n'
)


def main() -> None:
    """Run each compiled function once, for each kind of source and of dictionary."""
    for content_type in TABLE_TYPES:
        encoder = _learn(content_type, None)
        mapped = TableEncoder.of_arrays(encoder.describe(), _read_only(encoder))
        _learn(content_type, mapped)
        for known in (encoder, mapped):
            for batch in _open(content_type):
                ArrowEncoder(known).encode(batch, labelled=True)


def _learn(content_type: str, earlier: TableEncoder | None) -> TableEncoder:
    reader = _open(content_type)
    items = pa.Table.from_batches(list(_open_items(content_type)))
    fit = EncoderFit(
        _COLUMNS,
        reader.schema,
        is_typed=reader.is_typed,
        sides=[Side("items", items)],
        earlier=earlier,
    )
    seen = SeenPairs("user", "item")
    for batch in reader:
        fit.add(batch)
        seen.add(batch)
    encoder = fit.finish()
    seen.finish(encoder)
    return encoder


def _open(content_type: str) -> TableReader:
    cells = {
        "rating": [1.0, 2.0],
        "user": ["u1", None],
        "item": [1, 2],
        "words": [["a", "b"], None],
        "url": ["x", None],
        "tags": ["p|q", None],
        "age": [3, None],
        "price": [4.0, None],
    }
    return _source(content_type, _CSV, _LINES, pa.table(cells))


def _open_items(content_type: str) -> TableReader:
    lines = b'{"item": "i1", "genres": "War|Drama"}\n{"item": "i2", "genres": null}\n'
    cells = {"item": [1, 2], "genres": ["War|Drama", None]}
    return _source(content_type, b"item,genres\ni1,War|Drama\ni2,\n", lines, pa.table(cells))


def _source(content_type: str, csv: bytes, lines: bytes, table: pa.Table) -> TableReader:
    known = parse_content_type(content_type)
    file = io.BytesIO(csv if "csv" in known.name else lines)
    if "parquet" in known.name:
        file = io.BytesIO()
        pyarrow.parquet.write_table(table, file)
        file.seek(0)
    return open_table(file, known)


def _read_only(
    encoder: TableEncoder,
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """Return the arrays of an encoder as those of a model's file are: not to be written."""
    arrays = {name: array.copy() for name, array in encoder.arrays().items()}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


if __name__ == "__main__":
    main()
