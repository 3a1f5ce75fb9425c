"""RecordIO-protobuf: SageMaker's Record messages to rows, and scores to Record messages.

What a record means as a row: `fm_algo.data.formats.tensor_rows`.

Source: SageMaker developer guide, "Common data formats for training" and "for inference".
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from fm_algo.data.formats import record_pb2
from fm_algo.data.formats.protobuf import LENGTH
from fm_algo.data.formats.recordio import (
    MAGIC_BYTES,
    Records,
    RecordSplitter,
    frame_record,
    record_place,
)
from fm_algo.data.formats.tensor_rows import least_feature_dim, tensor_labels, tensor_rows
from fm_algo.data.formats.tensors import FEATURES, LABEL, METADATA, UID, Block, read_tensors
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, Float32Array

_T = TypeVar("_T")

_BLOCK_BYTES = 1 << 21
"""Records are decoded in blocks of about this size, whose arrays stay in the cache."""


class RecordNotes(NamedTuple):
    """What a request's record says beside its features; its answer repeats it.

    Attributes
    ----------
    uid, metadata : str or None
        As in record.proto.
    """

    uid: str | None = None
    metadata: str | None = None


_NO_NOTES = RecordNotes()


class RecordIODecoder:
    """Rows of a RecordIO-protobuf source; a `RowDecoder`.

    Parameters
    ----------
    feature_dim : int
        Width of the rows.
    labelled : bool
        True: every record must have one label. False: labels are not looked at.
    """

    def __init__(self, *, feature_dim: int, labelled: bool) -> None:
        self._feature_dim = feature_dim
        self._labelled = labelled
        self._splitter = RecordSplitter()

    def feed(self, data: bytes) -> CSRBatch:
        """Take the next bytes; return the rows they complete, perhaps none.

        Raises
        ------
        UserError
            At the first record that cannot be read: its number and byte offset, the cause and what
            is allowed.
        """
        return self._decode(self._splitter.feed(data))

    def close(self) -> CSRBatch:
        """Say that no bytes follow; return the last row where its padding was missing.

        Raises
        ------
        UserError
            If the source ends within a record; or as `feed`.
        """
        return self._decode(self._splitter.close())

    def _decode(self, records: Records) -> CSRBatch:
        def decode(payloads: Sequence[bytes]) -> CSRBatch:
            block = Block.of(payloads)
            labels = tensor_labels(read_tensors(block, LABEL)) if self._labelled else None
            return tensor_rows(read_tensors(block, FEATURES), labels, self._feature_dim)

        batches = list(_each_block(records, decode))
        return CSRBatch.join(
            batches or [CSRBatch.empty(self._feature_dim, labelled=self._labelled)]
        )


def decode_records(data: bytes, *, feature_dim: int) -> tuple[CSRBatch, list[RecordNotes]]:
    """Rows of a whole request.

    Parameters
    ----------
    data : bytes
        Framed records; or one record without a frame, as batch transform sends it in local mode.
        The first bytes tell: a record begins with 0a or 12, and what begins with the magic's
        0a 23 d7 is no record, since no field of a map entry begins with d7.
    feature_dim : int
        Width of the rows.

    Returns
    -------
    batch : CSRBatch
        Without labels.
    notes : list of RecordNotes
        One a row.

    Raises
    ------
    UserError
        At the first record that cannot be read, as `RecordIODecoder.feed`.
    """
    decoder = NotedRecordsDecoder(feature_dim=feature_dim)
    decoded = [*decoder.feed(data), *decoder.close()]
    batches = [batch for batch, _ in decoded] or [CSRBatch.empty(feature_dim, labelled=False)]
    return CSRBatch.join(batches), [note for _, notes in decoded for note in notes]


class NotedRecordsDecoder:
    """Rows of a request with what its records say beside them, as `decode_records` finds them.

    Parameters
    ----------
    feature_dim : int
        Width of the rows.
    """

    def __init__(self, *, feature_dim: int) -> None:
        self._feature_dim = feature_dim
        self._splitter = RecordSplitter()
        self._start: list[bytes] | None = []  # until it tells that the records have frames

    def feed(self, data: bytes) -> Iterator[tuple[CSRBatch, list[RecordNotes]]]:
        """Take the next bytes; yield the rows they complete, each with its notes.

        Raises
        ------
        UserError
            At the first record that cannot be read, as `RecordIODecoder.feed`.
        """
        if self._start is not None:
            self._start += [data] if data else []
            if self._may_be_bare(b"".join(self._start[:4])):
                return
            data, self._start = b"".join(self._start), None
        yield from self._decode(self._splitter.feed(data))

    def close(self) -> Iterator[tuple[CSRBatch, list[RecordNotes]]]:
        """Say that no bytes follow; yield the last rows.

        Raises
        ------
        UserError
            As `feed`; if the source ends within a record.
        """
        bare = b"".join(self._start or [])
        yield from self._decode(Records([bare], [0], 0, None) if bare else self._splitter.close())

    @staticmethod
    def _may_be_bare(start: bytes) -> bool:
        return start[:1] in {b"", b"\x0a", b"\x12"} and start[:4] != MAGIC_BYTES

    def _decode(self, records: Records) -> Iterator[tuple[CSRBatch, list[RecordNotes]]]:
        return _each_block(records, self._decode_block)

    def _decode_block(self, payloads: Sequence[bytes]) -> tuple[CSRBatch, list[RecordNotes]]:
        block = Block.of(payloads)
        return tensor_rows(read_tensors(block, FEATURES), None, self._feature_dim), _notes(block)


def survey_records(data: bytes) -> tuple[int, bool]:
    """Find out how records that nobody described are to be decoded.

    Parameters
    ----------
    data : bytes
        The whole source.

    Returns
    -------
    feature_dim : int
        The least that holds every shape, key and dense row; 0 where there is nothing.
    labelled : bool
        Whether any record has a label.

    Raises
    ------
    UserError
        If a record is not well-formed, as `RecordIODecoder.feed`.
    """

    def survey(payloads: Sequence[bytes]) -> tuple[int, bool]:
        block = Block.of(payloads)
        width = least_feature_dim(read_tensors(block, FEATURES))
        return width, bool(read_tensors(block, LABEL).found.any())

    surveys = list(_each_block(_split_frames(data), survey))
    width = max((width for width, _ in surveys), default=0)
    return width, any(labelled for _, labelled in surveys)


def encode_predictions(
    score: Float32Array,
    predicted_label: Float32Array | None,
    notes: Sequence[RecordNotes] | None = None,
) -> bytes:
    """Answer a request: one framed record a row.

    Parameters
    ----------
    score : float32, shape (num_rows,)
        Goes under the label's key "score".
    predicted_label : float32, shape (num_rows,), or None
        Goes under the label's key "predicted_label"; None for a regressor.
    notes : sequence of RecordNotes, length num_rows, optional
        What each answer repeats from its request.

    Returns
    -------
    bytes

    Notes
    -----
    SageMaker developer guide, "Common data formats for inference".
    """
    num_rows = len(score)
    cells = []  # of a table of bytes, a row an answer: they differ in four bytes an entry
    for name, column in (("predicted_label", predicted_label), ("score", score)):
        if column is not None:
            record = record_pb2.Record()
            record.label[name].float32_tensor.values.append(0)
            entry = np.frombuffer(record.SerializeToString(), np.uint8)[:-4]
            numbers = np.ascontiguousarray(column, "<f4").view(np.uint8)
            cells += [np.tile(entry, (num_rows, 1)), numbers.reshape(num_rows, 4)]
    table = np.hstack(cells)
    answers, width = table.tobytes(), table.shape[1]
    rows = zip(range(0, len(answers), width), notes or [_NO_NOTES] * num_rows, strict=True)
    return b"".join(
        frame_record(answers[start : start + width] + _encode_notes(note)) for start, note in rows
    )


def _encode_notes(notes: RecordNotes) -> bytes:
    if notes == _NO_NOTES:
        return b""
    return record_pb2.Record(uid=notes.uid, metadata=notes.metadata).SerializeToString()


def _notes(block: Block) -> list[RecordNotes]:
    notes = [_NO_NOTES] * block.num_records
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


def _split_frames(data: bytes) -> Records:
    splitter = RecordSplitter()
    fed, closed = splitter.feed(data), splitter.close()
    return Records(fed.payloads + closed.payloads, fed.offsets + closed.offsets, 0, closed.error)


def _each_block(records: Records, decode: Callable[[Sequence[bytes]], _T]) -> Iterator[_T]:
    """Decode records block by block; raise at the first bad one, with its place."""
    payloads = records.payloads
    block_of = np.cumsum([*map(len, payloads)]) // _BLOCK_BYTES
    cuts = [0, *(np.flatnonzero(np.diff(block_of)) + 1).tolist(), len(payloads)]
    for start, stop in pairwise(cuts if payloads else []):
        try:
            decoded = decode(payloads[start:stop])
        except UserError as error:
            bad, cause = _first_bad(payloads, start, stop, decode, error)
            place = record_place(records.first + bad, records.offsets[bad])
            raise UserError(f"{place}: {cause.message}") from error
        yield decoded
    if records.error:
        raise records.error


def _first_bad(
    payloads: Sequence[bytes],
    start: int,
    stop: int,
    decode: Callable[[Sequence[bytes]], object],
    error: UserError,
) -> tuple[int, UserError]:
    """Halve a block that failed until a record fails alone: then its message is about it.

    A block fails if one of its records does, so `decode` need not tell which; and what is said of
    a record does not depend on the block it came in.
    """
    while stop - start > 1:
        middle = (start + stop) // 2
        nearer = _failure(decode, payloads[start:middle])
        if nearer:
            stop, error = middle, nearer
        else:
            start = middle
    return start, _failure(decode, payloads[start:stop]) or error


def _failure(
    decode: Callable[[Sequence[bytes]], object], payloads: Sequence[bytes]
) -> UserError | None:
    try:
        decode(payloads)
    except UserError as error:
        return error
    return None
