"""Cut a stream of bytes into lines, for every format with one row per line.

A line ends with LF or CRLF, which the last line may lack. A UTF-8 byte order mark at the start is
skipped. Lines are numbered from 1.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

BLANKS = b" \t\r"
"""Bytes without meaning around a number, such as the CR before an LF."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_BLOCK_BYTES = 1 << 18
"""Lines are parsed this many bytes at a time, so that intermediate results stay in the cache."""

_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines.

    Attributes
    ----------
    text : bytes
        At least one line, each with its LF.
    first_line : int
        Number of the first line, 1-based.
    """

    text: bytes
    first_line: int


class LineCutter:
    """Cuts bytes, fed in pieces of any size, into blocks of whole lines.

    Parameters
    ----------
    blank_is_row : bool
        Whether a line of blanks alone is a row. If not, it may stand after the last row. Anywhere
        else it is an error, because a row may be missing there.
    """

    def __init__(self, *, blank_is_row: bool = False) -> None:
        self._blank_is_row = blank_is_row
        self._pending: list[bytes] = []
        self._next_line = 1
        self._blank_line: int | None = None

    def feed(self, data: bytes) -> Iterator[Block]:
        """Take the next bytes; yield the lines they complete.

        Raises
        ------
        UserError
            If a row follows a blank line, once all rows before it have been yielded.
        """
        end = data.rfind(b"\n") + 1
        if not end:
            self._pending.append(data)
            return
        text = self._after_pending(data[:end])
        self._pending = [data[end:]]
        yield from self._cut(text)

    def close(self) -> Iterator[Block]:
        """End the source; yield its last line if that line has no LF.

        Raises
        ------
        UserError
            As from `feed`.
        """
        text = self._after_pending(b"")
        self._pending = []
        if text:
            yield from self._cut(text + b"\n")

    def _after_pending(self, data: bytes) -> bytes:
        text = b"".join([*self._pending, data])
        return text.removeprefix(BYTE_ORDER_MARK) if self._next_line == 1 else text

    def _cut(self, text: bytes) -> Iterator[Block]:
        start = 0
        while start < len(text):
            last = text.rfind(b"\n", start, start + _BLOCK_BYTES)
            stop = 1 + (last if last >= 0 else text.index(b"\n", start))
            block = Block(text[start:stop], self._next_line)
            self._next_line += block.text.count(b"\n")
            yield from [block] if self._blank_is_row else self._before_blank(block)
            start = stop

    def _before_blank(self, block: Block) -> Iterator[Block]:
        """Yield the lines before the first blank one; only blank lines may follow it."""
        blank = _BLANK_LINE.search(b"\n" + block.text)
        filled = block.text if blank is None else block.text[: blank.start()]
        if filled:
            self._check_no_blank_line()
            yield Block(filled, block.first_line)
        if blank is not None:
            self._blank_line = self._blank_line or block.first_line + filled.count(b"\n")
            if block.text[blank.start() :].strip(BLANKS + b"\n"):
                self._check_no_blank_line()

    def _check_no_blank_line(self) -> None:
        if self._blank_line is not None:
            raise UserError(
                f"line {self._blank_line}: blank, expected a row; blank lines may only stand after "
                "the last row"
            )


class LineDecoder(ABC):
    """A `RowDecoder` of a format with one row per line.

    Text is decoded in two ways. Quickly: all lines of a block at once, if all have the usual form.
    Carefully: line by line, which reads anything the format allows and finds the first mistake.
    Both give the same rows, so blocks make no difference.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    labelled : bool
        True: every row must have a label. False: labels are skipped.
    blank_is_row : bool
        As in `LineCutter`.
    """

    def __init__(self, *, feature_dim: int, labelled: bool, blank_is_row: bool = False) -> None:
        self._feature_dim = feature_dim
        self._labelled = labelled
        self._cutter = LineCutter(blank_is_row=blank_is_row)

    def feed(self, data: bytes) -> CSRBatch:
        """Take the next bytes; return the rows they complete, perhaps none.

        Raises
        ------
        UserError
            At the first line that cannot be read; names its number, the cause and what is allowed.
        """
        return self._decode_all(self._cutter.feed(data))

    def close(self) -> CSRBatch:
        """End the source; return its last row if that row's line has no LF.

        Raises
        ------
        UserError
            As from `feed`.
        """
        return self._decode_all(self._cutter.close())

    def _decode_all(self, blocks: Iterable[Block]) -> CSRBatch:
        batches = []
        for block in blocks:
            batch = self._decode_quickly(block.text)
            batches.append(self._decode_carefully(block) if batch is None else batch)
        if not batches:
            return CSRBatch.empty(self._feature_dim, labelled=self._labelled)
        return CSRBatch.join(batches)

    def _decode_carefully(self, block: Block) -> CSRBatch:
        batches = []
        for number, line in enumerate(block.text[:-1].split(b"\n"), block.first_line):
            try:
                batches.append(self._decode_line(line, number))
            except UserError as error:
                raise UserError(f"line {number}: {error.message}") from error
        return CSRBatch.join(batches)

    @abstractmethod
    def _decode_quickly(self, text: bytes) -> CSRBatch | None:
        """Return the rows of whole lines; None if one is wrong or has an unusual form."""

    @abstractmethod
    def _decode_line(self, line: bytes, number: int) -> CSRBatch:
        """Return the row of a line given without its LF; an error does not name the line."""
