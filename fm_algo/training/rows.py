"""Training, validation or test rows: in memory, or read again for each pass."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from fm_algo.data.feature_space import FeatureSpace
from fm_algo.sparse import CSRBatch


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
    """

    read: Callable[[int], Iterator[CSRBatch]]
    cached: CSRBatch | None = None
    buffer_bytes: int = 0
    space: FeatureSpace | None = None

    @classmethod
    def in_memory(cls, rows: CSRBatch) -> Self:
        """Return rows that are all in memory."""
        return cls(lambda _epoch: iter([rows]), rows)

    def blocks(self, epoch: int) -> Iterator[CSRBatch]:
        """Return the rows of one pass, in blocks."""
        return self.read(epoch) if self.cached is None else iter([self.cached])
