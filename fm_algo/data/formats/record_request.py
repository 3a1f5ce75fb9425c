"""Decode RecordIO-protobuf requests to rows and the notes of each record."""

from collections.abc import Iterator, Sequence

from fm_algo.data.formats.few_records import decode_few
from fm_algo.data.formats.protobuf import LENGTH
from fm_algo.data.formats.record_block import each_block
from fm_algo.data.formats.record_notes import NO_NOTES, RecordNotes
from fm_algo.data.formats.recordio import MAGIC_BYTES, Records, RecordSplitter
from fm_algo.data.formats.tensor_rows import tensor_rows
from fm_algo.data.formats.tensors import FEATURES, METADATA, UID, Block, read_tensors
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch


def decode_records(data: bytes, *, feature_dim: int) -> tuple[CSRBatch, list[RecordNotes]]:
    """Decode a whole request.

    Parameters
    ----------
    data : bytes
        Framed records, or one record without a frame, as batch transform sends it in local mode.
        The first bytes tell which: a record begins with 0a or 12. The magic's 0a 23 d7 cannot
        begin a record, because no field of a map entry begins with d7.
    feature_dim : int
        Width of the rows.

    Returns
    -------
    batch : CSRBatch
        Without labels.
    notes : list of RecordNotes
        One per row.

    Raises
    ------
    UserError
        At the first record that cannot be read, as from `RecordIODecoder.feed`.
    """
    decoder = NotedRecordsDecoder(feature_dim=feature_dim)
    decoded = [*decoder.feed(data), *decoder.close()]
    batches = [batch for batch, _ in decoded] or [CSRBatch.empty(feature_dim, labelled=False)]
    return CSRBatch.join(batches), [note for _, notes in decoded for note in notes]


class NotedRecordsDecoder:
    """Decodes a request piece by piece to the rows and notes that `decode_records` returns.

    Parameters
    ----------
    feature_dim : int
        Width of the rows.
    """

    def __init__(self, *, feature_dim: int) -> None:
        self._feature_dim = feature_dim
        self._splitter = RecordSplitter()
        self._start: list[bytes] | None = []  # until it is known that records have frames

    def feed(self, data: bytes) -> Iterator[tuple[CSRBatch, list[RecordNotes]]]:
        """Take the next bytes; yield the rows they complete, each with its notes.

        Raises
        ------
        UserError
            At the first record that cannot be read, as from `RecordIODecoder.feed`.
        """
        if self._start is not None:
            self._start += [data] if data else []
            if self._may_be_bare(b"".join(self._start[:4])):
                return
            data, self._start = b"".join(self._start), None
        yield from self._decode(self._splitter.feed(data))

    def close(self) -> Iterator[tuple[CSRBatch, list[RecordNotes]]]:
        """End the request; yield the last rows.

        Raises
        ------
        UserError
            As from `feed`, or if the source ends within a record.
        """
        bare = b"".join(self._start or [])
        yield from self._decode(Records([bare], [0], 0, None) if bare else self._splitter.close())

    @staticmethod
    def _may_be_bare(start: bytes) -> bool:
        return start[:1] in {b"", b"\x0a", b"\x12"} and start[:4] != MAGIC_BYTES

    def _decode(self, records: Records) -> Iterator[tuple[CSRBatch, list[RecordNotes]]]:
        return each_block(records, self._decode_block)

    def _decode_block(self, payloads: Sequence[bytes]) -> tuple[CSRBatch, list[RecordNotes]]:
        decoded = decode_few(payloads, self._feature_dim)
        if decoded is not None:
            return decoded
        block = Block.of(payloads)
        return tensor_rows(read_tensors(block, FEATURES), None, self._feature_dim), _notes(block)


def _notes(block: Block) -> list[RecordNotes]:
    notes = [NO_NOTES] * block.num_records
    for name, number in (("uid", UID), ("metadata", METADATA)):
        fields = block.fields.numbered(number, LENGTH)
        spans = zip(
            fields.message.tolist(), fields.start.tolist(), fields.end.tolist(), strict=True
        )
        for record, start, end in spans:
            try:
                text = block.data[start:end].decode()
            except UnicodeDecodeError as error:
                raise UserError(f"{name} is not UTF-8, as a protobuf string is") from error
            notes[record] = notes[record]._replace(**{name: text})
    return notes
