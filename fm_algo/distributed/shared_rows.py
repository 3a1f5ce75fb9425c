"""All hosts' rows as one array, which the leader reads and writes while the others serve.

So the leader can write a model or a checkpoint larger than its memory, with the code that one host
writes its own with: in blocks of the order of the features, so that nothing in the file says how
many hosts there were.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fm_algo.distributed.kernel import DistributedKernel
from fm_algo.distributed.own_rows import own_part
from fm_algo.kernels import SharedArray, State
from fm_algo.kernels.parameters import PARAMETER_ROWS
from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array, Int64Array

_BLOCK_NUMBERS = 1 << 22
"""Numbers exchanged at once, 16 MB."""

_READ, _WRITE, _DISMISS = range(3)


class RowService:
    """The rows of all hosts at the leader's service.

    The leader works with `model` and `state`, and ends with `dismiss`; meanwhile the others
    `serve`.

    Parameters
    ----------
    kernel : DistributedKernel
        This host's.
    """

    def __init__(self, kernel: DistributedKernel) -> None:
        self._kernel = kernel
        self._group = kernel.group
        self._rows = kernel.own_parameters
        self.num_features = kernel.ownership.feature_dim

    def model(self) -> FMModel:
        """Return the whole model: w and V can be cut into slices, and slices assigned to."""
        own, (first, last) = self._kernel.model(), self._kernel.w_columns
        w = SharedRows(self, first, last, is_flat=True)
        V = SharedRows(self, 0, own.num_factors)
        return FMModel(own.predictor_type, own.w0, cast("Float32Array", w), cast("Float32Array", V))

    def state(self) -> State:
        """Return the state of one host that has all rows."""
        parameters: SharedArray = SharedRows(self, 0, self._rows.shape[1])
        return {**self._kernel.state(), PARAMETER_ROWS: parameters}

    def read(self, start: int, stop: int, first: int, last: int) -> Float32Array:
        """Return columns first:last of the features start:stop; for the leader."""
        self._say(_READ, start, stop, first, last)
        order, counts = self._order(start, stop)
        found = self._send(start, stop, first, last, counts)
        values = np.empty((stop - start, last - first), np.float32)
        values[order] = found
        return values

    def write(self, start: int, stop: int, first: int, last: int, values: Float32Array) -> None:
        """Set columns first:last of the features start:stop; for the leader."""
        self._say(_WRITE, start, stop, first, last)
        order, counts = self._order(start, stop)
        self._receive(start, stop, first, last, values[order], counts)

    def dismiss(self) -> None:
        """Let the others go; for the leader. What all hosts have the same is then the leader's."""
        self._say(_DISMISS)
        self._share_replicated()

    def serve(self) -> None:
        """Do what the leader says until it is done; for the others."""
        nobody = np.zeros(self._group.size, np.int64)
        while True:
            command, start, stop, first, last = self._hear()
            if command == _READ:
                self._send(start, stop, first, last, nobody)
            elif command == _WRITE:
                nothing = np.empty((0, last - first), np.float32)
                self._receive(start, stop, first, last, nothing, nobody)
            else:
                self._share_replicated()
                return

    def _say(self, command: int, *numbers: int) -> None:
        said = np.zeros(5, np.int64)
        said[: 1 + len(numbers)] = (command, *numbers)
        self._group.gather(said)

    def _hear(self) -> list[int]:
        heard: list[int] = self._group.gather(np.zeros(5, np.int64))[0].tolist()
        return heard

    def _order(self, start: int, stop: int) -> tuple[NDArray[np.intp], Int64Array]:
        """Features start:stop host by host, and how many each has."""
        owners, _ = self._kernel.ownership.find(np.arange(start, stop, dtype=np.int32))
        counts = np.bincount(owners, minlength=self._group.size)
        return np.argsort(owners, kind="stable"), counts

    def _send(
        self, start: int, stop: int, first: int, last: int, counts_in: Int64Array
    ) -> Float32Array:
        """Send this host's rows to the leader; return what comes in."""
        _, rows = own_part(self._kernel.ownership, self._group.rank, start, stop)
        counts_out = np.zeros(self._group.size, np.int64)
        counts_out[0] = len(rows)
        columns = self._rows[:, first:last]
        return self._group.exchange(columns[rows], counts_out, counts_in).wait()

    def _receive(
        self,
        start: int,
        stop: int,
        first: int,
        last: int,
        values: Float32Array,
        counts_out: Int64Array,
    ) -> None:
        """Send out what the leader has; keep what comes in for this host's rows."""
        _, rows = own_part(self._kernel.ownership, self._group.rank, start, stop)
        counts_in = np.zeros(self._group.size, np.int64)
        counts_in[0] = len(rows)
        self._rows[rows, first:last] = self._group.exchange(values, counts_out, counts_in).wait()

    def _share_replicated(self) -> None:
        for name, array in self._kernel.state().items():
            if name != PARAMETER_ROWS:
                array[...] = self._group.gather(np.asarray(array))[0]


