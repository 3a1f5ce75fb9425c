import time

import numpy as np
import pytest

from fm_algo.data.formats import protobuf
from fm_algo.data.formats.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Fields,
    read_fixed,
    read_varints,
    split_fields,
)
from fm_algo.errors import UserError

MANY = 30
"""Messages enough for those of the plain kind to be walked together."""


def split(*messages):
    """Split messages that lie end to end; return their (message, number, wire, content)."""
    data = b"".join(messages)
    bounds = np.cumsum([0, *map(len, messages)])
    return data, split_fields(data, bounds[:-1], bounds[1:])


def fields_of(*messages):
    data, fields = split(*messages)
    ordered = fields.where(np.ones(len(fields.message), bool))
    columns = (ordered.message, ordered.number, ordered.wire, ordered.start, ordered.end)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [(message, number, wire, data[start:end]) for message, number, wire, start, end in rows]


def spans(*contents, wire=LENGTH):
    data = b"".join(contents)
    bounds = np.cumsum([0, *map(len, contents)])
    numbers = np.arange(len(contents))
    return data, Fields(numbers, numbers, numbers * 0 + wire, bounds[:-1], bounds[1:])


def encode(number):
    encoded = b""
    while number > 127:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


@pytest.mark.parametrize("copies", [1, MANY])
def test_fields_of_every_wire_type_are_found(copies):
    message = b"\x08\x96\x01" + b"\x11" + b"12345678" + b"\x1a\x03abc" + b"\x25" + b"1234"
    expected = [
        (1, VARINT, b"\x96\x01"),
        (2, FIXED64, b"12345678"),
        (3, LENGTH, b"abc"),
        (4, FIXED32, b"1234"),
    ]
    assert fields_of(*[message] * copies) == [
        (copy, *field) for copy in range(copies) for field in expected
    ]


@pytest.mark.parametrize("copies", [1, MANY])
@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 70000])
def test_lengths_of_any_size_are_read(length, copies):
    message = b"\x0a" + encode(length) + b"x" * length
    assert fields_of(*[message] * copies) == [
        (copy, 1, LENGTH, b"x" * length) for copy in range(copies)
    ]


@pytest.mark.parametrize("copies", [1, MANY])
def test_groups_and_what_is_in_them_are_skipped(copies):
    message = b"\x0a\x01a" + b"\x33\x0a\x01b\x3b\x08\x01\x3c\x34" + b"\x12\x01c"
    assert fields_of(*[message] * copies) == [
        (copy, *field) for copy in range(copies) for field in [(1, LENGTH, b"a"), (2, LENGTH, b"c")]
    ]


def test_overlong_tags_and_lengths_mean_what_they_say():
    assert fields_of(b"\x8a\x80\x80\x80\x00\x81\x80\x80\x80\x00x") == [(0, 1, LENGTH, b"x")]
    assert fields_of(b"\xf8\xff\xff\xff\x0f\x01") == [(0, (1 << 29) - 1, VARINT, b"\x01")]


def test_messages_without_fields_have_none():
    assert fields_of() == []
    assert fields_of(b"", b"\x0a\x00", b"") == [(1, 1, LENGTH, b"")]


@pytest.mark.parametrize("copies", [1, MANY])
@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x0a", "a varint that ends neither in its message nor in 5 bytes"),
        (b"\x0a\x03ab", "a field of 3 bytes where 2 are left"),
        (b"\x0a\x83\x01ab", "a field of 131 bytes where 2 are left"),
        (b"\x0a\x80", "a varint that ends neither in its message nor in 5 bytes"),
        (b"\x0a\x81\x80\x80\x80\x80\x00x", "a varint that ends neither in its message nor in 5"),
        (b"\xff\xff\xff\xff\x1f\x01", "a tag or length of more than 32 bits"),
        (b"\x08\x80", "a varint that ends neither in its message nor in 10 bytes"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "a varint that ends neither in its message nor in 10"),
        (b"\x09" + b"1234567", "a field of 8 bytes where 7 are left"),
        (b"\x0d" + b"123", "a field of 4 bytes where 3 are left"),
        (b"\x02\x00", "field number 0"),
        (b"\x03\x04", "field number 0"),
        (b"\x36", "wire type 6"),
        (b"\x37", "wire type 7"),
        (b"\x33", "group 6 has no end"),
        (b"\x33\x3c", "the end of a group 7 that is not open"),
        (b"\x34", "the end of a group 6 that is not open"),
    ],
)
def test_a_damaged_message_is_refused(message, problem, copies):
    good = [b"\x0a\x01x"] * (copies - 1)
    for messages in ([*good, message], [message, *good]):
        with pytest.raises(UserError) as caught:
            split(*messages)
        assert caught.value.message.startswith(f"damaged protobuf message: {problem}")


