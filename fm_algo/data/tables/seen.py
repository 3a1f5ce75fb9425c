"""`SeenCollector`: gather which items each user has in the training rows."""

import numpy as np

from fm_algo.data.tables.dictionary import UInt64Array
from fm_algo.data.tables.hashing import hash_text
from fm_algo.data.tables.tables import Seen
from fm_algo.sparse import Int32Array, Int64Array

NOBODY = np.uint64(hash_text(b""))
"""The hash of a missing user."""

_PAIRS_AT_ONCE = 1 << 22
"""Pairs that may wait to be sorted: 48 MB."""


class SeenCollector:
    """Gathers pairs of users and items; memory is that of the distinct ones, three times.

    Parameters
    ----------
    user, item : str
        Names of their columns.
    num_items : int
    """

    def __init__(self, user: str, item: str, num_items: int) -> None:
        self._user, self._item, self._num_items = user, item, num_items
        self._users: list[UInt64Array] = []
        self._items: list[Int32Array] = []
        self._num_waiting = self._num_sorted = 0

    def add(self, users: UInt64Array, items: Int32Array | Int64Array) -> None:
        """Add the pairs of some rows.

        Parameters
        ----------
        users : uint64, shape (n,)
            XXH64 of the users' texts.
            A pair of a missing user is left out.
        items : int32 or int64, shape (n,)
            Numbers of the items; a pair whose number is outside [0, num_items) is left out.
        """
        is_known = (items >= 0) & (items < self._num_items) & (users != NOBODY)
        self._users.append(users[is_known])
        self._items.append(items[is_known].astype(np.int32))
        self._num_waiting += len(self._users[-1])
        if self._num_waiting > max(_PAIRS_AT_ONCE, self._num_sorted):
            self._sort()

    def finish(self) -> Seen:
        """Return the items of each user."""
        self._sort()
        (users,), (items,) = self._users, self._items
        starts = np.flatnonzero(np.diff(users, prepend=~users[:1]))
        indptr = np.append(starts, len(users)).astype(np.int64)
        return Seen(self._user, self._item, users[starts], indptr, items)

    def _sort(self) -> None:
        """Sort all pairs by user, then item; keep each once."""
        users = np.concatenate([*self._users, np.empty(0, np.uint64)])
        items = np.concatenate([*self._items, np.empty(0, np.int32)])
        order = np.lexsort((items, users))
        users, items = users[order], items[order]
        is_new = np.ones(len(users), bool)
        is_new[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
        self._users, self._items = [users[is_new]], [items[is_new]]
        self._num_waiting, self._num_sorted = 0, len(self._users[0])
