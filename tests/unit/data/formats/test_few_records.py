import numpy as np
import pytest

from fm_algo.data.formats import few_records
from fm_algo.data.formats.few_records import decode_few
from fm_algo.data.formats.record_notes import RecordNotes
from fm_algo.data.formats.record_pb2 import Record
from fm_algo.errors import UserError

FEATURE_DIM = 4
KINDS = ("float32_tensor", "float64_tensor", "int32_tensor")


def record(values, keys=(), shape=(), *, kind="float32_tensor", **notes):
    message = Record(**notes)
    tensor = getattr(message.features["values"], kind)
    tensor.SetInParent()
    tensor.values.extend(values)
    tensor.keys.extend(keys)
    tensor.shape.extend(shape)
    return message.SerializeToString()


def decoded(*payloads):
    batch, notes = decode_few(payloads, FEATURE_DIM)
    return batch.indptr.tolist(), batch.indices.tolist(), batch.values.tolist(), notes


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_dense_and_empty_rows_are_read(kind):
    payloads = (
        record([0, -2], [3, 1], [FEATURE_DIM], kind=kind),
        record([0, 1, 0, 2], kind=kind),
        record([], [], [FEATURE_DIM], kind=kind),
        record([5], [0], kind=kind),
    )
    assert decoded(*payloads) == (
        [0, 2, 4, 4, 5],
        [3, 1, 1, 3, 0],
        [0, -2, 1, 2, 5],
        [RecordNotes()] * 4,
    )


def test_the_arrays_have_the_types_of_a_batch():
    for payloads in ([], [record([1], [0])]):
        batch, _ = decode_few(payloads, FEATURE_DIM)
        assert batch.indptr.dtype == np.int64
        assert batch.indices.dtype == np.int32
        assert batch.values.dtype == np.float32
        assert batch.labels is None


def test_notes_are_told():
    assert decoded(record([1], [0], uid="ü", metadata=""))[3] == [RecordNotes("ü", "")]


def test_a_number_that_becomes_0_as_float32_is_dropped_from_a_dense_row():
    assert decoded(record([1e-60, 0, 0, 1], kind="float64_tensor"))[:3] == ([0, 1], [3], [1])


def test_values_of_a_feature_that_stands_twice_are_added_up():
    assert decoded(record([1, 2], [3, 3]))[:3] == ([0, 1], [3], [3])
    with pytest.raises(UserError, match="add up to more than a float32 holds"):
        decoded(record([3e38, 3e38], [3, 3]))


LEFT_TO_THE_OTHERS = {
    "damage": b"\x0a\x05ab",
    "no features": b"",
    "another key": record([1], [0]).replace(b"values", b"Values"),
    "two entries": record([1], [0]) * 2,
    "bytes": b"\x0a\x0c\x0a\x06values\x12\x02\x4a\x00",
    "no tensor": b"\x0a\x0a\x0a\x06values\x12\x00",
    "two dimensions": record([1], [0], [2, 2]),
    "more keys than values": record([1], [0, 1]),
    "a feature too large": record([1], [FEATURE_DIM]),
    "a feature of 64 bits": record([1], [2**64 - 1]),
    "too few values": record([1, 2]),
    "nothing, no shape": record([]),
    "nan": record([np.nan], [0]),
    "infinite in a dense row": record([0, 0, 0, np.inf]),
    "too large": record([1e39], [0], kind="float64_tensor"),
    "no UTF-8": record([1], [0]) + b"\x1a\x01\xff",
    "a label that is damaged": record([1], [0]) + b"\x12\x02\x12\x05",
}


@pytest.mark.parametrize("payload", LEFT_TO_THE_OTHERS.values(), ids=LEFT_TO_THE_OTHERS)
def test_what_is_wrong_or_unusual_is_left_to_those_who_can_say_why(payload):
    assert decode_few([record([1], [0]), payload], FEATURE_DIM) is None


def test_an_unknown_field_in_an_entry_of_a_map_does_not_hide_it():
    entry = record([1], [2])[2:] + b"\x70\x01"
    payload = b"\x0a" + bytes([len(entry)]) + entry
    assert decoded(payload)[:3] == ([0, 1], [2], [1])


def test_many_records_are_left_to_arrays(monkeypatch):
    payload = record([1], [0])
    monkeypatch.setattr(few_records, "_MAX_BYTES", 3 * len(payload))
    assert decode_few([payload] * 3, FEATURE_DIM) is not None
    assert decode_few([payload] * 4, FEATURE_DIM) is None