class SharedRows:
    """Some columns of all features' rows, for the leader.

    Parameters
    ----------
    service : RowService
    first, last : int
        The columns.
    is_flat : bool, optional
        Whether it is one column and looks like a vector.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, service: RowService, first: int, last: int, *, is_flat: bool = False
    ) -> None:
        num_columns = last - first
        self.shape = (service.num_features,) if is_flat else (service.num_features, num_columns)
        self.nbytes = 4 * service.num_features * num_columns
        self._service = service
        self._columns = (first, last)
        self._rows_at_once = max(1, _BLOCK_NUMBERS // num_columns)

    def __getitem__(self, rows: slice) -> Float32Array:
        start, stop, _ = rows.indices(self.shape[0])
        parts = [
            self._service.read(first, min(first + self._rows_at_once, stop), *self._columns)
            for first in range(start, stop, self._rows_at_once)
        ]
        return np.concatenate(parts).reshape(-1, *self.shape[1:])

    def __setitem__(self, rows: Any, values: Any) -> None:  # noqa: ANN401 - as NumPy's
        start, stop, _ = (rows if isinstance(rows, slice) else slice(None)).indices(self.shape[0])
        for first in range(start, stop, self._rows_at_once):
            last = min(first + self._rows_at_once, stop)
            block = np.empty((last - first, *self.shape[1:]), np.float32)
            block[...] = values[first - start : last - start] if np.ndim(values) else values
            self._service.write(first, last, *self._columns, block.reshape(last - first, -1))

    def blocks(self, block_bytes: int) -> Iterator[memoryview]:
        """Yield the bytes of all rows, in order."""
        block, filled = np.empty(block_bytes, np.uint8), 0
        for start in range(0, self.shape[0], self._rows_at_once):
            data = self[start : start + self._rows_at_once].reshape(-1).view(np.uint8)
            while len(data):
                part = data[: block_bytes - filled]
                block[filled : filled + len(part)] = part
                filled, data = filled + len(part), data[len(part) :]
                if filled == block_bytes:
                    yield block.data
                    block, filled = np.empty(block_bytes, np.uint8), 0
        if filled:
            yield block[:filled].data

    def blocks_to_fill(self, block_bytes: int) -> Iterator[memoryview]:
        """Yield blocks of the same sizes; what is written to one is taken before the next."""
        num_columns = self._columns[1] - self._columns[0]
        left, start = self.nbytes, 0
        rest = np.empty(0, np.uint8)
        while left:
            block = np.empty(min(block_bytes, left), np.uint8)
            yield block.data
            left -= len(block)
            data = np.concatenate([rest, block])
            whole = len(data) - len(data) % (num_columns * 4)
            rows = data[:whole].view(np.float32).reshape(-1, num_columns)
            self[start : start + len(rows)] = rows
            start, rest = start + len(rows), data[whole:]
