import struct
from itertools import pairwise

import numpy as np
import pytest

from fm_algo.data.bulk import recordio
from fm_algo.data.bulk.frame import RowArrays, append_rows
from fm_algo.data.bulk.record import RecordForm
from fm_algo.data.bulk.recordio import BulkRecordIODecoder
from fm_algo.data.formats.record import RecordIODecoder
from fm_algo.data.formats.record_pb2 import Record
from fm_algo.data.formats.recordio import MAGIC_BYTES, frame_record
from fm_algo.errors import UserError

FEATURE_DIM = 300
KINDS = ("float32_tensor", "float64_tensor", "int32_tensor")


def set_tensor(value, kind, values, keys=(), shape=()):
    tensor = getattr(value, kind)
    tensor.SetInParent()
    tensor.values.extend(values)
    tensor.keys.extend(keys)
    tensor.shape.extend(shape)


def record(values, keys=(), shape=(), *, kind="float32_tensor", label=1, label_kind=None, **notes):
    message = Record(**notes)
    set_tensor(message.features["values"], kind, values, keys, shape)
    if label is not None:
        set_tensor(message.label["values"], label_kind or kind, [label])
    return message.SerializeToString()


def delimited(number, content):
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def entry(number, tensor, *, kind=2, key=b"values"):
    return delimited(number, delimited(1, key) + delimited(2, delimited(kind, tensor)))


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


def part(flag, content):
    header = MAGIC_BYTES + struct.pack("<I", flag << 29 | len(content))
    return header + content + bytes(-len(content) % 4)


LABEL = entry(2, delimited(1, floats(1)))
TENSOR = [delimited(1, floats(2, 3)), delimited(2, b"\x04\x81\x01"), delimited(3, b"\xac\x02")]
PLAIN = entry(1, b"".join(TENSOR)) + LABEL


def compiled(data, *, labelled=True, max_rows=50, max_entries=2000):
    """What the compiled function makes of a source: where it stops, and the rows."""
    indptr, labels = np.zeros(max_rows + 1, np.int64), np.zeros(max_rows, np.float32)
    indices, values = np.zeros(max_entries, np.int32), np.zeros(max_entries, np.float32)
    source = np.frombuffer(data, np.uint8)
    arrays = RowArrays(indptr, indices, values, labels)
    position, num_rows = append_rows(source, 0, RecordForm(FEATURE_DIM, labelled), arrays, 0)
    rows = [
        (indices[first:last].tolist(), values[first:last].tolist(), label)
        for (first, last), label in zip(pairwise(indptr), labels.tolist(), strict=True)
    ]
    return position, rows[:num_rows]


def decoded(decoder_type, data, *, labelled=True):
    batch = decoder_type(feature_dim=FEATURE_DIM, labelled=labelled).feed(data)
    labels = batch.labels.tolist() if labelled else [0.0] * batch.num_rows
    return [
        (batch.indices[first:last].tolist(), batch.values[first:last].tolist(), label)
        for (first, last), label in zip(pairwise(batch.indptr), labels, strict=True)
    ]


def outcome(decoder_type, data):
    """The rows or the error."""
    try:
        return decoded(decoder_type, data)
    except UserError as error:
        return error.message


def cycle(numbers):
    return [numbers[i % len(numbers)] for i in range(FEATURE_DIM)]


