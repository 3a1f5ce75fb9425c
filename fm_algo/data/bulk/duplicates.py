"""Find features that stand twice in a row; compiled."""

from fm_algo.runtime.jit import njit
from fm_algo.sparse import Int32Array

_MAX_ENTRIES = 256
"""Longest row that is searched: the search compares each entry with every other."""


@njit(nogil=True, cache=True)
def has_duplicates(indices: Int32Array, start: int, stop: int) -> bool:
    """Return whether a feature stands twice in a row; True, too, if the row is long."""
    if stop - start > _MAX_ENTRIES:
        return True
    for entry in range(start + 1, stop):
        is_there = False
        for other in range(start, entry):
            is_there |= indices[other] == indices[entry]
        if is_there:
            return True
    return False
