"""Find the parameter rows of a mini-batch on their hosts, and exchange rows and gradients."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.distributed.group import HostGroup, Pending
from fm_algo.training.distributed.ownership import Ownership
from fm_algo.training.gradient import Columns, PreparedBatch
from fm_algo.training.gradient.split_passes import renumber
from fm_algo.training.gradient.transpose import transpose


@dataclass(frozen=True, slots=True, eq=False)
class RoutedBatch(PreparedBatch):
    """A mini-batch whose features are numbered by the places of their rows once fetched.

    Attributes
    ----------
    columns : Columns
        With those places instead of features.
    compact : CSRBatch
        The mini-batch; its feature_dim is the number of features present.
    rows : int32, shape (num_features,)
        For each place, the number of the row at its owner; they lie owner by owner.
    counts : int64, shape (num_hosts,)
        How many of these rows each host owns.
    """

    columns: Columns
    compact: CSRBatch
    rows: Int32Array
    counts: Int64Array

    @classmethod
    def of(cls, batch: CSRBatch, ownership: Ownership) -> Self:
        """Find out where the parameter rows of a mini-batch are."""
        columns = transpose(batch)
        owners, rows = ownership.find(columns.features)
        order = np.argsort(owners.astype(np.int16), kind="stable")
        places = np.empty(len(order), np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        columns = Columns(places, columns.starts, columns.rows, columns.values)
        indices, values = np.empty_like(batch.indices), np.empty_like(batch.values)
        renumber(
            columns.starts, columns.rows, columns.values, places, batch.indptr, indices, values
        )
        compact = replace(batch, indices=indices, values=values, feature_dim=len(places))
        counts = np.bincount(owners, minlength=ownership.num_hosts)
        return cls(batch, columns, compact, rows[order], counts)


class Route:
    """Exchanges the rows and gradients of one mini-batch of all hosts.

    Parameters
    ----------
    group : HostGroup
    batch : RoutedBatch
        This host's mini-batch.
    counts_in : int64, shape (num_hosts,)
        How many rows each host wants from this one.
    """

    def __init__(self, group: HostGroup, batch: RoutedBatch, counts_in: Int64Array) -> None:
        self.batch = batch
        self._group = group
        self._counts_in = counts_in
        self._wanted: Pending[np.int32] = group.exchange(batch.rows, batch.counts, counts_in)

    def wanted(self) -> Int32Array:
        """Return the numbers of this host's rows that the hosts want, host by host, int32."""
        return self._wanted.wait()

    def by_row(self, num_rows: int) -> Columns:
        """Group `wanted` by row: each row, and its places in `wanted` in ascending order."""
        wanted = self.wanted()
        indptr = np.arange(len(wanted) + 1)
        return transpose(CSRBatch(indptr, wanted, np.ones(len(wanted), np.float32), None, num_rows))

    def bring(self, rows: Float32Array, into: Float32Array) -> Pending[np.float32]:
        """Send the rows `wanted` to the hosts; get the rows of the mini-batch, by place."""
        return self._group.exchange(rows, self._counts_in, self.batch.counts, into)

    def bring_back(self, gradients: Float32Array, into: Float32Array) -> Pending[np.float32]:
        """Send gradients, by place, to the rows' owners; get the gradients of the rows `wanted`."""
        return self._group.exchange(gradients, self.batch.counts, self._counts_in, into)


class Baggage:
    """Memory for rows on their way, reused in each step: new memory would take more time.

    Parameters
    ----------
    row_floats : int
        Numbers per row.
    """

    _GROWTH = 1.125

    def __init__(self, row_floats: int) -> None:
        self._row_floats = row_floats
        self._memory: dict[str, Float32Array] = {}

    def rows(self, name: str, num_rows: int) -> Float32Array:
        """Return uninitialized rows; they replace the earlier rows of the same name."""
        memory = self._memory.get(name)
        if memory is None or len(memory) < num_rows:
            shape = (int(self._GROWTH * num_rows), self._row_floats)
            memory = self._memory[name] = np.empty(shape, np.float32)
        return memory[:num_rows]
