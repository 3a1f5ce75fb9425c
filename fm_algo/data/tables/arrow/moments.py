"""`NumberSketch`: mean, deviation and quantiles of a column, in one pass and bounded memory."""

import math

import numpy as np
from numpy.typing import NDArray

_SAMPLED = 1 << 17
"""Numbers that quantiles are taken from; of no more rows than these, from all."""


class NumberSketch:
    """Mean, deviation and a sample of the numbers of a column."""

    def __init__(self) -> None:
        self._num_rows = 0
        self._count, self._mean, self._squares = 0, 0.0, 0.0
        self._sample = np.empty(0)
        self._ranks = np.empty(0, np.uint64)

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Take the numbers of the next rows; nan is a missing one."""
        there = ~np.isnan(numbers)
        rows = self._num_rows + np.flatnonzero(there)
        self._num_rows += len(numbers)
        numbers = numbers[there]
        if not len(numbers):
            return
        # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm", 1979.
        count, mean = len(numbers), float(numbers.mean())
        squares = float(((numbers - mean) ** 2).sum())
        total, change = self._count + count, mean - self._mean
        self._squares += squares + change * change * self._count * count / total
        self._mean += change * count / total
        self._count = total
        # The rows of lowest rank: a sample that depends on nothing but how many rows there are.
        ranks = _mixed(rows.astype(np.uint64))
        self._sample = np.concatenate([self._sample, numbers])
        self._ranks = np.concatenate([self._ranks, ranks])
        if len(self._ranks) > 2 * _SAMPLED:
            self._thin_out()

    def _thin_out(self) -> None:
        if len(self._ranks) > _SAMPLED:
            kept = np.argpartition(self._ranks, _SAMPLED)[:_SAMPLED]
            self._sample, self._ranks = self._sample[kept], self._ranks[kept]

    def moments(self) -> tuple[float, float]:
        """Return mean and standard deviation; 0 and 1 where there is nothing to measure."""
        deviation = math.sqrt(self._squares / self._count) if self._count else 0.0
        return self._mean, deviation or 1.0

    def edges(self, num_bins: int) -> tuple[float, ...]:
        """Return where each bin of about as many rows begins, but for the first."""
        self._thin_out()
        if not len(self._sample):
            return ()
        parts = np.arange(1, num_bins) / num_bins
        quantiles = np.quantile(self._sample, parts, method="higher")
        edges = np.unique(quantiles)
        return tuple(edges[edges > self._sample.min()].tolist())


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return numbers in no order that means anything: the finaliser of SplitMix64."""
    z = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
