"""A random sample of rows that pass by, of bounded size."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import CSRBatch

MOST_ROWS = 1 << 14

_MOST_ENTRIES = 1 << 20
"""Entries of a sample, about: 8 MB. Wide rows make a sample of fewer rows."""

_FEWEST_ROWS = 256
_ROWS_AT_ONCE = 1 << 16


class RowSample:
    """A uniform sample without replacement: each row draws a number, and the lowest stay.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng([seed, *b"sample"])
        self._most = 0
        self._bound = 1.0
        self._drawn: list[NDArray[np.float64]] = []
        self._parts: list[CSRBatch] = []

    def add(self, block: CSRBatch) -> None:
        """Let all rows of a block pass by."""
        if block.num_rows and not self._most:
            fitting = _MOST_ENTRIES * block.num_rows // max(block.num_entries, 1)
            self._most = min(MOST_ROWS, max(fitting, _FEWEST_ROWS))
        for start in range(0, block.num_rows, _ROWS_AT_ONCE):
            part = block.rows(start, min(start + _ROWS_AT_ONCE, block.num_rows))
            drawn = self._random.random(part.num_rows)
            chosen = np.flatnonzero(drawn < self._bound)
            self._drawn.append(drawn[chosen])
            self._parts.append(part.take(chosen))
            if sum(map(len, self._drawn)) > 2 * self._most:
                self._drop()

    def watch(self, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        """Pass on some blocks, and let their rows pass by."""
        for block in blocks:
            self.add(block)
            yield block

    def rows(self) -> CSRBatch | None:
        """Return the sample, its rows in the order in which they came; None if none came."""
        if not self._parts:
            return None
        self._drop()
        return self._parts[0]

    def _drop(self) -> None:
        """Keep only the rows of the lowest numbers."""
        drawn, rows = np.concatenate(self._drawn), CSRBatch.join(self._parts)
        if len(drawn) > self._most:
            self._bound = float(np.partition(drawn, self._most - 1)[self._most - 1])
            chosen = np.flatnonzero(drawn <= self._bound)
            drawn, rows = drawn[chosen], rows.take(chosen)
        self._drawn, self._parts = [drawn], [rows]
