"""Read Protobuf's wire format for many messages at once, and report what is wrong with one.

`fm_algo.data.bulk.protobuf` reads its usual part with compiled code, for training.

Messages are spans of one buffer. `split_fields` goes one level down: it finds the fields of every
message. Their contents may be the messages of the next call. Numbers are decoded at the end, all
of one kind together. Nothing here knows what a message means.

Source: protobuf.dev/programming-guides/encoding. This module accepts what the official runtime
accepts: overlong varints up to 10 bytes, groups (skipped), any order of fields.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fm_algo.errors import UserError
from fm_algo.sparse import Int64Array

UInt64Array = NDArray[np.uint64]

VARINT, FIXED64, LENGTH, _GROUP, _GROUP_END, FIXED32 = range(6)

_DAMAGED = "damaged protobuf message"

_MAX_VARINT_BYTES = 10
_MAX_HEADER_BYTES = 5
"""Most bytes of a varint that is a tag or a length, of 32 bits."""

_FEW_MESSAGES = 8
"""Up to this many are read one by one: a NumPy call takes longer than reading their bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Fields:
    """Fields of many messages, each a span of the buffer.

    The fields of a message keep their order on the wire.

    Attributes
    ----------
    message : int64, shape (num_fields,)
        Number of the message the field stands in.
    number : int64, shape (num_fields,)
        Field number.
    wire : int64, shape (num_fields,)
        Wire type: VARINT, FIXED64, LENGTH or FIXED32.
    start, end : int64, shape (num_fields,)
        Where the content lies, without tag and length.
    """

    message: Int64Array
    number: Int64Array
    wire: Int64Array
    start: Int64Array
    end: Int64Array

    def where(self, mask: NDArray[np.bool_]) -> Self:
        """Return the chosen fields, by ascending message."""
        (chosen,) = mask.nonzero()
        message = self.message[chosen]
        if (message[1:] < message[:-1]).any():
            order = np.argsort(message, kind="stable")
            chosen, message = chosen[order], message[order]
        return type(self)(
            message, self.number[chosen], self.wire[chosen], self.start[chosen], self.end[chosen]
        )

    def numbered(self, number: int, *wires: int) -> Self:
        """Return the fields with a number, by ascending message.

        Fields of another wire type are left out: by protobuf's rules they are unknown fields.
        """
        return self.where((self.number == number) & is_any(self.wire, *wires))


def split_fields(data: bytes, starts: Int64Array, ends: Int64Array) -> Fields:
    """Find the fields of every message.

    Parameters
    ----------
    data : bytes
        The buffer.
    starts, ends : int64, shape (num_messages,)
        Where each message lies in it.

    Returns
    -------
    Fields

    Raises
    ------
    UserError
        If a message is not well-formed.

    Notes
    -----
    Most messages consist of length-delimited fields with headers of two or three bytes. All
    messages step through these together, one field at a time. A message with any other field is
    finished alone.
    """
    array = np.frombuffer(data, np.uint8)
    (message,) = (starts < ends).nonzero()
    position, end = starts[message], ends[message]
    steps: list[tuple[Int64Array, ...]] = []
    alone: list[tuple[Int64Array, ...]] = []
    while len(message) > _FEW_MESSAGES:
        tag = array[position]
        low = array.take(position + 1, mode="clip").astype(np.int64)
        high = array.take(position + 2, mode="clip").astype(np.int64)
        is_long = low >= 0x80
        start = position + 2 + is_long
        stop = start + np.where(is_long, (low & 0x7F) | (high << 7), low)
        # One tag byte, its field number not 0, wire type LENGTH, at most two length bytes.
        plain = (tag >= 8) & (tag & 0x87 == LENGTH) & (stop <= end) & ((high < 0x80) | ~is_long)
        if not plain.all():
            alone.append((message[~plain], position[~plain], end[~plain]))
            message, tag, start, stop, end = (
                column[plain] for column in (message, tag, start, stop, end)
            )
        steps.append((message, (tag >> 3).astype(np.int64), np.full(len(tag), LENGTH), start, stop))
        more = stop < end
        message, position, end = message[more], stop[more], end[more]
    alone.append((message, position, end))
    rest = [
        (number_of_message, *field)
        for columns in alone
        for number_of_message, first, last in zip(*(c.tolist() for c in columns), strict=True)
        for field in _fields_of_one(data, first, last)
    ]
    if rest or not steps:
        steps.append(tuple(np.array(rest, np.int64).reshape(-1, 5).T))
    if len(steps) == 1:
        return Fields(*steps[0])
    return Fields(*(np.concatenate(columns) for columns in zip(*steps, strict=True)))


