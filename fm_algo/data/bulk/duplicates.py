"""Features that stand twice in a row, compiled."""

from fm_algo.runtime.jit import njit
from fm_algo.sparse import Int32Array

_MAX_ENTRIES = 256
"""Of a row that is looked through: each entry is compared with each."""


@njit(nogil=True, cache=True)
def has_duplicates(indices: Int32Array, start: int, stop: int) -> bool:
    """Tell whether a feature stands twice in a row; True, too, where finding out takes long."""
    if stop - start > _MAX_ENTRIES:
        return True
    for entry in range(start + 1, stop):
        is_there = False
        for other in range(start, entry):
            is_there |= indices[other] == indices[entry]
        if is_there:
            return True
    return False
