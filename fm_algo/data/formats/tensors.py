"""Read the tensors of Record messages (record.proto), a block of records at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.formats.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    Fields,
    UInt64Array,
    is_any,
    read_fixed,
    read_varints,
    split_fields,
)
from fm_algo.errors import UserError
from fm_algo.sparse import Int64Array

BoolArray = NDArray[np.bool_]
_Number = TypeVar("_Number", bound=np.generic)

# Field numbers of record.proto.
FEATURES, LABEL, UID, METADATA = 1, 2, 3, 4
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_FLOAT32, _FLOAT64, _INT32, _BYTES = 2, 3, 7, 9
_VALUES, _KEYS, _SHAPE = 1, 2, 3

_KEY = b"values"
_SHOWN_KEYS, _SHOWN_BYTES = 5, 40
"""How much of wrong keys an error message repeats."""

_MAP_NAMES = {FEATURES: "features", LABEL: "label"}


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Records joined in one buffer, and their fields.

    Attributes
    ----------
    data : bytes
        The buffer.
    num_records : int
        How many it holds.
    fields : Fields
        A field's message number is the number of its record in the block.
    """

    data: bytes
    num_records: int
    fields: Fields

    @classmethod
    def of(cls, payloads: Sequence[bytes]) -> Self:
        """Join records into a block.

        Raises
        ------
        UserError
            If a record is not a well-formed message.
        """
        data = b"".join(payloads)
        bounds = np.cumsum([0, *map(len, payloads)])
        return cls(data, len(payloads), split_fields(data, bounds[:-1], bounds[1:]))


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """The tensors of n records, one per record.

    Attributes
    ----------
    found : bool, shape (n,)
        Which records have a tensor; the others' counts are 0.
    values : float32, float64 or int32, shape (num_values,)
        Of the type on the wire, or float64 if records differ.
    value_counts : int64, shape (n,)
        How many values each record has.
    keys, shape : uint64, shape (num_keys,) and (num_dimensions,)
        All keys, and all dimensions of shapes.
    key_counts, shape_counts : int64, shape (n,)
        How many keys and dimensions each record has.
    """

    found: BoolArray
    values: NDArray[np.generic]
    value_counts: Int64Array
    keys: UInt64Array
    key_counts: Int64Array
    shape: UInt64Array
    shape_counts: Int64Array


