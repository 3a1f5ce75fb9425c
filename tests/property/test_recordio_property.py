"""RecordIO-protobuf against the official runtime.

`expected` is a second decoder, slow and plain: the runtime parses each record, Python says what it
means. Whatever the bytes, the real one must give the same rows, or refuse where it refuses.
"""

import io
import math
import struct
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fm_algo import read_recordio, write_recordio
from fm_algo.data.formats import few_records, protobuf, record_pb2
from fm_algo.data.formats.record import RecordIODecoder
from fm_algo.data.formats.record_pb2 import Record
from fm_algo.data.formats.record_request import decode_records
from fm_algo.data.formats.recordio import MAGIC_BYTES, frame_record
from fm_algo.errors import UserError

FEATURE_DIM = 6

# How long an example takes is the machine's affair.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY_EXAMPLES = settings(UNHURRIED, max_examples=200)

KINDS = {2: "float32_tensor", 3: "float64_tensor", 7: "int32_tensor", 9: "bytes"}


class NotARowError(Exception):
    """The record is not a row."""


# --- the second decoder ---------------------------------------------------------------------------


def mapless_record():
    """Record with its maps declared as what they are on the wire, repeated entries.

    The C runtime drops a map entry that has an unknown field, which protobuf's rules do not ask for
    and other runtimes do not do.
    """
    file = FileDescriptorProto()
    record_pb2.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        for entry in message.nested_type:
            entry.ClearField("options")
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(Record.DESCRIPTOR.full_name))


MaplessRecord = mapless_record()


def expected_row(payload, *, labelled):
    """Return {feature: value} and the label, None where none is wanted."""
    try:
        record = MaplessRecord.FromString(payload)
    except DecodeError as error:
        raise NotARowError from error
    tensor = the_tensor(record.features)
    values = [to_float32(value) for value in tensor.values]
    check(math.prod(tensor.shape) == FEATURE_DIM or len(tensor.shape) < 2)
    if tensor.keys:
        check(len(tensor.keys) == len(values) and max(tensor.keys) < FEATURE_DIM)
        row = {}
        for key, value in zip(tensor.keys, values, strict=True):
            row.setdefault(key, []).append(value)
        row = {key: to_float32(sum(parts)) for key, parts in row.items()}
    else:
        check(len(values) == FEATURE_DIM or (not values and tensor.shape))
        row = {key: value for key, value in enumerate(values) if value != 0}
    if not labelled:
        return row, None
    label = the_tensor(record.label).values
    check(len(label) == 1)
    return row, to_float32(label[0])


def the_tensor(entries):
    try:
        check(entries and all(entry.key == "values" for entry in entries))
    except UnicodeDecodeError as error:
        raise NotARowError from error
    value = entries[-1].value
    kind = value.WhichOneof("value")
    check(kind not in {None, "bytes"})
    return getattr(value, kind)


def to_float32(number):
    check(math.isfinite(number) and abs(number) < 3.4028235677973366e38)
    return float(np.float32(number))


def check(fact):
    if not fact:
        raise NotARowError


def expected_payloads(data):
    """Yield the payloads of a stream of frames."""
    parts = []
    while data:
        check(len(data) >= 8 and data[:4] == MAGIC_BYTES)
        (word,) = struct.unpack("<I", data[4:8])
        flag, length = word >> 29, word & ((1 << 29) - 1)
        check(flag in ((2, 3) if parts else (0, 1)) and len(data) >= 8 + length)
        parts.append(data[8 : 8 + length])
        data = data[8 + length + -length % 4 :]
        if flag in (0, 3):
            yield MAGIC_BYTES.join(parts)
            parts = []
    check(not parts)


def expected(data, *, labelled=True):
    """Return the good rows and labels at the beginning, and whether anything bad follows."""
    rows = []
    try:
        rows.extend(expected_row(payload, labelled=labelled) for payload in expected_payloads(data))
    except NotARowError:
        return rows, True
    return rows, False


