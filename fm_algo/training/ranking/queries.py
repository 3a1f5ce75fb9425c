"""Ask a model for the best items of the users in validation or test rows, and judge the answers.

A user's relevant items are those of rows with label 1 of a binary_classifier, and of a regressor
those of rows whose label is at least the mean of the training labels. Items that the user has in
the training rows are neither recommended nor relevant. The rest of the row that the items are
ranked for is that of the user's first relevant row. Users without a relevant item do not count.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from fm_algo.answers.catalogue import Catalogue
from fm_algo.data.tables.dictionary import UInt64Array
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.tables import Seen, item_rows, without_items
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Int32Array, Int64Array
from fm_algo.training.metrics import CUTOFF, Metric
from fm_algo.training.positives import NOBODY
from fm_algo.training.ranking.metrics import ranking_metrics

_MOST_USERS, _FEWEST_USERS = 10_000, 100
_EVALUATION_S, _SEARCH_S, _PRODUCTS_PER_S = 3.0, 1e-4, 5e9
"""How long an evaluation may take, and what a search takes, measured on one core of 2025."""

_LAST = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """What users are asked for, and what they should get.

    Attributes
    ----------
    items : CSRBatch
        The candidates, a row each.
    contexts : CSRBatch
        A row per user, without features of items.
    relevant : tuple of int32 arrays
        Per user the relevant items, each once.
    seen : tuple of int32 arrays
        Per user the items that are left out.
    is_sample : bool
        Whether there were more users.
    """

    items: CSRBatch
    contexts: CSRBatch
    relevant: tuple[Int32Array, ...]
    seen: tuple[Int32Array, ...]
    is_sample: bool


def most_users(num_items: int, num_factors: int) -> int:
    """Return how many users can be asked for in bearable time: 100 to 10,000, some seconds."""
    search_s = _SEARCH_S + num_items * num_factors / _PRODUCTS_PER_S
    return int(np.clip(_EVALUATION_S / search_s, _FEWEST_USERS, _MOST_USERS))


def evaluate_ranking(model: FMModel, queries: Queries) -> list[Metric]:
    """Return the metrics of a model's rankings; an empty list if there are no queries."""
    catalogue = Catalogue.of_items(model, queries.items)

    def ranked(user: int) -> Int32Array:
        row = queries.contexts.rows(user, user + 1)
        best, _ = catalogue.top(
            model, row.indices, row.values, top_k=CUTOFF, exclude=queries.seen[user]
        )
        return best

    return ranking_metrics((ranked(user), own) for user, own in enumerate(queries.relevant))


class QueryCollector:
    """Gathers the queries of a channel, block by block, for no more users than wanted.

    Of more users those with the smallest hashes are kept, a sample that depends on nothing but
    their names.

    Parameters
    ----------
    encoder : TableEncoder
        With a table of items.
    most_users : int
        Of how many users memory is kept for, twice as many while rows are added.
    least_label : float
        From this label on, an item is relevant.
    seen : Seen
        The items that users have in the training rows.

    Raises
    ------
    UserError
        If there is no table of items.
    """

    def __init__(
        self, encoder: TableEncoder, most_users: int, least_label: float, seen: Seen
    ) -> None:
        rows = item_rows(encoder)
        if rows is None:
            raise UserError("rankings need a table of items: an items channel")
        self._items = rows
        self._encoder = encoder
        self._most_users, self._least_label, self._seen = most_users, least_label, seen
        self._last = _LAST
        self._users: UInt64Array = np.empty(0, np.uint64)  # sorted, as are the contexts
        self._contexts = CSRBatch.empty(encoder.feature_dim, labelled=False)
        self._pairs: list[tuple[UInt64Array, Int32Array]] = []

    def add(self, users: UInt64Array, items: Int32Array | Int64Array, rows: CSRBatch) -> None:
        """Add rows.

        Parameters
        ----------
        users : uint64, shape (n,)
            XXH64 of the users' texts.
        items : int32 or int64, shape (n,)
            Rows of the items table; a row whose number is outside is left out.
        rows : CSRBatch
            The n rows as features, with labels.
        """
        kept = np.flatnonzero(
            (rows.require_labels() >= self._least_label)
            & (items >= 0)
            & (items < self._items.num_rows)
            & (users <= self._last)
            & (users != NOBODY)
        )
        if rows.weights is not None:
            kept = kept[rows.weights[kept] > 0]
        if not len(kept):
            return
        users = users[kept]
        self._pairs.append((users, items[kept].astype(np.int32)))
        found, first = np.unique(users, return_index=True)
        is_new = ~np.isin(found, self._users, assume_unique=True)
        new = dataclasses.replace(rows.take(kept[first[is_new]]), weights=None)
        contexts = without_items(new, self._encoder)
        self._users = np.concatenate([self._users, found[is_new]])
        self._keep(CSRBatch.join([self._contexts, contexts]), np.argsort(self._users))
        if len(self._users) > 2 * self._most_users:
            self._thin_out()

    def finish(self) -> Queries:
        """Return the queries."""
        if len(self._users) > self._most_users:
            self._thin_out()
        users = np.concatenate([*(users for users, _ in self._pairs), np.empty(0, np.uint64)])
        items = np.concatenate([*(items for _, items in self._pairs), np.empty(0, np.int32)])
        order = np.argsort(users)
        of_user = np.split(items[order], np.searchsorted(users[order], self._users[1:]))
        left_out = [self._seen.items_of_hash(user) for user in self._users]
        relevant = [np.setdiff1d(own, out) for own, out in zip(of_user, left_out, strict=False)]
        asked = [user for user, own in enumerate(relevant) if len(own)]
        return Queries(
            self._items,
            self._contexts.take(np.array(asked, np.int64)),
            tuple(relevant[user] for user in asked),
            tuple(left_out[user] for user in asked),
            is_sample=bool(self._last != _LAST),
        )

    def _thin_out(self) -> None:
        self._last = self._users[self._most_users - 1]
        self._keep(self._contexts, np.arange(self._most_users))
        self._pairs = [
            (users[users <= self._last], items[users <= self._last]) for users, items in self._pairs
        ]

    def _keep(self, contexts: CSRBatch, order: Int64Array) -> None:
        self._users, self._contexts = self._users[order], contexts.take(order)
