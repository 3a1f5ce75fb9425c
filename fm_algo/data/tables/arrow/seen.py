"""`SeenPairs`: collect which items each user has, in one pass over a table."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fm_algo.data.tables.arrow import columns as cells
from fm_algo.data.tables.arrow.encoding import on_column
from fm_algo.data.tables.arrow.texts import hash_all
from fm_algo.data.tables.columns import Column
from fm_algo.data.tables.dictionary import Dictionary, UInt64Array
from fm_algo.data.tables.encoder import SideName, TableEncoder
from fm_algo.data.tables.tables import Seen
from fm_algo.errors import UserError
from fm_algo.sparse.matrix import Int32Array

_ROWS_AT_ONCE = 1 << 22
"""Pairs of rows that are kept before equal ones are put together."""


class _Words(NamedTuple):
    """Hashes of the words of a column, uint64 (n,), and which rows have one, bool (n,)."""

    hashes: UInt64Array
    is_there: np.ndarray[tuple[int], np.dtype[np.bool_]]


class SeenPairs:
    """Collects pairs of a user and an item; 16 bytes per different pair, and as much again.

    Parameters
    ----------
    user, item : str
        Names of their columns.
    """

    def __init__(self, user: str, item: str) -> None:
        self._user, self._item = user, item
        self._pairs: list[UInt64Array] = [np.empty((2, 0), np.uint64)]
        self._num_new = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of the training table; those without user or item do not count.

        Raises
        ------
        CellError
            If a cell is not what its column holds.
        """
        users, items = (on_column(batch, name, _words) for name in (self._user, self._item))
        is_pair = users.is_there & items.is_there
        self._pairs.append(np.stack([users.hashes[is_pair], items.hashes[is_pair]]))
        self._num_new += int(is_pair.sum())
        if self._num_new >= _ROWS_AT_ONCE + self._pairs[0].shape[1]:
            self._put_together()

    def _put_together(self) -> UInt64Array:
        """Return each different pair once, by user and then by item; uint64, (2, n)."""
        users, items = np.concatenate(self._pairs, axis=1)
        order = np.lexsort((items, users))
        pairs = np.stack([users[order], items[order]])
        is_first = np.ones(len(order), np.bool_)
        is_first[1:] = (np.diff(pairs, axis=1) != 0).any(axis=0)
        self._pairs, self._num_new = [pairs[:, is_first]], 0
        return self._pairs[0]

    def finish(self, encoder: TableEncoder) -> Seen:
        """Return the pairs of items that can be candidates: those that the encoder knows."""
        pairs = self._put_together()
        items = encoder.side("items")
        numbers = _numbers(
            pairs[1], encoder.dictionaries[self._item] if items is None else items.keys
        )
        users, numbers = pairs[0][numbers >= 0], numbers[numbers >= 0]
        order = np.lexsort((numbers, users))
        different, counts = np.unique(users, return_counts=True)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return Seen(self._user, self._item, different, indptr, numbers[order])


def _words(array: pa.Array) -> _Words:
    words, codes = cells.to_words(array)
    texts = cells.text_per_row(words, codes)
    return _Words(hash_all(texts), texts.starts < texts.stops)


def _numbers(hashes: UInt64Array, dictionary: Dictionary) -> Int32Array:
    """Return the numbers of values by their hashes, int32; -1 for unknown ones."""
    if not len(dictionary):
        return np.full(len(hashes), -1, np.int32)
    places = np.minimum(np.searchsorted(dictionary.hashes, hashes), len(dictionary) - 1)
    numbers: Int32Array = np.where(
        dictionary.hashes[places] == hashes, dictionary.numbers[places], -1
    ).astype(np.int32)
    return numbers


def seen_columns(columns: Sequence[Column], keys: Mapping[SideName, str]) -> tuple[str, str]:
    """Return which columns are users and items: the keys of their tables, or by their names.

    Parameters
    ----------
    columns : sequence of Column
        Those of the training table.
    keys : mapping of {"users", "items"} to str
        The keys of side tables, as far as there are any.

    Raises
    ------
    UserError
        If that is not clear, or items would have no numbers.
    """
    names = {column.name for column in columns}
    items, users = keys.get("items"), keys.get("users")
    item = items or ("item" if "item" in names else None)
    others = [
        column.name
        for column in columns
        if column.kind in {"category", "hash"} and column.name != item
    ]
    user = users or ("user" if "user" in names else None) or _only(others)
    if user is None or item is None:
        raise UserError(
            "keep_seen=true: it is not clear which columns are users and items; name them user "
            "and item, or give a table of users and one of items"
        )
    kind = next(column.kind for column in columns if column.name == item)
    if items is None and kind != "category":
        raise UserError(
            f"keep_seen=true: column {item} is a {kind}, so its values have no numbers; make it a "
            "category, or give a table of all items"
        )
    return user, item


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
