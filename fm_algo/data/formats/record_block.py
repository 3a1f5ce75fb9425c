"""Decode records block by block, and find the bad record if a block fails."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from fm_algo.data.formats.recordio import Records, record_place
from fm_algo.errors import UserError

_T = TypeVar("_T")

BLOCK_BYTES = 1 << 21
"""Records are decoded in blocks of about this size, so that their arrays stay in the cache."""


def each_block(records: Records, decode: Callable[[Sequence[bytes]], _T]) -> Iterator[_T]:
    """Decode records block by block.

    Parameters
    ----------
    records : Records
        The next records of a source.
    decode : callable
        Gets the payloads of a block; raises a UserError if one of them is bad. What it reports
        about a record must not depend on the others.

    Raises
    ------
    UserError
        At the first bad record, with its place; or the error that `records` holds.
    """
    payloads = records.payloads
    for start, stop in pairwise(_cuts(payloads)):
        try:
            decoded = decode(payloads[start:stop])
        except UserError as error:
            bad, cause = _first_bad(payloads, start, stop, decode, error)
            place = record_place(records.first + bad, records.offsets[bad])
            raise UserError(f"{place}: {cause.message}") from error
        yield decoded
    if records.error:
        raise records.error


def _cuts(payloads: Sequence[bytes]) -> list[int]:
    """Return where blocks begin, and where the last one ends."""
    if not payloads:
        return []
    if sum(map(len, payloads)) < BLOCK_BYTES:
        return [0, len(payloads)]
    block_of = np.cumsum([*map(len, payloads)]) // BLOCK_BYTES
    return [0, *(np.flatnonzero(np.diff(block_of)) + 1).tolist(), len(payloads)]


def _first_bad(
    payloads: Sequence[bytes],
    start: int,
    stop: int,
    decode: Callable[[Sequence[bytes]], object],
    error: UserError,
) -> tuple[int, UserError]:
    """Halve a failed block until one record fails alone; the message is then about that record.

    So `decode` need not say which record is bad, and the message does not depend on the block.
    """
    while stop - start > 1:
        middle = (start + stop) // 2
        nearer = _failure(decode, payloads[start:middle])
        if nearer:
            stop, error = middle, nearer
        else:
            start = middle
    return start, _failure(decode, payloads[start:stop]) or error


def _failure(
    decode: Callable[[Sequence[bytes]], object], payloads: Sequence[bytes]
) -> UserError | None:
    try:
        decode(payloads)
    except UserError as error:
        return error
    return None
