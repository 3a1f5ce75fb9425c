"""RecordIO framing: cut a stream of bytes into record payloads, and frame payloads.

Each frame, all numbers little endian:

    4 bytes    magic 0xced7230a
    4 bytes    upper 3 bits: flag; lower 29 bits: length n
    n bytes    payload
    0-3 bytes  padding to a multiple of 4

Flag 0 marks a whole record. A payload that holds the magic may come in parts, with flags 1 (first),
2 and 3 (last). The writer drops the magic between parts, and the reader puts it back (dmlc-core,
recordio.h). Some writers never split, so lengths are trusted, and a magic inside a payload means
nothing.
"""

import struct
from dataclasses import dataclass

from fm_algo.errors import UserError

MAGIC = 0xCED7230A
MAGIC_BYTES = MAGIC.to_bytes(4, "little")
MAX_PAYLOAD_BYTES = (1 << 29) - 1

_HEADER = struct.Struct("<II")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)


@dataclass(frozen=True, slots=True)
class Records:
    """Payloads in the order of their source.

    Attributes
    ----------
    payloads : list of bytes
        One per record, with its parts joined.
    offsets : list of int
        Where each record begins in the source, in bytes.
    first : int
        Number of the first record, 0-based; if there is none, that of the next record.
    error : UserError or None
        What is wrong right after the last record. The caller raises it after it has found the
        records good, so that the first mistake of a source is reported.
    """

    payloads: list[bytes]
    offsets: list[int]
    first: int
    error: UserError | None


class RecordSplitter:
    """Cuts a stream, fed in pieces of any size, into records.

    A frame announces its length. With a damaged length, up to 512 MiB may wait here until the end
    of the source shows the damage.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # the waiting bytes, joined only when they suffice
        self._num_waiting = 0
        self._num_needed = _HEADER.size
        self._offset = 0  # of the first waiting byte
        self._num_records = 0
        self._parts: list[bytes] = []  # of a record whose last part is still missing
        self._parts_offset = 0
        self._parts_bytes = 0  # of these parts and the magic between them

    @property
    def num_missing(self) -> int:
        """How many bytes must follow to complete the header, then the frame."""
        return self._num_needed - self._num_waiting

    @property
    def is_between_records(self) -> bool:
        """Whether every byte taken belongs to a record that was returned."""
        return not (self._num_waiting or self._parts)

    def feed(self, data: bytes) -> Records:
        """Take the next bytes; return the records they complete."""
        self._pieces.append(data)
        self._num_waiting += len(data)
        if self._num_waiting < self._num_needed:
            return Records([], [], self._num_records, None)
        return self._split(is_end=False)

    def close(self) -> Records:
        """End the source; return its last record if that record's padding was missing."""
        return self._split(is_end=True)

    def take_back(self) -> bytes:
        """Return the waiting bytes, as if they had never been fed; parts of a record stay."""
        data = b"".join(self._pieces)
        self._pieces, self._num_waiting, self._num_needed = [], 0, _HEADER.size
        return data

    def skip(self, num_bytes: int, num_records: int) -> None:
        """Count records that another reader decoded; allowed only between records."""
        self._offset += num_bytes
        self._num_records += num_records

    def _split(self, *, is_end: bool) -> Records:
        data = b"".join(self._pieces)
        size, position = len(data), 0
        first = self._num_records
        payloads: list[bytes] = []
        offsets: list[int] = []
        error = None
        self._num_needed = _HEADER.size
        while size - position >= _HEADER.size:
            magic, word = _HEADER.unpack_from(data, position)
            start = position + _HEADER.size
            end = start + (word & MAX_PAYLOAD_BYTES)
            stop = end + (start - end) % 4
            flag = word >> 29
            if magic != MAGIC or flag != _WHOLE or self._parts:
                error = self._check_header(magic, word, self._offset + position)
                if error:
                    break
            if stop > size and not (is_end and end <= size):  # at the end, padding may be missing
                self._num_needed = stop - position
                break
            if flag == _WHOLE:
                payloads.append(data[start:end])
                offsets.append(self._offset + position)
                self._num_records += 1
            elif self._add_part(flag, data[start:end], self._offset + position):
                payloads.append(MAGIC_BYTES.join(self._parts))
                offsets.append(self._parts_offset)
                self._num_records += 1
                self._parts = []
            position = min(stop, size)
        if is_end and not error:
            error = self._check_end(data, position)
        self._pieces = [data[position:]]
        self._num_waiting = size - position
        self._offset += position
        return Records(payloads, offsets, first, error)

    def _add_part(self, flag: int, part: bytes, offset: int) -> bool:
        """Keep a part of a record; return whether it is the last."""
        if flag == _FIRST:
            self._parts_offset, self._parts_bytes = offset, 0
        self._parts.append(part)
        self._parts_bytes += len(part) + len(MAGIC_BYTES)
        return flag == _LAST

    def _check_header(self, magic: int, word: int, offset: int) -> UserError | None:
        if magic != MAGIC:
            found = magic.to_bytes(4, "little")
            return self._error(
                offset,
                f"begins with {found!r}, a RecordIO frame with its magic, {MAGIC_BYTES!r}: is this "
                "RecordIO-protobuf?",
            )
        flag, length = word >> 29, word & MAX_PAYLOAD_BYTES
        allowed = (_MIDDLE, _LAST) if self._parts else (_WHOLE, _FIRST)
        if flag not in allowed:
            where = "inside" if self._parts else "outside"
            return self._error(
                offset,
                f"a frame with flag {flag}, allowed {where} a record in parts are "
                f"{allowed[0]} and {allowed[1]}",
            )
        num_bytes = length + (self._parts_bytes if self._parts else 0)
        if num_bytes > MAX_PAYLOAD_BYTES:
            return self._error(
                offset, f"its parts have {num_bytes} bytes, allowed are {MAX_PAYLOAD_BYTES}"
            )
        return None

    def _check_end(self, data: bytes, position: int) -> UserError | None:
        offset = self._offset + position
        num_left = len(data) - position
        if num_left >= _HEADER.size:
            length = _HEADER.unpack_from(data, position)[1] & MAX_PAYLOAD_BYTES
            return self._error(
                offset,
                f"truncated: {length} bytes announced, {num_left - _HEADER.size} are there",
            )
        if num_left:
            return self._error(
                offset,
                f"truncated: {num_left} of the {_HEADER.size} bytes of a frame header are there",
            )
        if self._parts:
            return self._error(offset, "truncated: its last part is missing")
        return None

    def _error(self, offset: int, problem: str) -> UserError:
        return UserError(f"{record_place(self._num_records, offset)}: {problem}")


def record_place(number: int, offset: int) -> str:
    """Return a record's place as text; every message about a record begins with it."""
    return f"record {number} (byte offset {offset})"


def frame_record(payload: bytes) -> bytes:
    """Put a payload into one frame, never split, as SageMaker's Python SDK does.

    Raises
    ------
    UserError
        If it is longer than a frame allows.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise UserError(f"a record of {len(payload)} bytes, allowed are {MAX_PAYLOAD_BYTES}")
    return _HEADER.pack(MAGIC, len(payload)) + payload + bytes(-len(payload) % 4)
