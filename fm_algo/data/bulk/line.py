"""`BulkLineDecoder`: the base of the compiled decoders of text."""

from abc import abstractmethod

import numpy as np

from fm_algo.data.bulk.frame import Form
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.formats.lines import Block, LineDecoder
from fm_algo.sparse import CSRBatch

_FEW_BYTES = 1 << 10
"""From an unusual line on, the plain decoder gets at least this many bytes, in whole lines.

If such lines are not rare, it gets four times as many each time: it is faster on large blocks.
"""

_WAITING_BYTES = 1 << 16
"""Room for the start of a line from earlier pieces; a longer one is unusual."""


class BulkLineDecoder(LineDecoder):
    """A `LineDecoder` that tries a compiled function first, and decodes unusual lines itself.

    It also decodes the last line itself, if that line has no LF.
    """

    def feed(self, data: bytes) -> CSRBatch:
        """Take the next bytes; return the rows they complete, perhaps none.

        Raises
        ------
        UserError
            As from `LineDecoder.feed`.
        """
        rows = self._collector(len(data) + _WAITING_BYTES)
        for block in self._cutter.feed(data):
            self._decode_block(block, rows)
        return rows.finish()

    def _decode_block(self, block: Block, rows: RowCollector) -> None:
        text = np.frombuffer(block.text, np.uint8)
        form = self._form()
        position, num_plain_bytes = 0, _FEW_BYTES
        while position < len(text):
            start = position
            position = rows.decode(text, start, form)
            if position == len(text):
                break
            is_rare = position > start + num_plain_bytes
            num_plain_bytes = _FEW_BYTES if is_rare else 4 * num_plain_bytes
            stop = block.text.find(b"\n", position + num_plain_bytes) + 1 or len(text)
            first_line = block.first_line + block.text.count(b"\n", 0, position)
            rows.add(self._decode_all([Block(block.text[position:stop], first_line)]))
            position = stop

    @abstractmethod
    def _collector(self, num_bytes: int) -> RowCollector:
        """Return a collector with room for the rows of this many bytes."""

    @abstractmethod
    def _form(self) -> Form:
        """Return how `append_rows` must read a line."""
