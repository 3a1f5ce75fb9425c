"""`BulkLineDecoder`: what the compiled decoders of text have in common."""

from abc import abstractmethod

import numpy as np

from fm_algo.data.bulk.frame import Form
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.formats.lines import Block, LineDecoder
from fm_algo.sparse import CSRBatch

_FEW_BYTES = 1 << 10
"""At least so many bytes, in whole lines, the plain decoder is given from an unusual line on.

Each time four times as many, where such lines are not rare: it likes large blocks.
"""

_WAITING_BYTES = 1 << 16
"""Room for the begin of a line that waits from earlier pieces; a longer one is unusual."""


class BulkLineDecoder(LineDecoder):
    """A `LineDecoder` that asks a compiled function first, and itself from an unusual line on.

    The last line is its own, too, if it went without LF.
    """

    def feed(self, data: bytes) -> CSRBatch:
        """Take the next bytes; return the rows they complete, perhaps none.

        Raises
        ------
        UserError
            As `LineDecoder.feed`.
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
        """Return room for the rows of so many bytes."""

    @abstractmethod
    def _form(self) -> Form:
        """Return what a line is to be read as, for `append_rows`."""
