"""Count what is worth knowing of the training rows in one pass: labels, columns, duplicates."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.row_sample import RowSample
from fm_algo.training.rows import Rows

LARGE_VALUE = 100.0
"""A column with a larger value is not scaled: its step is that much larger than a bias's."""

_MOST_FEATURES = 1 << 22
"""Features whose columns are told apart: 50 MB. A job may have planned all memory there is."""

_MOST_ENTRIES = 1 << 25
"""Entries that are counted by column: a third of a second. Labels are counted in all rows."""

_MOST_COMPARED = 1 << 20
"""Rows that are searched for duplicates: 8 bytes per row."""

_MOST_NAMED = 5

_UInt64Array = NDArray[np.uint64]
_R = TypeVar("_R", bound=Rows)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the training rows.

    Attributes
    ----------
    num_rows, num_entries, feature_dim : int
    label_mean, label_deviation, label_min, label_max : float
        Of the labels; mean and deviation are weighted by the rows' weights. 0 without rows.
    num_unseen : int or None
        Features without a value other than 0; None where there are too many features to tell.
    num_constant, num_large : int
        Features with the same value in every row; features with a value beyond 100.
    num_counted : int
        In how many of the first rows columns were counted.
    constant : tuple of int
        The first of the constant ones.
    large : tuple of (int, float)
        Those with the largest absolute values, and these.
    num_duplicates, num_compared : int
        Rows like an earlier row, label included, and among how many of the first rows.
    """

    num_rows: int
    num_entries: int
    feature_dim: int
    label_mean: float
    label_deviation: float
    label_min: float
    label_max: float
    num_unseen: int | None
    num_counted: int
    num_constant: int
    constant: tuple[int, ...]
    num_large: int
    large: tuple[tuple[int, float], ...]
    num_duplicates: int
    num_compared: int

    @property
    def density(self) -> float:
        """Share of the numbers of all rows that are stored."""
        return self.num_entries / max(self.num_rows * self.feature_dim, 1)

    @property
    def has_one_label(self) -> bool:
        """Whether all labels are alike, so that nothing can be learnt."""
        return self.num_rows > 0 and self.label_min == self.label_max

    def told(self, *, with_labels: bool = True) -> list[str]:
        """Say what there is to know, in sentences; the first has the numbers of all data."""
        labels = (
            f"; labels from {self.label_min:g} to {self.label_max:g}, mean {self.label_mean:.4g}, "
            f"deviation {self.label_deviation:.4g}"
        )
        sentences = [
            f"{self.num_rows} rows with {self.num_entries} values, a density of "
            f"{self.density:.3g}{labels if with_labels else ''}"
        ]
        if self.num_unseen:
            sentences.append(f"{self.num_unseen} of {self.feature_dim} features never occur")
        if self.num_constant:
            named = _listed(self.num_constant, map(str, self.constant))
            sentences.append(f"{self.num_constant} features have one value in all rows: {named}")
        if self.num_large:
            named = _listed(self.num_large, (f"{number} ({size:g})" for number, size in self.large))
            sentences.append(
                f"{self.num_large} features have values beyond {LARGE_VALUE:g}: {named}"
            )
        if len(sentences) > 1 and self.num_counted < self.num_rows:
            sentences[-1] += f" (features counted in the first {self.num_counted} rows)"
        if self.num_duplicates:
            sentences.append(
                f"{self.num_duplicates} of the first {self.num_compared} rows repeat an earlier one"
            )
        return sentences


class Census:
    """Counts the rows that pass by, and keeps a sample of them.

    Parameters
    ----------
    feature_dim : int
    seed : int

    Attributes
    ----------
    is_complete : bool
        Whether all rows have passed.
    sample : RowSample
    """

    def __init__(self, feature_dim: int, seed: int) -> None:
        known = feature_dim if feature_dim <= _MOST_FEATURES else 0
        self._feature_dim = feature_dim
        self._counts = np.zeros(known, np.int32)
        self._low = np.full(known, np.inf, np.float32)
        self._high = np.full(known, -np.inf, np.float32)
        self._hashes: list[_UInt64Array] = []
        self._num_rows = self._num_entries = self._num_counted = 0
        self._sums = np.zeros(3)  # of weights, of labels and of their squares, less `_origin`
        self._origin = 0.0
        self._label_min, self._label_max = math.inf, -math.inf
        self._facts: Facts | None = None
        self.sample = RowSample(seed)
        self.is_complete = False

    def watch(self, rows: _R) -> _R:
        """Count rows in memory at once; return others so that they are counted when first read."""
        if rows.cached is not None:
            self._count(rows.cached)
            self.is_complete = True
            return rows
        read, is_watched = rows.read, False

        def watched(epoch: int) -> Iterator[CSRBatch]:
            nonlocal is_watched
            blocks = read(epoch)
            if is_watched:
                return blocks
            is_watched = True
            return self._counted(blocks)

        return dataclasses.replace(rows, read=watched)

    def _counted(self, blocks: Iterator[CSRBatch]) -> Iterator[CSRBatch]:
        for block in blocks:
            self._count(block)
            yield block
        self.is_complete = True

    def _count(self, block: CSRBatch) -> None:
        labels = block.require_labels()
        if not len(labels):
            return
        if self._num_entries < _MOST_ENTRIES:
            self._count_columns(block, labels)
        if not self._num_rows:
            self._origin = float(labels[0])  # sums of squares of large labels lose their spread
        self._num_rows += len(labels)
        self._num_entries += block.num_entries
        away = labels.astype(np.float64) - self._origin
        weighted = away if block.weights is None else away * block.weights
        weight = len(away) if block.weights is None else block.weights.sum(dtype=np.float64)
        self._sums += weight, weighted.sum(), np.einsum("i,i->", weighted, away)
        self._label_min = min(self._label_min, float(labels.min()))
        self._label_max = max(self._label_max, float(labels.max()))
        self.sample.add(block)

    def _count_columns(self, block: CSRBatch, labels: Float32Array) -> None:
        end = int(np.searchsorted(block.indptr, _MOST_ENTRIES - self._num_entries))
        rows = block.rows(0, min(max(end, 1), len(labels)))
        compared = min(max(_MOST_COMPARED - self._num_rows, 0), rows.num_rows)
        hashes = np.zeros(compared, np.uint64)
        columns = (self._counts, self._low, self._high)
        _count_rows(rows.indptr, rows.indices, rows.values, labels, *columns, hashes)
        self._hashes.append(hashes)
        self._num_counted += rows.num_rows

    def facts(self) -> Facts:
        """Return what the rows so far have shown; once all have, in no more memory than that."""
        if self._facts is not None:
            return self._facts
        facts = self._summed_up()
        if self.is_complete:
            self._facts = facts
            self._hashes = []
            self._counts = np.empty(0, np.int32)
            self._low = self._high = np.empty(0, np.float32)
        return facts

    def _summed_up(self) -> Facts:
        has_rows = self._num_rows > 0
        away, squares = (self._sums[1:] / (self._sums[0] or 1)).tolist()
        seen = self._counts > 0
        is_constant = (self._counts == self._num_counted) & (self._low == self._high) & seen
        constant = np.flatnonzero(is_constant)
        sizes = np.where(seen, np.maximum(np.abs(self._low), np.abs(self._high)), 0)
        large = np.flatnonzero(sizes > LARGE_VALUE)
        largest = large[np.argsort(-sizes[large], kind="stable")[:_MOST_NAMED]]
        hashes = np.sort(np.concatenate([np.empty(0, np.uint64), *self._hashes]))
        return Facts(
            num_rows=self._num_rows,
            num_entries=self._num_entries,
            feature_dim=self._feature_dim,
            label_mean=self._origin + away,
            label_deviation=math.sqrt(max(squares - away * away, 0)),
            label_min=self._label_min if has_rows else 0.0,
            label_max=self._label_max if has_rows else 0.0,
            num_unseen=int(np.count_nonzero(~seen)) if len(seen) else None,
            num_counted=self._num_counted,
            num_constant=len(constant),
            constant=tuple(constant[:_MOST_NAMED].tolist()),
            num_large=len(large),
            large=tuple((int(feature), float(sizes[feature])) for feature in largest),
            num_duplicates=int(np.count_nonzero(hashes[1:] == hashes[:-1])),
            num_compared=len(hashes),
        )


def _listed(number: int, named: Iterable[str]) -> str:
    listed = list(named)
    return ", ".join(listed) + (", …" if number > len(listed) else "")


@njit(nogil=True, cache=True)
def _count_rows(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    labels: Float32Array,
    counts: Int32Array,
    low: Float32Array,
    high: Float32Array,
    hashes: _UInt64Array,
) -> None:
    """Count values other than 0, their bounds by feature, and hash the first rows with labels.

    A hash does not depend on the order of a row's entries.
    """
    bits, label_bits = values.view(np.uint32), labels.view(np.uint32)
    tells_columns = len(counts) > 0
    for r in range(len(indptr) - 1):
        is_hashed = r < len(hashes)
        total = _mixed(np.uint64(label_bits[r]))
        for e in range(indptr[r], indptr[r + 1]):
            x = values[e]
            if x == 0:
                continue
            feature = indices[e]
            if tells_columns:
                counts[feature] += 1
                low[feature] = min(low[feature], x)
                high[feature] = max(high[feature], x)
            if is_hashed:
                total += _mixed((np.uint64(feature + 1) << np.uint64(32)) | np.uint64(bits[e]))
        if is_hashed:
            hashes[r] = total


@njit(nogil=True, cache=True)
def _mixed(key: np.uint64) -> np.uint64:
    """Scatter a number over all 64 bits.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: the last
    step of SplitMix64.
    """
    key += np.uint64(0x9E3779B97F4A7C15)
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))
