"""Draw negatives for positives: items that their users do not have, at random or by frequency."""

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.runtime.jit import njit
from fm_algo.runtime.split_mix import word
from fm_algo.sparse import Int32Array, Int64Array
from fm_algo.training.positives import Positives

_REDRAWS = 15
"""How often a draw by frequency is repeated if the user has the item; then all are alike."""

_SHIFT, _LOW, _WORDS = np.uint64(32), np.uint64(0xFFFFFFFF), 2.0**32

Whose = tuple[np.uint64, np.uint64]
"""Seed and epoch."""

Drawing = tuple[Int64Array, Int64Array, Int32Array, NDArray[np.uint64], Int32Array, int]
"""What to draw from: the user of each positive; where the items of each user begin in the next
array; the items that users have, ascending for each; the limits and the others of `_alias_table`,
empty if all items are alike; the number of items."""


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
        limits, others = np.empty(0, np.uint64), np.empty(0, np.int32)
        if hyperparameters.negative_sampling_power:
            counts = np.bincount(positives.items, minlength=num_items).astype(np.float64)
            # Of the largest count's share: a high power of a count would be infinite.
            shares = (counts / counts.max(initial=1)) ** hyperparameters.negative_sampling_power
            limits, others = _alias_table(shares * (num_items / shares.sum()))
        owned = (pairs % num_items).astype(np.int32)
        self.drawing: Drawing = (positives.users, starts, owned, limits, others, num_items)

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
        key = key_of(whose, chosen[n])
        for t in range(drawn.shape[1]):
            drawn[n, t] = draw_item(key, first + np.uint64(t), chosen[n], drawing)


@njit(nogil=True, error_model="numpy", forceinline=True)
def key_of(whose: Whose, positive: int) -> np.uint64:
    """Return the key of all draws for a positive in an epoch."""
    seed, epoch = whose
    return word(word(seed, epoch), np.uint64(positive))


@njit(nogil=True, error_model="numpy", forceinline=True)
def draw_item(key: np.uint64, number: np.uint64, positive: int, drawing: Drawing) -> int:
    """Make draw `number` of a key for a positive, whose user does not have all items."""
    users, starts, owned, limits, others, num_items = drawing
    first, last = starts[users[positive]], starts[users[positive] + 1]
    at = number * np.uint64(_REDRAWS + 2)
    if len(limits) > 0:
        for attempt in range(_REDRAWS + 1):
            drawn = word(key, at + np.uint64(attempt))
            item = int(np.int64(((drawn >> _SHIFT) * np.uint64(num_items)) >> _SHIFT))
            if (drawn & _LOW) >= limits[item]:
                item = int(others[item])
            if not _has(owned, first, last, item):
                return item
        at += np.uint64(_REDRAWS + 1)
    num_others = np.uint64(num_items - (last - first))
    rank = np.int64(((word(key, at) >> _SHIFT) * num_others) >> _SHIFT)
    # The item of this rank among those not owned: below item j of the owned, j are owned.
    low, high = first, last
    while low < high:
        middle = (low + high) // 2
        if owned[middle] - (middle - first) > rank:
            high = middle
        else:
            low = middle + 1
    return int(rank + low - first)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _has(owned: Int32Array, first: int, last: int, item: int) -> bool:
    """Whether an item is among ``owned[first:last]``, ascending."""
    # Without a branch per step, which the processor would guess wrong half of the time.
    at, count = np.uint64(first), np.uint64(last - first)
    while count > np.uint64(1):
        half = count >> np.uint64(1)
        at += half * np.uint64(owned[at + half - np.uint64(1)] < item)
        count -= half
    return bool(count > np.uint64(0) and owned[at] == item)


@njit(nogil=True, error_model="numpy", cache=True)
def _alias_table(shares: NDArray[np.float64]) -> tuple[NDArray[np.uint64], Int32Array]:
    """Return a table to draw from in constant time: Walker's alias method.

    Vose, "A Linear Algorithm for Generating Random Numbers with a Given Distribution", IEEE
    Transactions on Software Engineering 17 (9), 1991.

    Parameters
    ----------
    shares : float64, shape (n,)
        How often each is drawn, 1 on the average; used up.

    Returns
    -------
    limits : uint64, shape (n,)
        Draw i, each alike, and a word below 2^32. Below the limit of i, i is meant,
    others : int32, shape (n,)
        else this.
    """
    n = len(shares)
    limits, others = np.empty(n, np.uint64), np.arange(n).astype(np.int32)
    small = [i for i in range(n) if shares[i] < 1]
    large = [i for i in range(n) if shares[i] >= 1]
    limits[:] = np.uint64(2**32)
    while len(small) > 0 and len(large) > 0:
        less, more = small.pop(), large.pop()
        limits[less], others[less] = np.uint64(shares[less] * _WORDS), more
        shares[more] -= 1 - shares[less]
        if shares[more] < 1:
            small.append(more)
        else:
            large.append(more)
    return limits, others
