"""`Positives`: what users want, as contexts and items apart from each other, for ranking losses."""

from dataclasses import dataclass

import numpy as np

from fm_algo.data.tables.dictionary import UInt64Array
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.hashing import hash_text
from fm_algo.data.tables.tables import item_rows, without_items
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, Int32Array, Int64Array

NOBODY = np.uint64(hash_text(b""))
"""The hash of a missing user."""


@dataclass(frozen=True, slots=True, eq=False)
class Positives:
    """What users want.

    Attributes
    ----------
    contexts : CSRBatch
        Rows without the features of their items; n rows, with weights if there are any.
    items : int32, shape (n,)
        The item of each: a row of `item_rows`.
    users : int64, shape (n,)
        The user of each, numbered from 0 without gaps. A row whose user is missing has a user of
        its own.
    item_rows : CSRBatch
        The features of all items, a row each.
    """

    contexts: CSRBatch
    items: Int32Array
    users: Int64Array
    item_rows: CSRBatch

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return len(self.items)

    @property
    def num_bytes(self) -> int:
        """Memory of the rows, in bytes; without that of all items."""
        return self.contexts.num_bytes + self.items.nbytes + self.users.nbytes


class PositiveCollector:
    """Gathers positives from rows of a table: those whose label is above 0, or who have none.

    Parameters
    ----------
    encoder : TableEncoder
        With a table of items.

    Raises
    ------
    UserError
        If there is no table of items.

    Attributes
    ----------
    num_unknown : int
        Rows left out so far, because their item is missing or not in the table of items.
    num_bytes : int
        Memory of the rows so far.
    """

    def __init__(self, encoder: TableEncoder) -> None:
        rows = item_rows(encoder)
        if rows is None:
            raise UserError("ranking losses need a table of items: an items channel")
        self._encoder, self._item_rows = encoder, rows
        self._contexts = [CSRBatch.empty(encoder.feature_dim, labelled=False)]
        self._items: list[Int32Array] = [np.empty(0, np.int32)]
        self._users: list[UInt64Array] = [np.empty(0, np.uint64)]
        self.num_unknown = self.num_bytes = 0

    def add(self, users: UInt64Array, items: Int32Array | Int64Array, rows: CSRBatch) -> None:
        """Add rows; those of weight 0 do not count.

        Parameters
        ----------
        users : uint64, shape (n,)
            XXH64 of the users' texts.
        items : int32 or int64, shape (n,)
            Rows of the items table; a number outside is that of no item.
        rows : CSRBatch
            The n rows as features, perhaps with labels and weights.
        """
        is_positive = np.ones(len(items), np.bool_) if rows.labels is None else rows.labels > 0
        if rows.weights is not None:
            is_positive &= rows.weights > 0
        is_known = (items >= 0) & (items < self._item_rows.num_rows)
        self.num_unknown += int(np.count_nonzero(is_positive & ~is_known))
        kept = np.flatnonzero(is_positive & is_known)
        contexts = without_items(rows.take(kept), self._encoder)
        self._contexts.append(contexts)
        self._items.append(items[kept].astype(np.int32))
        self._users.append(users[kept])
        self.num_bytes += contexts.num_bytes + 12 * len(kept)

    def finish(self) -> Positives:
        """Return the positives; no more rows can be added.

        Raises
        ------
        UserError
            If there are none.
        """
        contexts, self._contexts = CSRBatch.join(self._contexts), []
        if not contexts.num_rows:
            left_out = f", {self.num_unknown} of them with an item that the items table lacks"
            raise UserError(
                "no row to learn from, expected one with a label above 0 or none, and an item of "
                f"the items table{left_out if self.num_unknown else ''}"
            )
        hashes = np.concatenate(self._users)
        known, numbers = np.unique(hashes, return_inverse=True)
        users = numbers.astype(np.int64)
        is_nobody = hashes == NOBODY
        users[is_nobody] = len(known) + np.arange(np.count_nonzero(is_nobody))
        _, users = np.unique(users, return_inverse=True)  # the number of nobody is a gap now
        return Positives(contexts, np.concatenate(self._items), users, self._item_rows)
