"""How much memory a chain takes, told before it is made."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from fm_algo.runtime.simd import CACHE_LINE, WIDTH
from fm_algo.sparse import CSRBatch
from fm_algo.training.bayes.posterior import sketch_columns

_ENTRY_BYTES = 8  # a row's number and a value
_SORTING_BYTES = 16  # two lists of records while entries are put in order, without their values
_VALUE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Counts:
    """What of the training rows decides on memory.

    Attributes
    ----------
    num_rows, num_entries, feature_dim : int
    has_values : bool
        Whether any value is not 1.
    has_weights : bool
        Whether the rows have weights.
    """

    num_rows: int
    num_entries: int
    feature_dim: int
    has_values: bool
    has_weights: bool = False

    @classmethod
    def of(cls, blocks: Iterable[CSRBatch], feature_dim: int) -> Self:
        """Count rows that come in blocks."""
        num_rows, num_entries, has_values, has_weights = 0, 0, False, False
        for block in blocks:
            num_rows += block.num_rows
            num_entries += block.num_entries
            has_values = has_values or bool((block.values != 1).any())
            has_weights = has_weights or block.weights is not None
        return cls(num_rows, num_entries, feature_dim, has_values, has_weights)

    @property
    def rows_bytes(self) -> int:
        """Memory of the rows themselves."""
        return 8 * self.num_entries + (12 + 4 * self.has_weights) * self.num_rows


def planned_bytes(
    rows: Counts,
    num_factors: int,
    *,
    is_classifier: bool,
    num_saved: int | None = None,
    num_samples: int = 0,
    draws: bool = True,
) -> int:
    """Peak memory of a `Chain` on these rows, beside the rows' own, and of its `model()`.

    Parameters
    ----------
    rows : Counts
        Of the training rows.
    num_factors, num_saved, num_samples : int
        As of `Chain`.
    is_classifier, draws : bool

    Returns
    -------
    int
        Bytes: while entries are put in order, or while it sweeps, whatever is more.
    """
    num_saved = num_saved or num_factors
    sorting = _SORTING_BYTES + 2 * _ENTRY_BYTES + _VALUE_BYTES * rows.has_values
    width, saved_width = _whole(num_factors, WIDTH), _whole(num_saved, WIDTH)
    stride, saved_stride = _stride(width), _stride(saved_width)
    row_floats = 5 + width + (2 if is_classifier else rows.has_weights)
    sketch_floats = _whole(sum(sketch_columns(num_factors, num_saved if draws else 0)), WIDTH)
    # Samples twice: as they are kept, and as the models that `model()` gives with the mean.
    feature_floats = 6 + stride + sketch_floats + 2 * num_samples * (num_factors + 1)
    # What model() adds: row sums and margins of the saved width, and a few copies of the factors.
    model_rows = 4 * rows.num_rows * (2 + saved_width + rows.has_weights)
    model_features = 4 * rows.feature_dim * (saved_stride + 2 * saved_width)
    sweeping = _ENTRY_BYTES * rows.num_entries + 4 * (
        rows.num_rows * row_floats + rows.feature_dim * feature_floats
    )
    return max(sorting * rows.num_entries, sweeping + model_rows + model_features)


def _whole(number: int, unit: int) -> int:
    return -(-number // unit) * unit


def _stride(width: int) -> int:
    return _whole(width + WIDTH, CACHE_LINE)
