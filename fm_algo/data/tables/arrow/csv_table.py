"""Read CSV with a header as a table: all cells are texts, and an empty one is missing."""

import contextlib
import csv
import io
import re
from collections.abc import Collection, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv

from fm_algo.data.formats.lines import BYTE_ORDER_MARK
from fm_algo.data.tables.arrow.table_reader import TableReader, check_names
from fm_algo.data.tables.cells import BLANKS
from fm_algo.errors import UserError

_BLOCK_BYTES = 1 << 23


def open_csv(stream: BinaryIO, wanted: Collection[str] | None = None) -> TableReader:
    """Open a CSV text whose first line names the columns.

    Parameters
    ----------
    stream : binary stream
    wanted : collection of str, optional
        Columns that are not among them are left out.

    Raises
    ------
    UserError
        If it has no header or, while it is read, at a line of another width.
    """
    text = _ReadAhead(stream)
    names = _header(text)
    check_names(names)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
        include_columns=None if wanted is None else [name for name in names if name in wanted],
        check_utf8=True,
    )
    # In one thread it knows the row of a mistake.
    reading = pyarrow.csv.ReadOptions(
        block_size=_BLOCK_BYTES, column_names=names, use_threads=False
    )
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            reader = pyarrow.csv.open_csv(pa.PythonFile(text, "r"), reading, parsing, convert)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            raise UserError(_told_by_csv(error)) from error
        try:
            yield from reader
        except pa.ArrowException as error:
            raise UserError(_told_by_csv(error)) from error
        finally:
            _finish(reader, text)

    schema = pa.schema([(name, pa.string()) for name in names])
    return TableReader(schema, batches(), first_line=2, text=text)


def _finish(reader: pyarrow.csv.CSVStreamingReader, text: "_ReadAhead") -> None:
    """Let a reader's thread end, also where nobody wants its rows: it calls Python's `read`."""
    text.end()
    with contextlib.suppress(pa.ArrowException):
        for _ in reader:
            pass


class _ReadAhead(io.RawIOBase):
    """A stream whose first line is read, and that then goes on behind it.

    Parameters
    ----------
    stream : binary stream

    Attributes
    ----------
    has_quotes : bool
        Whether a quote has been read: then a line break can stand within a cell.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._rest = b""
        self._breaks = b""  # kept back until something follows them
        self.has_quotes = False
        self._has_ended = False

    def header(self) -> bytes:
        """Read the lines that the header stands in: quotes may hold line breaks."""
        read = b""
        while True:
            data = self._stream.read(_BLOCK_BYTES)
            read += data
            self.has_quotes = self.has_quotes or b'"' in data
            end = _end_of_header(read)
            if end or not data:
                self._rest = read[end:] if end else b""
                return read[:end] if end else read

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes; blank lines at the end are left out."""
        while not self._has_ended:
            room = size if size < 0 else max(size - len(self._breaks), 1)
            data, self._rest = self._take(room)
            if not data:
                return b""
            self.has_quotes = self.has_quotes or b'"' in data
            data = self._breaks + data
            text = data.rstrip(b"\r\n")
            self._breaks = data[len(text) :]
            if text:
                return text
        return b""

    def end(self) -> None:
        """Let nothing more be read."""
        self._has_ended = True

    def _take(self, size: int) -> tuple[bytes, bytes]:
        """Return what comes next, and what is left of the bytes behind the header."""
        if not self._rest:
            return self._stream.read(size), b""
        return (self._rest, b"") if size < 0 else (self._rest[:size], self._rest[size:])

    def readable(self) -> bool:
        """Return True."""
        return True


def _end_of_header(text: bytes) -> int:
    """Return where the first line break outside of quotes ends; 0 if there is none."""
    end = text.find(b"\n") + 1
    while end and text.count(b'"', 0, end) % 2:
        end = text.find(b"\n", end) + 1
    return end


def _header(text: _ReadAhead) -> list[str]:
    try:
        line = text.header().removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"line 1: the header is not UTF-8 (byte {error.start})") from error
    names = [name.strip(BLANKS) for name in next(csv.reader(io.StringIO(line, newline="")), [])]
    if not any(names):
        raise UserError("line 1: no header, expected the names of the columns")
    return names


def _told_by_csv(error: pa.ArrowException) -> str:
    """Say in our words what pyarrow found wrong in a CSV text."""
    text = str(error).partition("\n")[0]
    ragged = re.match(r"CSV parse error: Row #(\d+): Expected (\d+) columns, got (\d+)", text)
    if ragged:
        row, expected, found = map(int, ragged.groups())
        return f"line {row + 1}: {found} columns, expected {expected} as in the header"
    return text[:1].lower() + text[1:]