def test_messages_walked_together_and_alone_have_the_same_fields(monkeypatch):
    rng = np.random.default_rng(3)
    kinds = [b"\x0a\x00", b"\x12\x02ab", b"\x1a\x81\x01" + b"y" * 129, b"\x08\x01", b"\x33\x34"]
    messages = [
        b"".join(kinds[kind] for kind in rng.integers(0, len(kinds), rng.integers(0, 6)))
        for _ in range(300)
    ]
    together = fields_of(*messages)
    monkeypatch.setattr(protobuf, "_FEW_MESSAGES", len(messages))
    assert fields_of(*messages) == together
    monkeypatch.setattr(protobuf, "_FEW_MESSAGES", 0)
    assert fields_of(*messages) == together


def test_fields_of_one_number_come_by_message_and_of_the_right_wire_type():
    _, fields = split(*[b"\x0a\x01a\x12\x01b\x0a\x01c\x08\x01"] * MANY)
    ones = fields.numbered(1, LENGTH)
    assert ones.message.tolist() == [m for m in range(MANY) for _ in range(2)]
    assert ones.wire.tolist() == [LENGTH] * (2 * MANY)
    assert fields.numbered(1, LENGTH, VARINT).wire.tolist() == [LENGTH, LENGTH, VARINT] * MANY
    assert np.all(np.diff(fields.numbered(1, LENGTH).start) > 0)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_fixed_numbers_are_read_with_their_count_in_each_field(dtype):
    numbers = np.array([1.5, -2.0, 3.25], dtype)
    data, fields = spans(numbers[:2].tobytes(), b"", numbers[2:].tobytes())
    got, counts = read_fixed(data, fields, dtype)
    assert got.tolist() == [1.5, -2.0, 3.25]
    assert counts.tolist() == [2, 0, 1]


def test_fixed_numbers_cut_short_are_refused():
    with pytest.raises(UserError, match="7 bytes where each number has 4"):
        read_fixed(*spans(b"1234", b"1234567"), "<f4")


def test_varints_of_every_length_are_read_with_their_count_in_each_field():
    numbers = [0, 1, 127, 128, 2**14, 2**21 - 1, 2**32, 2**63, 2**64 - 1]
    encoded = [encode(number) for number in numbers]
    data, fields = spans(b"".join(encoded[:4]), b"", b"".join(encoded[4:]))
    got, counts = read_varints(data, fields)
    assert got.tolist() == numbers
    assert counts.tolist() == [4, 0, 5]


def test_overlong_varints_are_read_and_bits_above_the_64th_dropped():
    got, _ = read_varints(*spans(b"\x81\x80\x00", b"\xff" * 9 + b"\x7f"))
    assert got.tolist() == [1, 2**64 - 1]


@pytest.mark.parametrize(
    "contents", [(b"\x80",), (b"\x80", b"\x01"), (b"\x01", b"\x80" * 10 + b"\x01")]
)
def test_a_varint_without_end_in_its_field_is_refused(contents):
    with pytest.raises(UserError, match="a varint that ends neither in its field nor in 10 bytes"):
        read_varints(*spans(*contents))


def test_no_fields_hold_no_numbers():
    assert [column.tolist() for column in read_varints(*spans())] == [[], []]
    assert [column.tolist() for column in read_fixed(*spans(), "<f4")] == [[], []]


def test_a_long_message_of_small_fields_does_not_take_long():
    started = time.process_time()
    split(*[b"\x08\x01" * 100_000] * 2, *[b"\x0a\x00" * 2_000] * MANY)
    assert time.process_time() - started < 5  # measured: 0.3
