"""Decode RecordIO-protobuf in bulk: `RecordIODecoder` with compiled code for usual records."""

import numpy as np

from fm_algo.data.bulk.record import LEAST_RECORD_BYTES, LEAST_VALUE_BYTES, RecordForm
from fm_algo.data.bulk.row_collector import RowCollector
from fm_algo.data.formats.record import RecordIODecoder
from fm_algo.sparse import CSRBatch

_FEW_BYTES, _MANY_BYTES = 1 << 14, 1 << 21
"""What the plain decoder gets at a time, from an unusual record on.

Few if such records are rare. Many if there are no others: it is faster on large blocks.
"""


class BulkRecordIODecoder(RecordIODecoder):
    """`RecordIODecoder`, compiled for usual records.

    The inherited splitter counts records and bytes, and keeps incomplete records.
    """

    def feed(self, data: bytes) -> CSRBatch:
        """Take the next bytes; return the rows they complete, perhaps none.

        Raises
        ------
        UserError
            As from `RecordIODecoder.feed`.
        """
        num_missing = self._splitter.num_missing
        if len(data) < num_missing:
            return super().feed(data)
        waiting = self._splitter.take_back()
        num_bytes = len(waiting) + len(data)
        rows = RowCollector(
            max_rows=num_bytes // LEAST_RECORD_BYTES + 1,
            max_entries=num_bytes // LEAST_VALUE_BYTES + 1,
            feature_dim=self._feature_dim,
            labelled=self._labelled,
        )
        start = 0
        if waiting:
            self._decode_into(rows, waiting + data[:num_missing], 0)
            start = num_missing
        self._decode_into(rows, data, start)
        return rows.finish()

    def _decode_into(self, rows: RowCollector, data: bytes, position: int) -> None:
        """Decode all complete records from `position` on; the splitter keeps the rest."""
        array = np.frombuffer(data, np.uint8)
        form = RecordForm(self._feature_dim, self._labelled)
        num_plain_bytes = _FEW_BYTES
        while position < len(data):
            count = self._splitter.num_missing  # to the next frame, if inside a frame
            if self._splitter.is_between_records:
                start, num_rows = position, rows.num_rows
                position = rows.decode(array, start, form)
                self._splitter.skip(position - start, rows.num_rows - num_rows)
                is_rare = position > start + num_plain_bytes
                num_plain_bytes = _FEW_BYTES if is_rare else min(4 * num_plain_bytes, _MANY_BYTES)
                count = num_plain_bytes
            rows.add(super().feed(data[position : position + count]))
            position += count
