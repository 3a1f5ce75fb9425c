"""Write to all features' parameters, and keep those that are this host's."""

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fm_algo.distributed.ownership import Ownership
from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array, Int32Array

_BLOCK_ROWS = 1 << 20
"""Features looked up at once: 8 MB."""


class OwnRows:
    """What can be written to like an array with a row for each feature.

    Parameters
    ----------
    rows : float32, shape (num_own_rows, …)
        This host's.
    ownership : Ownership
    rank : int
        Number of this host.
    """

    def __init__(self, rows: Float32Array, ownership: Ownership, rank: int) -> None:
        self.shape = (ownership.feature_dim, *rows.shape[1:])
        self._rows = rows
        self._ownership = ownership
        self._rank = rank

    def __setitem__(self, features: slice, values: NDArray[Any] | float) -> None:
        first, last, _ = features.indices(self.shape[0])
        for start in range(first, last, _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, last)
            own, rows = own_part(self._ownership, self._rank, start, stop)
            if isinstance(values, np.ndarray):
                self._rows[rows] = values[start - first : stop - first][own]
            else:
                self._rows[rows] = values


def own_part(
    ownership: Ownership, rank: int, start: int, stop: int
) -> tuple[NDArray[np.intp], Int32Array]:
    """Return which of the features start:stop a host owns, counted from start, and their rows."""
    owners, rows = ownership.find(np.arange(start, stop, dtype=np.int32))
    own = np.flatnonzero(owners == rank)
    return own, rows[own]


def writable_model(own: FMModel, ownership: Ownership, rank: int) -> FMModel:
    """Return what can be written to like the whole model, for initial parameters.

    Parameters
    ----------
    own : FMModel
        The rows of this host.
    ownership : Ownership
    rank : int
    """
    w, V = (OwnRows(rows, ownership, rank) for rows in (own.w, own.V))
    return FMModel(own.predictor_type, own.w0, cast("Float32Array", w), cast("Float32Array", V))