# --- the real one ---------------------------------------------------------------------------------


def decode(pieces, *, labelled=True):
    """Return the rows and labels given out, and the error's text or None."""
    decoder = RecordIODecoder(feature_dim=FEATURE_DIM, labelled=labelled)
    rows = []
    try:
        for piece in pieces:
            rows += rows_of(decoder.feed(piece))
        rows += rows_of(decoder.close())
    except UserError as error:
        return rows, error.message
    return rows, None


def rows_of(batch):
    bounds = batch.indptr.tolist()
    labels = [None] * batch.num_rows if batch.labels is None else batch.labels.tolist()
    return [
        (dict(zip(batch.indices[a:b].tolist(), batch.values[a:b].tolist(), strict=True)), label)
        for a, b, label in zip(bounds, bounds[1:], labels, strict=False)
    ]


def assert_decodes_as_expected(data, *, labelled=True):
    rows, bad = expected(data, labelled=labelled)
    one_by_one, message = decode([data[i : i + 1] for i in range(len(data))], labelled=labelled)
    assert one_by_one == rows
    assert (message is not None) == bad
    at_once, same_message = decode([data], labelled=labelled)
    assert same_message == message
    assert at_once == rows or (bad and at_once == [])
    if bad:
        assert message.startswith(f"record {len(rows)} (byte offset ")


# --- what goes in ---------------------------------------------------------------------------------


