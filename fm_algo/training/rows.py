"""Training, validation or test rows: in memory, or read again for each pass."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.positives import Positives


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with labels: in memory, or read again for each pass.

    Attributes
    ----------
    read : callable
        ``read(epoch)`` yields all rows once, in blocks of any size.
    cached : CSRBatch or None
        All rows; None if they are read again.
    buffer_bytes : int
        Memory for shuffling rows that are read again.
    space : FeatureSpace or None
        The features by the column that they come from; None if that is not known.
    positives : Positives or None
        What a ranking loss learns from; None without one, or if the rows are not in memory.
    """

    read: Callable[[int], Iterator[CSRBatch]]
    cached: CSRBatch | None = None
    buffer_bytes: int = 0
    space: FeatureSpace | None = None
    positives: Positives | None = None

    @classmethod
    def in_memory(cls, rows: CSRBatch) -> Self:
        """Return rows that are all in memory, without those of weight 0.

        Raises
        ------
        UserError
            If no row is left.
        """
        kept = rows.drop_weightless()
        if rows.num_rows and not kept.num_rows:
            raise UserError(f"all {rows.num_rows} rows have weight 0, allowed is a sum above 0")
        return cls(lambda _epoch: iter([kept]), kept)

    def blocks(self, epoch: int) -> Iterator[CSRBatch]:
        """Return the rows of one pass, in blocks."""
        return self.read(epoch) if self.cached is None else iter([self.cached])

    def weighing_positives(self, positive_weight: float) -> Self:
        """Return the rows with the weights of those of label 1 multiplied."""
        if positive_weight == 1:
            return self
        weigh = functools.partial(weigh_positives, positive_weight=positive_weight)
        cached = None if self.cached is None else weigh(self.cached)
        return dataclasses.replace(
            self, read=lambda epoch: map(weigh, self.read(epoch)), cached=cached
        )


def weigh_positives(rows: CSRBatch, positive_weight: float) -> CSRBatch:
    """Return rows with the weights of those of label 1 multiplied."""
    if positive_weight == 1:
        return rows
    by_label = np.ones(rows.num_rows, np.float32)
    by_label[rows.require_labels() == 1] = positive_weight
    return dataclasses.replace(rows, weights=rows.weigh(by_label))
