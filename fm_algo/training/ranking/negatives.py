"""Draw negatives for positives: items that their users do not have, at random or by frequency."""

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.runtime.jit import njit
from fm_algo.runtime.philox import Stream, philox
from fm_algo.sparse import Int32Array, Int64Array
from fm_algo.training.positives import Positives

_REDRAWS = 15
"""How often a draw by frequency is repeated if the user has the item; then all are alike."""

_PURPOSE = np.uint64(0)
_SHIFT, _WORDS = np.uint64(32), 2.0**32

Whose = tuple[np.uint64, np.uint64]
"""Seed and epoch."""

Drawing = tuple[Int64Array, Int64Array, Int32Array, NDArray[np.float64], int]
"""What to draw from: the user of each positive; where the items of each user begin in the next
array; the items that users have, ascending for each; the cumulated shares of items, empty if all
are alike; the number of items."""


class Negatives:
    """Draws items that users do not have among their positives.

    A draw depends on the seed, the epoch, the number of the positive and that of the draw, not on
    who asks when.

    Parameters
    ----------
    positives : Positives
    hyperparameters : Hyperparameters
        seed and negative_sampling_power.

    Attributes
    ----------
    usable : int64, shape (m,)
        The positives whose users do not have all items, ascending.
    drawing : Drawing
        For compiled code.
    """

    def __init__(self, positives: Positives, hyperparameters: Hyperparameters) -> None:
        self._seed = hyperparameters.seed
        num_items = positives.item_rows.num_rows
        num_users = int(positives.users.max(initial=-1)) + 1
        pairs = np.unique(positives.users * np.int64(num_items) + positives.items)
        starts = np.searchsorted(pairs, np.arange(num_users + 1) * np.int64(num_items))
        has_all = np.diff(starts) == num_items
        self.usable: Int64Array = np.flatnonzero(~has_all[positives.users])
        cumulated = np.empty(0)
        if hyperparameters.negative_sampling_power:
            counts = np.bincount(positives.items, minlength=num_items).astype(np.float64)
            # Of the largest count's share: a high power of a count would be infinite.
            shares = (counts / counts.max(initial=1)) ** hyperparameters.negative_sampling_power
            cumulated = np.cumsum(shares) / shares.sum()
        owned = (pairs % num_items).astype(np.int32)
        self.drawing: Drawing = (positives.users, starts, owned, cumulated, num_items)

    def draw(self, epoch: int, chosen: Int64Array, first: int, stop: int) -> Int32Array:
        """Return the draws `first:stop` for some positives in an epoch.

        Parameters
        ----------
        epoch : int
        chosen : int64, shape (n,)
            Numbers of usable positives.
        first, stop : int
            Numbers of draws, from 0.

        Returns
        -------
        int32, shape (n, stop - first)
            Rows of the items table.
        """
        drawn = np.empty((len(chosen), stop - first), np.int32)
        _draw_all(self.whose(epoch), np.uint64(first), chosen, self.drawing, drawn)
        return drawn

    def whose(self, epoch: int) -> Whose:
        """Return what all draws of an epoch depend on, for compiled code."""
        return np.uint64(self._seed), np.uint64(epoch)


@njit(nogil=True, error_model="numpy", cache=True)
def _draw_all(
    whose: Whose, first: np.uint64, chosen: Int64Array, drawing: Drawing, drawn: Int32Array
) -> None:
    for n in range(len(chosen)):
        for t in range(drawn.shape[1]):
            drawn[n, t] = draw_item(whose, first + np.uint64(t), chosen[n], drawing)


@njit(nogil=True, error_model="numpy", forceinline=True)
def draw_item(whose: Whose, number: np.uint64, positive: int, drawing: Drawing) -> int:
    """Make draw `number` for a positive, whose user does not have all items."""
    users, starts, owned, shares, num_items = drawing
    seed, epoch = whose
    numbers = Stream(seed, epoch, _PURPOSE, np.uint64(positive))
    first, last = starts[users[positive]], starts[users[positive] + 1]
    block = number * np.uint64(_REDRAWS + 2)
    if len(shares) > 0:
        own = owned[first:last]
        for attempt in range(_REDRAWS + 1):
            word0, word1, _, _ = philox(block + np.uint64(attempt), numbers)
            u = (np.float64(word0) + np.float64(word1) / _WORDS) / _WORDS  # in [0, 1)
            item = np.searchsorted(shares, u, side="right")
            place = np.searchsorted(own, item)
            if item < num_items and (place == len(own) or own[place] != item):
                return int(item)
        block += np.uint64(_REDRAWS + 1)
    word0, _, _, _ = philox(block, numbers)
    rank = np.int64((word0 * np.uint64(num_items - (last - first))) >> _SHIFT)
    # The item of this rank among those not owned: below item j of the owned, j are owned.
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if owned[middle] - (middle - first) > rank:
            high = middle
        else:
            low = middle + 1
    return int(rank + low - first)
