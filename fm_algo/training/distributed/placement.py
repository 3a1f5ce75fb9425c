"""Which of all features' numbers a host keeps, and where: whole rows, or some columns of each.

All features' rows, with optimiser states, are seen as one host has them (`kernels.parameters`): an
array of shape (feature_dim, stride). Each number has one host at most; padding has none.
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
    """What a host keeps of a block of all rows.

    Attributes
    ----------
    block : tuple of Selection
        Rows and columns of the block, counted from its corner.
    own : tuple of Selection
        The same numbers' rows and columns among those of the host.
    shape : tuple of int
        How many.
    """

    block: tuple[Selection, Selection]
    own: tuple[Selection, Selection]
    shape: tuple[int, int]

    @property
    def size(self) -> int:
        """Numbers in all."""
        return self.shape[0] * self.shape[1]


class Placement(Protocol):
    """Which numbers are whose."""

    @property
    def feature_dim(self) -> int:
        """Features of all hosts."""
        ...

    @property
    def layout(self) -> Layout:
        """Of rows as one host has them."""
        ...

    def part(self, host: int, start: int, stop: int, first: int, last: int) -> Part:
        """Find what a host keeps of columns first:last of the features start:stop."""
        ...


@dataclass(frozen=True)
class RowPlacement:
    """Each feature's row lies on one host as a whole; see `Placement`.

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
        """Find the rows of a host."""
        owners, rows = self.ownership.find(np.arange(start, stop, dtype=np.int32))
        of_block = np.flatnonzero(owners == host)
        own = rows[of_block], slice(first, last)
        return Part((of_block, slice(None)), own, (len(of_block), last - first))


@dataclass(frozen=True)
class FactorPlacement:
    """Each host keeps some of every feature's factors; the first host w as well; see `Placement`.

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
        """Place the parameters of a training."""
        return cls(hyperparameters.feature_dim, num_hosts, Layout.of(hyperparameters))

    def factors(self, host: int) -> tuple[int, int]:
        """Return a host's first factor and the one after its last.

        Whole vectors, if there are enough of them for all hosts.
        """
        num_factors = self.layout.num_factors
        num_vectors = self.layout.width // WIDTH
        unit, count = (WIDTH, num_vectors) if num_vectors >= self.num_hosts else (1, num_factors)
        first, last = (unit * (number * count // self.num_hosts) for number in (host, host + 1))
        return first, min(last, num_factors)

    def own_hyperparameters(self, host: int) -> dict[str, object]:
        """Return what is other for a host's kernel than for one that has all parameters."""
        first, last = self.factors(host)
        own: dict[str, object] = {"num_factors": last - first}
        return own if host == 0 else own | {"use_bias": False, "use_linear": False}

    def part(self, host: int, start: int, stop: int, first: int, last: int) -> Part:
        """Find the columns of a host."""
        own = self._columns[host][first:last]
        of_block = np.flatnonzero(own >= 0)
        shape = stop - start, len(of_block)
        return Part((slice(None), of_block), (slice(start, stop), own[of_block]), shape)

    def _find(self, host: int) -> NDArray[np.intp]:
        """For each column of a whole row the host's own, or -1: shape (stride,)."""
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
    """What a host keeps of a model, written to like the whole; a `ParameterStore`.

    Attributes
    ----------
    w0 : float32, shape (1,)
    w, V : WritableColumns
    """

    w0: Float32Array
    w: "WritableColumns"
    V: "WritableColumns"


class WritableColumns:
    """What can be written to like an array with a row for each feature; keeps what is this host's.

    Parameters
    ----------
    own : float32, shape (num_own_rows, own stride)
        This host's rows.
    placement : Placement
    host : int
        Number of this host.
    first, last : int
        The columns of whole rows that the array has.
    is_flat : bool, optional
        Whether it is one column and looks like a vector.
    """

    _ROWS_AT_ONCE = 1 << 20  # 8 MB to look them up

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