def _fields_of_one(data: bytes, position: int, end: int) -> Iterable[tuple[int, int, int, int]]:
    """Yield number, wire type, start and end of each field of one message."""
    groups: list[int] = []  # numbers of the groups that are open
    while position < end:
        tag, position = _header_varint(data, position, end)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise UserError(f"{_DAMAGED}: field number 0")
        if wire == _GROUP:
            groups.append(number)
        elif wire == _GROUP_END:
            if not groups or groups.pop() != number:
                raise UserError(f"{_DAMAGED}: the end of a group {number} that is not open")
        else:
            start, position = _content(data, position, end, wire)
            if not groups:
                yield number, wire, start, position
    if groups:
        raise UserError(f"{_DAMAGED}: group {groups[-1]} has no end")


def _content(data: bytes, position: int, end: int, wire: int) -> tuple[int, int]:
    """Return where the content of the field lies whose tag ends at `position`."""
    if wire == VARINT:
        return position, _varint_end(data, position, end, _MAX_VARINT_BYTES)
    start = position
    if wire == LENGTH:
        length, start = _header_varint(data, position, end)
    elif wire in {FIXED32, FIXED64}:
        length = 4 if wire == FIXED32 else 8
    else:
        raise UserError(f"{_DAMAGED}: wire type {wire}")
    if start + length > end:
        raise UserError(f"{_DAMAGED}: a field of {length} bytes where {end - start} are left")
    return start, start + length


def _header_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Read a tag or a length; return it and where it ends."""
    if position < end and data[position] < 0x80:
        return data[position], position + 1
    stop = _varint_end(data, position, end, _MAX_HEADER_BYTES)
    number = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data[position:stop]))
    if number >= 1 << 32:
        raise UserError(f"{_DAMAGED}: a tag or length of more than 32 bits")
    return number, stop


def _varint_end(data: bytes, position: int, end: int, max_bytes: int) -> int:
    for stop in range(position, min(end, position + max_bytes)):
        if data[stop] < 0x80:
            return stop + 1
    raise UserError(
        f"{_DAMAGED}: a varint that ends neither in its message nor in {max_bytes} bytes"
    )


def read_fixed(
    data: bytes, fields: Fields, dtype: DTypeLike
) -> tuple[NDArray[np.generic], Int64Array]:
    """Decode numbers of fixed width, packed or one per field.

    Parameters
    ----------
    data : bytes
        The buffer.
    fields : Fields
        Their contents are the numbers, little endian.
    dtype : data-type
        Type of the numbers.

    Returns
    -------
    numbers : `dtype`, shape (num_numbers,)
        In the order of `fields`.
    counts : int64, shape (num_fields,)
        How many of them each field holds.

    Raises
    ------
    UserError
        If a field does not hold whole numbers.
    """
    width = np.dtype(dtype).itemsize
    lengths = fields.end - fields.start
    broken = lengths[lengths % width != 0]
    if len(broken):
        raise UserError(f"{_DAMAGED}: {broken[0]} bytes where each number has {width}")
    return np.frombuffer(_join(data, fields), dtype), lengths // width


def read_varints(data: bytes, fields: Fields) -> tuple[UInt64Array, Int64Array]:
    """Decode varints, packed or one per field.

    Parameters
    ----------
    data : bytes
        The buffer.
    fields : Fields
        Their contents are the varints.

    Returns
    -------
    numbers : uint64, shape (num_numbers,)
        In the order of `fields`; bits above the 64th are dropped.
    counts : int64, shape (num_fields,)
        How many of them each field holds.

    Raises
    ------
    UserError
        If a varint has no end within its field or within 10 bytes.
    """
    joined = np.frombuffer(_join(data, fields), np.uint8)
    stops = np.cumsum(fields.end - fields.start)  # where the fields end in `joined`
    last_bytes = joined[stops[fields.end > fields.start] - 1]
    varint_ends = (joined < 0x80).nonzero()[0] + 1
    varint_starts = np.empty_like(varint_ends)
    varint_starts[:1] = 0
    varint_starts[1:] = varint_ends[:-1]
    lengths = varint_ends - varint_starts
    max_length = int(lengths.max(initial=0))
    if (last_bytes >= 0x80).any() or max_length > _MAX_VARINT_BYTES:
        raise UserError(
            f"{_DAMAGED}: a varint that ends neither in its field nor in {_MAX_VARINT_BYTES} bytes"
        )
    numbers = (joined[varint_starts] & np.uint8(0x7F)).astype(np.uint64)
    for place in range(1, max_length):
        (longer,) = (lengths > place).nonzero()
        byte = joined[varint_starts[longer] + place] & np.uint8(0x7F)
        numbers[longer] |= byte.astype(np.uint64) << np.uint64(7 * place)
    return numbers, np.diff(np.searchsorted(varint_ends, stops, side="right"), prepend=0)


def is_any(column: Int64Array, *numbers: int) -> NDArray[np.bool_]:
    """Return where a column of `Fields` holds one of the numbers."""
    found: NDArray[np.bool_] = column == numbers[0]
    for number in numbers[1:]:
        found |= column == number
    return found


def _join(data: bytes, fields: Fields) -> bytes:
    spans = zip(fields.start.tolist(), fields.end.tolist(), strict=True)
    return b"".join([data[start:end] for start, end in spans])