USUAL = {
    "sparse": PLAIN,
    "label first": LABEL + entry(1, b"".join(TENSOR)),
    **{
        f"fields in order {a}{b}{c}": entry(1, TENSOR[a] + TENSOR[b] + TENSOR[c]) + LABEL
        for a, b, c in [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    },
    "no shape": entry(1, TENSOR[0] + TENSOR[1]) + LABEL,
    "keys that descend": record([1, 2, 3], [200, 7, 0], [300]),
    "no entries": record([], [], [300]),
    "no entries, empty fields": entry(1, b"\x0a\x00\x12\x00\x1a\x01\x05") + LABEL,
    "explicit zero": record([0, 1], [3, 4], [300]),
    "notes": record([1], [2], [300], uid="u", metadata="{}", configuration="x" * 200),
    "int32 label": record([1], [2], [300], label_kind="int32_tensor", label=-7),
    "float64 label": record([1], [2], [300], label_kind="float64_tensor", label=0.1),
    "every length of key": entry(
        1,
        delimited(1, floats(1, 2, 3, 4)) + delimited(2, b"\x05\x86\x01\x87\x80\x00\x88\x80\x80\0"),
    )
    + LABEL,
    "overlong length": entry(1, b"\x0a\x84\x80\x00" + floats(9) + b"\x12\x01\x04") + LABEL,
    **{f"sparse {kind}": record([1, -2], [2, 5], [300], kind=kind) for kind in KINDS},
    **{f"dense {kind}": record(cycle([0, 1, 0, -3]), kind=kind) for kind in KINDS},
    "dense zeros": record([0.0, -0.0] * 150),
    "a value that float32 rounds": record([0.1], [1], [300], kind="float64_tensor"),
}


@pytest.mark.parametrize("payload", USUAL.values(), ids=USUAL)
def test_what_writers_write_is_decoded_compiled(payload):
    data = frame_record(payload) * 3
    assert compiled(data) == (len(data), decoded(RecordIODecoder, data))


@pytest.mark.parametrize("payload", USUAL.values(), ids=USUAL)
def test_labels_that_are_not_wanted_are_passed_over(payload):
    data = frame_record(payload) * 2
    assert compiled(data, labelled=False) == (
        len(data),
        decoded(RecordIODecoder, data, labelled=False),
    )


UNUSUAL = {
    "a feature twice": record([1, 2, 3], [5, 6, 5], [300]),
    "two dimensions": record([1], [5], [1, 300]),
    "no label": record([1], [5], [300], label=None),
    "two labels": entry(1, b"".join(TENSOR)) + entry(2, delimited(1, floats(1, 2))),
    "two entries": entry(1, b"".join(TENSOR)) * 2 + LABEL,
    "another key": entry(1, b"".join(TENSOR), key=b"Values") + LABEL,
    "value before key": delimited(
        1, delimited(2, delimited(2, b"".join(TENSOR))) + delimited(1, b"values")
    )
    + LABEL,
    "values not packed": entry(1, b"\x0d" + floats(1) + b"\x12\x01\x05") + LABEL,
    "keys in two fields": entry(1, TENSOR[0] + b"\x12\x01\x05" + b"\x12\x01\x06") + LABEL,
    "an unknown field": PLAIN + b"\x70\x01",
    "a feature too large": record([1], [300], [300]),
    "a feature of 64 bits": record([1], [2**64 - 1], [300]),
    "a feature of 33 bits": record([1], [2**32 + 1], [300]),
    "not a number": record([float("nan")], [1], [300]),
    "infinite": record([float("inf")] + [1] * 299),
    "too large for float32": record([1e39], [1], [300], kind="float64_tensor"),
    "a label that is infinite": record([1], [1], [300], label=float("-inf")),
    "more values than keys": record([1, 2], [1], [300]),
    "more keys than values": record([1], [1, 2], [300]),
    "no values and no shape": record([]),
    "values too few": record([1, 2, 3]),
    "half a value": entry(1, b"\x0a\x03abc") + LABEL,
    "a key without end": entry(1, delimited(1, floats(1)) + b"\x12\x01\x85") + LABEL,
    "a key that ends in the next field": entry(
        1, delimited(1, floats(1)) + b"\x12\x01\x85" + delimited(3, b"\x01")
    )
    + LABEL,
    "bytes": entry(1, b"", kind=9) + LABEL,
    "nothing": b"",
}
UNUSUAL_FRAMES = {
    "a record in parts": part(1, PLAIN + b"\x1a\x04") + part(3, b""),
    **{name: frame_record(payload) for name, payload in UNUSUAL.items()},
}


@pytest.mark.parametrize("frame", UNUSUAL_FRAMES.values(), ids=UNUSUAL_FRAMES)
def test_the_compiled_function_stops_before_a_record_that_is_unusual(frame):
    good = frame_record(PLAIN) * 2
    assert compiled(good + frame + good) == (len(good), decoded(RecordIODecoder, good))


@pytest.mark.parametrize("few_bytes", [1, 1 << 14])
@pytest.mark.parametrize("frame", UNUSUAL_FRAMES.values(), ids=UNUSUAL_FRAMES)
def test_unusual_records_are_read_or_refused_as_by_the_plain_decoder(frame, few_bytes, monkeypatch):
    monkeypatch.setattr(recordio, "_FEW_BYTES", few_bytes)
    good = frame_record(PLAIN)
    data = good * 3 + frame + good * 2
    found = outcome(BulkRecordIODecoder, data)
    assert found == outcome(RecordIODecoder, data)
    assert isinstance(found, list) or found.startswith("record 3 (byte offset ")


@pytest.mark.parametrize("max_rows", [0, 1, 2, 3])
@pytest.mark.parametrize("max_entries", range(7))
def test_the_compiled_function_stops_where_the_arrays_are_full(max_rows, max_entries):
    frame = frame_record(PLAIN)
    position, rows = compiled(frame * 3, max_rows=max_rows, max_entries=max_entries)
    assert len(rows) == min(max_rows, max_entries // 2)
    assert position == len(frame) * len(rows)


def test_records_in_which_integers_take_a_byte_come_out_whole():
    data = frame_record(record([1] * FEATURE_DIM, kind="int32_tensor")) * 9
    decoder = BulkRecordIODecoder(feature_dim=FEATURE_DIM, labelled=True)
    assert decoder.feed(data).num_entries == 9 * FEATURE_DIM


def test_a_source_that_ends_within_a_record_is_refused():
    decoder = BulkRecordIODecoder(feature_dim=FEATURE_DIM, labelled=True)
    frame = frame_record(PLAIN)
    assert decoder.feed(frame * 2 + frame[:20]).num_rows == 2
    with pytest.raises(UserError, match=rf"record 2 \(byte offset {2 * len(frame)}\): truncated"):
        decoder.close()


def test_arrays_are_no_larger_than_their_rows():
    decoder = BulkRecordIODecoder(feature_dim=FEATURE_DIM, labelled=True)
    batch = decoder.feed(frame_record(PLAIN) * 1000)
    for array in (batch.indptr, batch.indices, batch.values, batch.labels):
        assert array.base is None
        assert array.flags.owndata
