"""Decode a few records fast, with protobuf's official runtime.

The rows are those of `tensor_rows`. That module works on arrays, but with only a few records, a
NumPy call takes longer than decoding all their bytes. The runtime reads a record in a microsecond
but refuses without saying what is wrong. So `tensors` and `tensor_rows` take whatever it refuses
or is not a row, and report the mistake.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from fm_algo.data.formats import record_pb2
from fm_algo.data.formats.record_notes import NO_NOTES, RecordNotes
from fm_algo.sparse import CSRBatch, to_float32

_MAX_BYTES = 1 << 13
"""Size of a block of about 27 records of 39 entries. From here on, arrays are as fast or faster."""

_TENSORS = ("float32_tensor", "float64_tensor", "int32_tensor")


def decode_few(
    payloads: Sequence[bytes], feature_dim: int
) -> tuple[CSRBatch, list[RecordNotes]] | None:
    """Decode records of a request.

    Parameters
    ----------
    payloads : sequence of bytes
        One record each.
    feature_dim : int
        Width of the rows.

    Returns
    -------
    batch : CSRBatch
        Without labels.
    notes : list of RecordNotes
        One per row.
    None instead, if there are many records, or one is not a row or has an unusual form.

    Raises
    ------
    UserError
        If the values of a feature add up to more than a float32 can hold.
    """
    if sum(map(len, payloads)) > _MAX_BYTES:
        return None
    indices: list[int] = []
    values: list[float] = []
    indptr, notes = [0], []
    try:
        for payload in payloads:
            record = _Record.FromString(payload)
            row = _read_row(record.features, feature_dim)
            note = _read_notes(record)
            if row is None or note is None:
                return None
            indices += row[0]
            values += row[1]
            indptr.append(len(indices))
            notes.append(note)
    except (DecodeError, UnicodeDecodeError):
        return None
    numbers = to_float32(np.array(values, np.float64))
    if max(indices, default=0) >= feature_dim or not np.isfinite(numbers).all():
        return None
    arrays = np.array(indptr, np.int64), np.array(indices, np.int32), numbers
    return CSRBatch(*arrays, None, feature_dim).combine_duplicates(), notes


def _read_row(entries: Any, feature_dim: int) -> tuple[list[int], list[float]] | None:  # noqa: ANN401
    """Return features and values of the only entry that a map should have."""
    if len(entries) != 1 or entries[0].key != "values":
        return None
    kind = entries[0].value.WhichOneof("value")
    if kind not in _TENSORS:
        return None
    tensor = getattr(entries[0].value, kind)
    keys, values, num_dimensions = tensor.keys[:], tensor.values[:], len(tensor.shape)
    if num_dimensions > 1:
        return None
    if not keys and len(values) == feature_dim:
        row = to_float32(np.array(values, np.float64))
        kept = np.flatnonzero(row)
        return kept.tolist(), row[kept].tolist()
    is_sparse = keys or num_dimensions
    return (keys, values) if is_sparse and len(keys) == len(values) else None


def _read_notes(record: Any) -> RecordNotes | None:  # noqa: ANN401
    uid = record.uid if record.HasField("uid") else None
    metadata = record.metadata if record.HasField("metadata") else None
    if uid is metadata is None:
        return NO_NOTES
    if isinstance(uid, bytes) or isinstance(metadata, bytes):  # not UTF-8: bytes from the C runtime
        return None
    return RecordNotes(uid, metadata)


def _make_record_class() -> Any:  # noqa: ANN401
    """Return `Record` with its maps declared as repeated entries, their form on the wire.

    The C runtime drops a map entry that has an unknown field, against protobuf's rules.
    """
    file = FileDescriptorProto()
    record_pb2.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        for entry in message.nested_type:
            entry.ClearField("options")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(record_pb2.Record.DESCRIPTOR.full_name))


_Record = _make_record_class()