def read_tensors(block: Block, number: int) -> Tensors:
    """Read the tensors under the key "values" of the records' features or labels.

    Parameters
    ----------
    block : Block
        The records.
    number : {FEATURES, LABEL}
        Which of the two maps.

    Raises
    ------
    UserError
        If a record is not well-formed, has other keys, or holds bytes instead of a tensor.

    Notes
    -----
    Protobuf's rules for what occurs twice: the last entry of a map key counts. The values of one
    entry are merged. The last member of a oneof counts, merged with those of the same kind right
    before it. Repeated numbers are joined. Whatever is replaced must still be well-formed.
    """
    data = block.data
    entries = block.fields.numbered(number, LENGTH)
    entry_fields = split_fields(data, entries.start, entries.end)
    _check_keys(data, entry_fields, len(entries.message), _MAP_NAMES[number])
    values = entry_fields.numbered(_ENTRY_VALUE, LENGTH)
    members = split_fields(data, values.start, values.end)
    is_kind = is_any(members.number, _FLOAT32, _FLOAT64, _INT32, _BYTES)
    members = members.where(is_kind & (members.wire == LENGTH))
    fields = split_fields(data, members.start, members.end)

    entry = values.message[members.message]
    starts_run = _differs_from_previous(entry) | _differs_from_previous(members.number)
    is_last_run = _is_last(entry[starts_run])[np.cumsum(starts_run) - 1]
    chosen = is_last_run & _is_last(entries.message)[entry]
    if (members.number[chosen] == _BYTES).any():
        raise UserError(
            f"{_MAP_NAMES[number]} holds bytes, allowed are Float32, Float64 and Int32 tensors"
        )
    owners = _Owners(entries.message[entry], chosen, block.num_records)
    kind = members.number[fields.message]
    tensor_fields = fields.where(kind != _BYTES)
    keys = tensor_fields.numbered(_KEYS, LENGTH, VARINT)
    shape = tensor_fields.numbered(_SHAPE, LENGTH, VARINT)
    return Tensors(
        owners.found(),
        *_read_values(data, fields, kind, owners),
        *owners.keep(keys, *read_varints(data, keys)),
        *owners.keep(shape, *read_varints(data, shape)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Owners:
    """Which of n records each of m tensor messages belongs to.

    Attributes
    ----------
    record : int64, shape (m,)
        The record each message belongs to, ascending.
    chosen : bool, shape (m,)
        False for messages that a later one replaces.
    num_records : int
    """

    record: Int64Array
    chosen: BoolArray
    num_records: int

    def found(self) -> BoolArray:
        found = np.zeros(self.num_records, np.bool_)
        found[self.record[self.chosen]] = True
        return found

    def keep(
        self, fields: Fields, numbers: NDArray[_Number], counts: Int64Array
    ) -> tuple[NDArray[_Number], Int64Array]:
        """Drop the numbers of replaced messages; count the rest by record."""
        chosen = self.chosen[fields.message]
        if not chosen.all():
            numbers = numbers[np.repeat(chosen, counts)]
        record = self.record[fields.message]
        return numbers, np.bincount(record, counts * chosen, self.num_records).astype(np.int64)


def _read_values(
    data: bytes, fields: Fields, kind: Int64Array, owners: _Owners
) -> tuple[NDArray[np.generic], Int64Array]:
    """Read the values of all kinds of tensors, in the order of records."""
    by_kind = []
    for number, single, read in (
        (_FLOAT32, FIXED32, partial(read_fixed, dtype="<f4")),
        (_FLOAT64, FIXED64, partial(read_fixed, dtype="<f8")),
        (_INT32, VARINT, _read_int32),
    ):
        of_kind = fields.where(kind == number).numbered(_VALUES, LENGTH, single)
        if len(of_kind.message):
            by_kind.append(owners.keep(of_kind, *read(data, of_kind)))
    if len(by_kind) == 1:
        return by_kind[0]
    if not by_kind:
        return np.empty(0, np.float32), np.zeros(owners.num_records, np.int64)
    records = [np.repeat(np.arange(owners.num_records), counts) for _, counts in by_kind]
    order = np.argsort(np.concatenate(records), kind="stable")
    values = np.concatenate([numbers.astype(np.float64) for numbers, _ in by_kind])
    return values[order], np.sum([counts for _, counts in by_kind], axis=0)


def _read_int32(data: bytes, fields: Fields) -> tuple[NDArray[np.generic], Int64Array]:
    varints, counts = read_varints(data, fields)
    return varints.astype(np.uint32).view(np.int32), counts  # the lower 32 bits, signed


def _check_keys(data: bytes, entry_fields: Fields, num_entries: int, name: str) -> None:
    """Check that each entry of a map has the only allowed key."""
    keys = entry_fields.numbered(_ENTRY_KEY, LENGTH)
    keys = keys.where(_is_last(keys.message))
    places = keys.start[:, np.newaxis] + np.arange(len(_KEY))
    text = np.frombuffer(data, np.uint8).take(places, mode="clip") if len(keys.start) else places
    right = (keys.end - keys.start == len(_KEY)) & (text == np.frombuffer(_KEY, np.uint8)).all(
        axis=1
    )
    if len(right) < num_entries or not right.all():
        spans = zip(keys.start.tolist(), keys.end.tolist(), strict=True)
        found = {data[start:end][:_SHOWN_BYTES].decode(errors="replace") for start, end in spans}
        if len(right) < num_entries:
            found.add("")  # protobuf's default for a missing key
        shown = sorted(found)[:_SHOWN_KEYS]
        raise UserError(f'{name} has the keys {shown}, allowed is "values" alone')


def _differs_from_previous(column: Int64Array) -> BoolArray:
    differs = np.ones(len(column), np.bool_)
    differs[1:] = column[1:] != column[:-1]
    return differs


def _is_last(owner: Int64Array) -> BoolArray:
    """Mark the last item of each owner; the items of an owner stand together."""
    is_last = np.ones(len(owner), np.bool_)
    is_last[:-1] = owner[1:] != owner[:-1]
    return is_last
