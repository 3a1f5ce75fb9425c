"""CSV of cells, with a header or with the columns of the training table in their order.

A cell may stand in double quotes, which it must if it holds a comma, a quote (written twice) or a
line break. An empty cell is missing. A blank line may only stand after the last row.
"""

import csv
import io
from collections.abc import Iterator, Sequence

from fm_algo.data.formats.content_type import ContentType
from fm_algo.data.formats.lines import BYTE_ORDER_MARK
from fm_algo.data.formats.request import RequestRows
from fm_algo.data.tables.cells import BLANKS, listed
from fm_algo.data.tables.requests.header import check_header, columns_by_number
from fm_algo.data.tables.requests.rows import NamedRows, RowCounter, encode_rows
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.errors import UserError

csv.field_size_limit(2**31 - 1)  # a body has a limit of its own; 128 KiB are no cell's

_Line = tuple[int, list[str]]
"""Number of the line where a row begins, and its cells."""

_CAUSES = {
    "unexpected end of data": "a quote is not closed",
    "expected after": "text behind a closing quote, expected a comma",
    "new-line character": "a carriage return (CR) within a cell without quotes",
}


class CSVRows:
    """CSV to rows; a `RequestDecoder`.

    Parameters
    ----------
    content_type : ContentType
        Its parameter `header` counts: present or absent, by default absent (RFC 4180).
    rows : RowEncoder

    Raises
    ------
    UserError
        If that parameter is something else.
    """

    def __init__(self, content_type: ContentType, rows: RowEncoder) -> None:
        header = content_type.parameters.get("header", "absent").lower()
        if header not in {"present", "absent"}:
            raise UserError(f"text/csv has header={header!r}, allowed: present or absent")
        self._has_header = header == "present"
        self._names: tuple[str, ...] = ()
        self._rows = rows
        self._counter = RowCounter(rows)
        self._pending = bytearray()
        self._enough = 0  # bytes that are pending before they are looked at again
        self._next_line = 1
        self._blank_line: int | None = None

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        """Take the next bytes; yield the rows they complete.

        Raises
        ------
        UserError
            At the first line that is no row; names line, column and value.
        """
        self._pending += data
        end = self._pending.rfind(b"\n") + 1
        if end and len(self._pending) >= self._enough:
            lines, wrong = self._cut(end, is_all=False)
            # A row of many lines that goes on is not read again with each piece.
            self._enough = 2 * len(self._pending)
            yield from self._encode_before(lines, wrong)

    def close(self) -> Iterator[RequestRows]:
        """End the request; yield the last rows.

        Raises
        ------
        UserError
            As from `feed`, or if it ends within quotes.
        """
        yield from self._encode_before(*self._cut(len(self._pending), is_all=True))
        if self._has_header and not self._names:
            raise UserError("line 1: no header, expected the names of the columns")

    def _encode_before(self, lines: list[_Line], wrong: UserError | None) -> Iterator[RequestRows]:
        """Yield the rows of lines; then raise the error of the line behind them, if it has one."""
        yield from self._encode(lines)
        if wrong is not None:
            raise wrong

    def _cut(self, end: int, *, is_all: bool) -> tuple[list[_Line], UserError | None]:
        """Cut the rows out of the pending bytes before `end`; leave a row that goes on.

        The second result is the error of the line behind them, if it is none of CSV.
        """
        is_marked = self._next_line == 1 and self._pending.startswith(BYTE_ORDER_MARK)
        start = len(BYTE_ORDER_MARK) if is_marked else 0
        text = self._decode(self._pending[start:end])
        reader = csv.reader(io.StringIO(text, newline="\n"), strict=True)
        lines, num_read = [], 0
        try:
            for row in reader:
                lines.append((self._next_line + num_read, row))
                num_read = reader.line_num
        except csv.Error as error:
            if is_all or reader.line_num < text.count("\n"):
                place = f"line {self._next_line + num_read}"
                return lines, UserError(f"{place}: {_explain(error)}")
            end -= len(text.split("\n", num_read)[-1].encode())
        self._next_line += num_read
        del self._pending[: end if num_read else 0]
        return lines, None

    def _decode(self, text: bytearray) -> str:
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            line = self._next_line + text.count(b"\n", 0, error.start)
            raise UserError(f"line {line}: not UTF-8: {error.reason}") from error

    def _encode(self, lines: list[_Line]) -> Iterator[RequestRows]:
        lines = self._take_header(lines)
        for start in range(0, len(lines), self._counter.at_once):
            some = lines[start : start + self._counter.at_once]
            self._counter.take(len(some))
            yield self._encode_rows(some)

    def _encode_rows(self, lines: list[_Line]) -> NamedRows:
        cells = [dict(zip(self._names, row, strict=True)) for _, row in lines]
        encoded = encode_rows(self._rows, cells, lambda row: f"line {lines[row][0]}")
        return NamedRows(encoded.batch, unknown=encoded.unknown)

    def _take_header(self, lines: list[_Line]) -> list[_Line]:
        """Return the lines that are rows, all as wide as they must be; learn the columns' names."""
        rows = []
        for line, cells in lines:
            if not cells:
                self._blank_line = self._blank_line or line
                continue
            if self._blank_line is not None:
                raise UserError(
                    f"line {self._blank_line}: blank, expected a row; blank lines may only stand "
                    "after the last row"
                )
            if not self._names:
                self._learn_names(line, cells)
                if self._has_header:
                    continue
            if len(cells) != len(self._names):
                raise UserError(
                    f"line {line}: {len(cells)} columns, expected {len(self._names)}: "
                    f"{listed(self._names)}"
                )
            rows.append((line, cells))
        return rows

    def _learn_names(self, line: int, cells: Sequence[str]) -> None:
        try:
            if self._has_header:
                names = [name.strip(BLANKS) for name in cells]
                check_header(names, self._rows)
                self._names = tuple(names)
            else:
                self._names = columns_by_number(cells, self._rows)
        except UserError as error:
            raise UserError(f"line {line}: {error.message}") from error


def _explain(error: csv.Error) -> str:
    """Say in our words what the csv module found wrong."""
    text = str(error)
    return next((cause for found, cause in _CAUSES.items() if found in text), text)
