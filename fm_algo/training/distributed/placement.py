"""Tell which numbers of all features a host keeps: whole rows, or some columns of each row.

Places refer to the rows that a single host would have, with optimiser states: an array of shape
(feature_dim, stride), see `gradient.parameters`. One host at most keeps a number, none padding.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.runtime.simd import WIDTH
from fm_algo.sparse import Float32Array
from fm_algo.training.distributed.ownership import Ownership
from fm_algo.training.gradient.parameters import Layout

Selection = slice | NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a block of all rows that a host keeps.

    Attributes
    ----------
    block : tuple of Selection
        Rows and columns of these numbers, counted from the block's corner.
    own : tuple of Selection
        Rows and columns of the same numbers in the host's own array.
    shape : tuple of int
        Number of rows and of columns.
    """

    block: tuple[Selection, Selection]
    own: tuple[Selection, Selection]
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """How many numbers the part has."""
        return self.shape[0] * self.shape[1]


class Placement(Protocol):
    """Tells which host keeps which numbers."""

    @property
    def feature_dim(self) -> int:
        """Features of all hosts."""
        ...

    @property
    def layout(self) -> Layout:
        """Layout of the rows that a single host would have."""
        ...

    def part(self, host: int, start: int, stop: int, first: int, last: int) -> Part:
        """Find the part that a host keeps of columns first:last of the features start:stop."""
        ...


@dataclass(frozen=True)
class RowPlacement:
    """One host keeps the whole row of a feature; see `Placement`.

    Attributes
    ----------
    layout : Layout
    ownership : Ownership
    """

    layout: Layout
    ownership: Ownership

    @property
    def feature_dim(self) -> int:
        """Features of all hosts."""
        return self.ownership.feature_dim

    def part(self, host: int, start: int, stop: int, first: int, last: int) -> Part:
        """Find the rows that a host keeps."""
        owners, rows = self.ownership.find(np.arange(start, stop, dtype=np.int32))
        of_block = np.flatnonzero(owners == host)
        own = rows[of_block], slice(first, last)
        return Part((of_block, slice(None)), own, (len(of_block), last - first))


@dataclass(frozen=True)
class FactorPlacement:
    """Each host keeps some factors of every feature, and host 0 also keeps w; see `Placement`.

    Attributes
    ----------
    feature_dim, num_hosts : int
    layout : Layout
    """

    feature_dim: int
    num_hosts: int
    layout: Layout
    _columns: list[NDArray[np.intp]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", [self._find(host) for host in range(self.num_hosts)])

    @classmethod
    def of(cls, hyperparameters: Hyperparameters, num_hosts: int) -> Self:
        """Return the placement for a job's hyperparameters."""
        return cls(hyperparameters.feature_dim, num_hosts, Layout.of(hyperparameters))

    def factors(self, host: int) -> tuple[int, int]:
        """Return a host's first factor and the one after its last.

        Each host gets whole vectors, if there are enough of them for all hosts.
        """
        num_factors = self.layout.num_factors
        num_vectors = self.layout.width // WIDTH
        unit, count = (WIDTH, num_vectors) if num_vectors >= self.num_hosts else (1, num_factors)
        first, last = (unit * (number * count // self.num_hosts) for number in (host, host + 1))
        return first, min(last, num_factors)

    def own_hyperparameters(self, host: int) -> dict[str, object]:
        """Return the hyperparameters of a host's kernel that differ from the job's."""
        first, last = self.factors(host)
        own: dict[str, object] = {"num_factors": last - first}
        return own if host == 0 else own | {"use_bias": False, "use_linear": False}

    def part(self, host: int, start: int, stop: int, first: int, last: int) -> Part:
        """Find the columns that a host keeps."""
        own = self._columns[host][first:last]
        of_block = np.flatnonzero(own >= 0)
        shape = stop - start, len(of_block)
        return Part((slice(None), of_block), (slice(start, stop), own[of_block]), shape)

    def _find(self, host: int) -> NDArray[np.intp]:
        """Return the host's own column for each column of a whole row, or -1; shape (stride,)."""
        first, last = self.factors(host)
        whole = self.layout
        own = Layout(last - first, -(-(last - first) // WIDTH) * WIDTH, whole.num_v_states)
        columns = np.full(whole.stride, -1)
        starts = [(0, 0)] + [
            (whole.states_at + number * whole.width, own.states_at + number * own.width)
            for number in range(whole.num_v_states)
        ]
        for in_whole, in_own in starts:
            columns[in_whole + first : in_whole + last] = np.arange(in_own, in_own + last - first)
        if host == 0:
            columns[whole.w_at : whole.states_at] = np.arange(own.w_at, own.states_at)
        return columns


@dataclass(frozen=True, slots=True)
class PartOfModel:
    """The part of a model that a host keeps, written like the whole model; a `ParameterStore`.

    Attributes
    ----------
    w0 : float32, shape (1,)
    w, V : WritableColumns
    field_weights : None
        Several hosts learn none.
    """

    w0: Float32Array
    w: "WritableColumns"
    V: "WritableColumns"
    field_weights: None = None


class WritableColumns:
    """Takes values like an array with one row per feature, but keeps only this host's numbers.

    Parameters
    ----------
    own : float32, shape (num_own_rows, own stride)
        This host's rows.
    placement : Placement
    host : int
        Number of this host.
    first, last : int
        The array has columns first:last of whole rows.
    is_flat : bool, optional
        Whether it is one column, with the shape of a vector.
    """

    _ROWS_AT_ONCE = 1 << 20  # looking them up takes 8 MB

    def __init__(
        self,
        own: Float32Array,
        placement: Placement,
        host: int,
        first: int,
        last: int,
        *,
        is_flat: bool = False,
    ) -> None:
        self.shape = (placement.feature_dim,) + (() if is_flat else (last - first,))
        self._own = own
        self._placement = placement
        self._host = host
        self._columns = first, last

    def __setitem__(self, features: slice, values: NDArray[Any] | float) -> None:
        begin, end, _ = features.indices(self.shape[0])
        for start in range(begin, end, self._ROWS_AT_ONCE):
            stop = min(start + self._ROWS_AT_ONCE, end)
            part = self._placement.part(self._host, start, stop, *self._columns)
            if isinstance(values, np.ndarray):
                block = values[start - begin : stop - begin].reshape(stop - start, -1)
                self._own[part.own] = block[part.block]
            else:
                self._own[part.own] = values
