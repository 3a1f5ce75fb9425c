"""RecordIO-protobuf: decode SageMaker's Record messages to rows, encode scores as such messages.

`fm_algo.data.formats.tensor_rows` defines what a record means as a row.
`fm_algo.data.formats.record_request` reads what a request's records hold beside their rows.

Source: SageMaker developer guide, "Common data formats for training" and "for inference".
"""

from collections.abc import Sequence

import numpy as np

from fm_algo.data.formats import record_pb2
from fm_algo.data.formats.record_block import each_block
from fm_algo.data.formats.record_notes import NO_NOTES, RecordNotes
from fm_algo.data.formats.recordio import Records, RecordSplitter, frame_record
from fm_algo.data.formats.tensor_rows import least_feature_dim, tensor_labels, tensor_rows
from fm_algo.data.formats.tensors import FEATURES, LABEL, Block, read_tensors
from fm_algo.sparse import CSRBatch, Float32Array


class RecordIODecoder:
    """RecordIO-protobuf to rows; a `RowDecoder`.

    Parameters
    ----------
    feature_dim : int
        Width of the rows.
    labelled : bool
        True: every record must have one label. False: labels are ignored.
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
            At the first record that cannot be read; names its number and byte offset, the cause
            and what is allowed.
        """
        return self._decode(self._splitter.feed(data))

    def close(self) -> CSRBatch:
        """End the source; return its last row if that row's padding was missing.

        Raises
        ------
        UserError
            If the source ends within a record, or as from `feed`.
        """
        return self._decode(self._splitter.close())

    def _decode(self, records: Records) -> CSRBatch:
        def decode(payloads: Sequence[bytes]) -> CSRBatch:
            block = Block.of(payloads)
            labels = tensor_labels(read_tensors(block, LABEL)) if self._labelled else None
            return tensor_rows(read_tensors(block, FEATURES), labels, self._feature_dim)

        batches = list(each_block(records, decode))
        return CSRBatch.join(
            batches or [CSRBatch.empty(self._feature_dim, labelled=self._labelled)]
        )


def survey_records(data: bytes) -> tuple[int, bool]:
    """Find out feature_dim and labels of records that come without a description.

    Parameters
    ----------
    data : bytes
        The whole source.

    Returns
    -------
    feature_dim : int
        The least that holds every shape, key and dense row; 0 if there is none.
    labelled : bool
        Whether any record has a label.

    Raises
    ------
    UserError
        If a record is not well-formed, as from `RecordIODecoder.feed`.
    """

    def survey(payloads: Sequence[bytes]) -> tuple[int, bool]:
        block = Block.of(payloads)
        width = least_feature_dim(read_tensors(block, FEATURES))
        return width, bool(read_tensors(block, LABEL).found.any())

    surveys = list(each_block(_split_frames(data), survey))
    width = max((width for width, _ in surveys), default=0)
    return width, any(labelled for _, labelled in surveys)


def encode_predictions(
    score: Float32Array,
    predicted_label: Float32Array | None,
    notes: Sequence[RecordNotes] | None = None,
) -> bytes:
    """Encode the answer to a request: one framed record per row.

    Parameters
    ----------
    score : float32, shape (num_rows,)
        Goes under the label's key "score".
    predicted_label : float32, shape (num_rows,), or None
        Goes under the label's key "predicted_label"; None for a regressor.
    notes : sequence of RecordNotes, length num_rows, optional
        What each answer repeats from the request.

    Returns
    -------
    bytes

    Notes
    -----
    SageMaker developer guide, "Common data formats for inference".
    """
    num_rows = len(score)
    cells = []  # columns of a byte table, one row per answer: rows differ in four bytes per entry
    for name, column in (("predicted_label", predicted_label), ("score", score)):
        if column is not None:
            record = record_pb2.Record()
            record.label[name].float32_tensor.values.append(0)
            entry = np.frombuffer(record.SerializeToString(), np.uint8)[:-4]
            numbers = np.ascontiguousarray(column, "<f4").view(np.uint8)
            cells += [np.tile(entry, (num_rows, 1)), numbers.reshape(num_rows, 4)]
    table = np.hstack(cells)
    answers, width = table.tobytes(), table.shape[1]
    rows = zip(range(0, len(answers), width), notes or [NO_NOTES] * num_rows, strict=True)
    return b"".join(
        frame_record(answers[start : start + width] + _encode_notes(note)) for start, note in rows
    )


def _encode_notes(notes: RecordNotes) -> bytes:
    if notes == NO_NOTES:
        return b""
    return record_pb2.Record(uid=notes.uid, metadata=notes.metadata).SerializeToString()


def _split_frames(data: bytes) -> Records:
    splitter = RecordSplitter()
    fed, closed = splitter.feed(data), splitter.close()
    return Records(fed.payloads + closed.payloads, fed.offsets + closed.offsets, 0, closed.error)
