"""Random numbers by counter: what a draw is depends on what it is for, not on who asks when.

Philox4x32-10 makes four 32-bit words of a key, the seed, and a counter: (block, item, sweep,
purpose). So each item has a stream of its own in each sweep.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from typing import NamedTuple

import numpy as np

from fm_algo.runtime.jit import njit

_MULTIPLIER_0, _MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL_0, _WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10


class Stream(NamedTuple):
    """Whose numbers: all that a draw depends on except its place in the stream.

    Attributes
    ----------
    seed : uint64
    sweep : uint64
    purpose : uint64
        What a draw is for: a number that the caller chooses.
    item : uint64
        Number of the feature, row or whatever it is whose stream this is.
    """

    seed: np.uint64
    sweep: np.uint64
    purpose: np.uint64
    item: np.uint64


@njit(nogil=True, error_model="numpy", cache=True)
def stream(seed: int, sweep: int, purpose: int, item: int) -> Stream:
    """Make a stream of whatever integers."""
    return Stream(np.uint64(seed), np.uint64(sweep), np.uint64(purpose), np.uint64(item))


@njit(nogil=True, error_model="numpy", forceinline=True)
def philox(block: np.uint64, whose: Stream) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Four words below 2^32 of a block of a stream."""
    c0, c1 = np.uint64(block), np.uint64(whose.item) & _LOW
    c2, c3 = np.uint64(whose.sweep) & _LOW, np.uint64(whose.purpose)
    key0, key1 = np.uint64(whose.seed) & _LOW, np.uint64(whose.seed) >> _SHIFT
    for _ in range(_ROUNDS):
        product0, product1 = _MULTIPLIER_0 * c0, _MULTIPLIER_1 * c2
        c0 = (product1 >> _SHIFT) ^ c1 ^ key0
        c1 = product1 & _LOW
        c2 = (product0 >> _SHIFT) ^ c3 ^ key1
        c3 = product0 & _LOW
        key0 = (key0 + _WEYL_0) & _LOW
        key1 = (key1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@njit(nogil=True, error_model="numpy", forceinline=True)
def uniform_pair(block: np.uint64, whose: Stream) -> tuple[float, float]:
    """Two numbers in (0, 1), each of 52 bits, of a block of a stream."""
    word0, word1, word2, word3 = philox(block, whose)
    first = ((word0 << _SHIFT) | word1) >> np.uint64(12)
    second = ((word2 << _SHIFT) | word3) >> np.uint64(12)
    scale = 2.0**-52
    return (np.float64(first) + 0.5) * scale, (np.float64(second) + 0.5) * scale
