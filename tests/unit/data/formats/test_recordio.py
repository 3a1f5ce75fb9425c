import struct

import pytest

from fm_algo.data.formats.recordio import (
    MAGIC,
    MAGIC_BYTES,
    MAX_PAYLOAD_BYTES,
    RecordSplitter,
    frame_record,
)
from fm_algo.errors import UserError

WHOLE, FIRST, MIDDLE, LAST = range(4)


def frame(payload, flag=WHOLE):
    header = struct.pack("<II", MAGIC, flag << 29 | len(payload))
    return header + payload + bytes(-len(payload) % 4)


def split(data, piece=None):
    """Payloads, their offsets and the error behind them."""
    splitter = RecordSplitter()
    piece = piece or max(len(data), 1)
    results = [splitter.feed(data[i : i + piece]) for i in range(0, len(data), piece)]
    results.append(splitter.close())
    errors = [result.error for result in results if result.error]
    return (
        [payload for result in results for payload in result.payloads],
        [offset for result in results for offset in result.offsets],
        errors[-1].message if errors else None,
    )


def test_a_frame_is_magic_length_payload_and_padding():
    assert frame_record(b"abcde") == bytes.fromhex("0a23d7ce 05000000 6162636465 000000")
    assert frame_record(b"abcd") == bytes.fromhex("0a23d7ce 04000000 61626364")


def test_a_payload_that_holds_the_magic_is_written_unsplit():
    payload = b"abcd" + MAGIC_BYTES
    assert frame_record(payload) == frame(payload)
    assert split(frame_record(payload)) == ([payload], [0], None)


def test_a_payload_too_long_for_a_frame_is_refused():
    class Long(bytes):
        def __len__(self):
            return MAX_PAYLOAD_BYTES + 1

    with pytest.raises(UserError, match="a record of 536870912 bytes, allowed are 536870911"):
        frame_record(Long())


@pytest.mark.parametrize("piece", [None, 1, 2, 3, 5, 8, 13])
def test_payloads_come_out_however_the_stream_is_cut(piece):
    payloads = [b"", b"a", b"ab", b"abc", b"abcd", b"x" * 1000, b""]
    data = b"".join(map(frame, payloads))
    got, offsets, error = split(data, piece)
    assert (got, error) == (payloads, None)
    assert offsets == [0, 8, 20, 32, 44, 56, 1064]


@pytest.mark.parametrize("piece", [None, 1, 7])
def test_parts_are_joined_with_the_magic_between_them(piece):
    data = frame(b"before") + frame(b"one!", FIRST) + frame(b"", MIDDLE) + frame(b"end", LAST)
    got, offsets, error = split(data + frame(b"after"), piece)
    assert got == [b"before", b"one!" + MAGIC_BYTES + MAGIC_BYTES + b"end", b"after"]
    assert offsets == [0, 16, 48]
    assert error is None


@pytest.mark.parametrize("piece", [None, 1])
@pytest.mark.parametrize("missing", [1, 2, 3])
def test_padding_may_be_missing_behind_the_last_record(missing, piece):
    data = frame(b"abcd") + frame(b"z")[:-missing]
    assert split(data, piece) == ([b"abcd", b"z"], [0, 12], None)


def test_padding_may_be_missing_behind_the_last_part():
    assert split(frame(b"abcd", FIRST) + frame(b"z", LAST)[:-3]) == (
        [b"abcd" + MAGIC_BYTES + b"z"],
        [0],
        None,
    )


def test_an_empty_source_holds_no_records():
    assert split(b"") == ([], [], None)


@pytest.mark.parametrize("piece", [None, 1, 6])
@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        (MAGIC_BYTES[:3], "truncated: 3 of the 8 bytes of a frame header are there"),
        (frame(b"abcde")[:12], "truncated: 5 bytes announced, 4 are there"),
        (frame(b"abcde")[:8], "truncated: 5 bytes announced, 0 are there"),
        (b"PK\x03\x04----", r"begins with b'PK\x03\x04', a RecordIO frame with its magic, "),
        (frame(b"", 4), "a frame with flag 4, allowed outside a record in parts are 0 and 1"),
        (frame(b"", MIDDLE), "a frame with flag 2, allowed outside a record in parts are 0 and 1"),
    ],
)
def test_what_is_wrong_is_said_with_record_and_offset(tail, problem, piece):
    payloads, _, error = split(frame(b"abcd") + frame(b"efgh") + tail, piece)
    assert payloads == [b"abcd", b"efgh"]
    assert error.startswith(f"record 2 (byte offset 24): {problem}")


@pytest.mark.parametrize("piece", [None, 1, 6])
@pytest.mark.parametrize(
    ("tail", "problem"),
    [
        (b"", "truncated: its last part is missing"),
        (frame(b""), "a frame with flag 0, allowed inside a record in parts are 2 and 3"),
        (frame(b"", FIRST), "a frame with flag 1, allowed inside a record in parts are 2 and 3"),
        (frame(b"a", LAST)[:-4], "truncated: 1 bytes announced, 0 are there"),
    ],
)
def test_what_is_wrong_with_parts_is_said_with_the_offset_of_the_frame(tail, problem, piece):
    payloads, _, error = split(frame(b"abcd") + frame(b"efgh", FIRST) + tail, piece)
    assert payloads == [b"abcd"]
    assert error == f"record 1 (byte offset 24): {problem}"


def test_parts_longer_together_than_a_record_may_be_are_refused_before_they_are_there():
    header = struct.pack("<II", MAGIC, LAST << 29 | MAX_PAYLOAD_BYTES)
    assert split(frame(b"abcd", FIRST) + header)[2] == (
        "record 0 (byte offset 12): its parts have 536870919 bytes, allowed are 536870911"
    )


def test_a_frame_that_arrives_byte_by_byte_is_not_copied_each_time():
    splitter = RecordSplitter()
    splitter.feed(struct.pack("<II", MAGIC, 1 << 28))
    for _ in range(200_000):  # copying 256 MiB bit by bit would take minutes
        assert not splitter.feed(b"x").payloads
