"""Read JSON Lines of plain objects as a table: all cells are texts, or lists of texts."""

from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa

from fm_algo.data.formats.lines import LineCutter
from fm_algo.data.tables.arrow.table_reader import ROWS_AT_ONCE, TableReader
from fm_algo.data.tables.cells import Cell, describe, listed, text_of
from fm_algo.errors import UserError

_BLOCK_BYTES = 1 << 20


def open_json_lines(stream: BinaryIO, wanted: Collection[str] = ()) -> TableReader:
    """Open a text with an object per line.

    Parameters
    ----------
    stream : binary stream
    wanted : collection of str, optional
        Columns that there are even if no line has such a key: all their cells are missing.

    Raises
    ------
    UserError
        If a line is no object of single values and lists of them, here or while it is read.
    """
    rows = _rows_of_lines(stream)
    first = next(rows, [])
    # A key that a line lacks is a missing cell, so a wanted one may be in no line at all.
    names = list(dict.fromkeys([*(name for row in first for name in row), *wanted]))

    def batches() -> Iterator[pa.RecordBatch]:
        done, batch = 0, first
        while batch:
            yield _to_batch(batch, done, names)
            done += len(batch)
            batch = next(rows, [])

    schema = pa.schema([(name, pa.string()) for name in names])
    return TableReader(schema, batches(), first_line=1)


_object_decoder = msgspec.json.Decoder(dict[str, Any])


def _rows_of_lines(stream: BinaryIO) -> Iterator[list[dict[str, Cell]]]:
    cutter, rows = LineCutter(), []
    is_over = False
    while not is_over:
        data = stream.read(_BLOCK_BYTES)
        is_over = not data
        for block in cutter.close() if is_over else cutter.feed(data):
            for line, text in enumerate(block.text[:-1].split(b"\n"), block.first_line):
                rows.append(_to_object(text, line))
            if len(rows) >= ROWS_AT_ONCE:
                yield rows
                rows = []
    yield rows


def _to_object(text: bytes, line: int) -> dict[str, Cell]:
    try:
        return _object_decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        what = str(error).partition(" - at `$")[0]
        raise UserError(f"line {line}: {what[:1].lower()}{what[1:].replace('`', '')}") from error


def _to_batch(rows: list[dict[str, Cell]], done: int, names: list[str]) -> pa.RecordBatch:
    """Make a record batch of rows with text in all cells, or lists of text."""
    found = list(dict.fromkeys(name for row in rows for name in row))
    new = next((name for name in found if name not in names), None)
    if new is not None:
        line = 1 + done + next(place for place, row in enumerate(rows) if new in row)
        raise UserError(
            f"line {line}: {listed([new])} is no key of the first {ROWS_AT_ONCE} lines: "
            f"{listed(names)}"
        )
    arrays = [_to_array([row.get(name) for row in rows], name, done) for name in names]
    return pa.record_batch(arrays, names=names)


def _to_array(column: list[Cell], name: str, done: int) -> pa.Array:
    has_list = any(isinstance(cell, list) for cell in column)
    words: list[Any] = []
    for place, cell in enumerate(column):
        try:
            if has_list and cell is not None:
                if not isinstance(cell, list):
                    raise UserError(f"{describe(cell)}, where other lines have a list")
                words.append([_word(member) for member in cell])
            else:
                words.append(_word(cell))
        except UserError as error:
            raise UserError(f"line {1 + done + place}: column {name}: {error.message}") from error
    return pa.array(words, pa.large_list(pa.large_string()) if has_list else pa.large_string())


def _word(cell: Cell) -> str | None:
    text = text_of(cell)
    return None if text is None else text.decode()