def varint(number):
    encoded = b""
    while number > 127:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def delimited(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


float32s = st.floats(-100, 100, width=32) | st.floats(width=32)
doubles = st.floats(-100, 100) | st.floats()
int32s = st.integers(-3, 3) | st.integers(-(2**31), 2**31 - 1)
keys = st.integers(0, FEATURE_DIM - 1) | st.integers(0, FEATURE_DIM + 1) | st.integers(0, 2**64 - 1)


@st.composite
def good_tensors(draw, *, single=False):
    """(kind, values, keys, shape) of a row, or of a label."""
    kind = draw(st.sampled_from([2, 3, 7]))
    number = st.integers(-2, 2) if kind == 7 else st.integers(-2, 2).map(lambda n: n / 4)
    if single:
        return kind, [draw(number)], [], []
    form = draw(st.sampled_from(["dense", "sparse", "empty"]))
    if form == "dense":
        return kind, draw(st.lists(number, min_size=FEATURE_DIM, max_size=FEATURE_DIM)), [], []
    columns = [] if form == "empty" else draw(st.lists(st.integers(0, FEATURE_DIM - 1), max_size=9))
    values = draw(st.lists(number, min_size=len(columns), max_size=len(columns)))
    shape = draw(st.sampled_from([[FEATURE_DIM], [2, 3], [4], [99]]))
    return kind, values, columns, shape


@st.composite
def any_tensors(draw):
    kind = draw(st.sampled_from([2, 3, 7]))
    number = {2: float32s, 3: doubles, 7: int32s}[kind]
    return (
        kind,
        draw(st.lists(number, max_size=FEATURE_DIM + 1)),
        draw(st.lists(keys, max_size=3)),
        draw(st.lists(st.sampled_from([0, 1, 2, 3, 6, 2**64 - 1]), max_size=3)),
    )


def set_tensor(value, tensor):
    kind, values, columns, shape = tensor
    message = getattr(value, KINDS[kind])
    message.SetInParent()
    message.values.extend(values)
    message.keys.extend(columns)
    message.shape.extend(shape)


def as_record(features, label, uid=None):
    record = Record(uid=uid)
    if features:
        set_tensor(record.features["values"], features)
    if label:
        set_tensor(record.label["values"], label)
    return record.SerializeToString()


good_records = st.builds(
    as_record,
    good_tensors(),
    good_tensors(single=True),
    st.none() | st.text(max_size=3),
)
any_records = good_records | st.builds(
    as_record, st.none() | any_tensors(), st.none() | good_tensors(single=True) | any_tensors()
)


@st.composite
def chunks(draw, number, encoded, wire):
    """A repeated field: each number packed with others or alone, in order."""
    result = b""
    while encoded:
        count = draw(st.integers(1, len(encoded)))
        chunk, encoded = encoded[:count], encoded[count:]
        if draw(st.booleans()):
            result += delimited(number, b"".join(chunk))
        else:
            result += b"".join(varint(number << 3 | wire) + each for each in chunk)
    return result + (delimited(number, b"") if draw(st.booleans()) else b"")


UNKNOWN_FIELDS = [
    b"",
    delimited(14, b"??"),
    delimited(99, b""),
    varint(14 << 3) + b"\x96\x01",
    varint(14 << 3 | 5) + b"1234",
    varint(14 << 3 | 1) + b"12345678",
    b"\x73" + delimited(1, b"in a group") + b"\x74",
    b"\x1d1234",  # number 3, of a wire type that is nowhere its own
]


@st.composite
def encoded_tensors(draw, tensor):
    """One tensor message in any of its encodings."""
    kind, values, columns, shape = tensor
    numbers = {
        2: (5, lambda x: struct.pack("<f", x)),
        3: (1, lambda x: struct.pack("<d", x)),
        7: (0, lambda x: varint(x % 2**64)),
    }
    wire, encode = numbers[kind]
    fields = [
        draw(chunks(1, [encode(value) for value in values], wire)),
        draw(chunks(2, [varint(key) for key in columns], 0)),
        draw(chunks(3, [varint(size) for size in shape], 0)),
        draw(st.sampled_from(UNKNOWN_FIELDS)),
    ]
    return b"".join(draw(st.permutations(fields)))


@st.composite
def encoded_maps(draw, number, good, wild):
    """The entries of one map.

    Tame ones mean `good`, though by detours: what is replaced stands before it. In wild ones keys,
    values and members of the oneof may be missing, repeated, wrong or out of order.
    """
    tensors = good if not wild else good | any_tensors()
    unknown = st.sampled_from(
        [*UNKNOWN_FIELDS, *([b"\x8a\x80\x00\x00", b"\x08\x01"] if wild else [])]
    )
    some = st.sampled_from([0, 1, 1, 1, 2, 3] if wild else [1, 1, 1, 2])
    keys_of_map = st.sampled_from([b"values"] * 7 + ([b"", b"value", b"\xff"] if wild else []))
    result = b""
    for _ in range(draw(some)):
        members = []
        for _ in range(draw(some)):
            tensor = draw(tensors)
            if not wild and members and members[-1][0] == varint(tensor[0] << 3 | 2)[0]:
                members.clear()  # else they would merge
            members.append(delimited(tensor[0], draw(encoded_tensors(tensor))))
        if wild and draw(st.integers(0, 15)) == 0:
            members.append(delimited(9, delimited(1, b"x") + delimited(2, b"y")))
        cut = draw(st.integers(0, len(members)))
        parts = [  # two values of one entry are one: protobuf merges them
            delimited(2, b"".join(members[:cut]) + draw(unknown)),
            delimited(2, b"".join(members[cut:]) + draw(unknown)),
        ]
        parts.insert(draw(st.integers(0, 2)), delimited(1, draw(keys_of_map)))
        if wild:
            parts = draw(st.lists(st.sampled_from(parts), max_size=4))
        result += delimited(number, draw(unknown) + b"".join(parts))
    return result


@st.composite
def strange_records(draw):
    """Records no sane writer makes, half of them well-formed and a row all the same."""
    wild = draw(st.booleans())
    label = good_tensors(single=True)
    fields = [
        draw(encoded_maps(1, good_tensors(), wild)),
        draw(encoded_maps(2, label, wild)),
        draw(st.sampled_from(UNKNOWN_FIELDS)),
        delimited(3, draw(st.sampled_from([b"", b"uid", b"\xff"]))),
    ]
    return b"".join(draw(st.permutations(fields)))


# --- what must hold -------------------------------------------------------------------------------


@given(
    st.integers(0, 12).flatmap(
        lambda n: st.tuples(
            st.lists(
                st.lists(st.sampled_from([0.0, 1.0, -2.5, 0.1]), min_size=4, max_size=4),
                min_size=n,
                max_size=n,
            ),
            st.lists(
                st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=n, max_size=n
            ),
        )
    ),
    st.booleans(),
    st.booleans(),
)
@UNHURRIED
def test_what_is_written_is_read(rows_and_labels, sparse, labelled):
    rows, labels = (np.array(part, np.float32) for part in rows_and_labels)
    rows = rows.reshape(-1, 4)
    file = io.BytesIO()
    matrix = scipy.sparse.csr_array(rows) if sparse else rows
    write_recordio(file, matrix, labels if labelled else None)
    file.seek(0)
    got, got_labels = read_recordio(file, feature_dim=4)
    assert np.array_equal(got.toarray(), rows)
    assert (got_labels is None) == (not labelled or not len(rows))
    assert got_labels is None or np.array_equal(got_labels, labels)


@given(st.lists(any_records, max_size=6), st.booleans())
@UNHURRIED
def test_records_of_the_runtime_are_read_as_it_reads_them(payloads, labelled):
    assert_decodes_as_expected(b"".join(map(frame_record, payloads)), labelled=labelled)


@given(st.lists(strange_records(), min_size=1, max_size=3), st.booleans())
@MANY_EXAMPLES
def test_strange_encodings_are_read_as_the_runtime_reads_them(payloads, labelled):
    assert_decodes_as_expected(b"".join(map(frame_record, payloads)), labelled=labelled)


@given(st.lists(strange_records() | good_records, min_size=1, max_size=4), st.data())
@MANY_EXAMPLES
def test_damage_is_refused_or_read_as_the_runtime_reads_it(payloads, data):
    damaged = bytearray(b"".join(map(frame_record, payloads)))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    assert_decodes_as_expected(bytes(damaged[:cut]))


@given(st.binary(max_size=60), st.booleans())
@UNHURRIED
def test_any_bytes_are_refused_or_read(data, framed):
    data = frame_record(data) if framed else data
    try:
        batch, notes = decode_records(data, feature_dim=FEATURE_DIM)
    except UserError:
        return
    assert batch.num_rows == len(notes)


@given(st.lists(strange_records() | any_records, min_size=1, max_size=3), st.data())
@MANY_EXAMPLES
def test_few_records_are_read_or_refused_as_many_are(payloads, data):
    body = bytearray(b"".join(map(frame_record, payloads)))
    for _ in range(data.draw(st.integers(0, 2))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    outcomes = []
    for max_bytes in (1 << 30, -1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(few_records, "_MAX_BYTES", max_bytes)
            try:
                batch, notes = decode_records(bytes(body), feature_dim=FEATURE_DIM)
                outcomes.append((rows_of(batch), notes))
            except UserError as error:
                outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]


@given(st.lists(any_records, min_size=1, max_size=4), st.data())
@UNHURRIED
def test_how_the_stream_is_cut_changes_nothing(payloads, data):
    stream = b"".join(map(frame_record, payloads))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    bounds = [0, *sorted(cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(bounds)]
    rows, message = decode(pieces)
    all_rows, bad = expected(stream)
    assert (message, message is not None) == (decode([stream])[1], bad)
    assert rows == all_rows[: len(rows)]
    assert bad or rows == all_rows


@pytest.mark.parametrize("few", [0, 1 << 30])
@given(st.lists(strange_records(), min_size=1, max_size=6), st.integers(1, 20))
@UNHURRIED
def test_records_walked_together_and_alone_are_read_alike(few, payloads, times):
    data = b"".join(map(frame_record, payloads * times))
    usual = decode([data])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protobuf, "_FEW_MESSAGES", few)
        assert decode([data]) == usual
