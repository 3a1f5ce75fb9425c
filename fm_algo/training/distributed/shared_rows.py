"""Show all hosts' rows as one array, which the leader reads and writes while the others serve.

So the leader can write a model or a checkpoint larger than its memory, with the code of a single
host. It works in blocks in the order of the features, so the arrays in a file do not depend on the
number of hosts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fm_algo.model import FMModel, PredictorType
from fm_algo.sparse import Float32Array, Int64Array
from fm_algo.training.distributed.host_kernel import HostKernel
from fm_algo.training.distributed.placement import Part
from fm_algo.training.gradient.parameters import PARAMETER_ROWS
from fm_algo.training.state import Forms, SharedArray, State, write_model

_BLOCK_NUMBERS = 1 << 22
"""Numbers exchanged at once, 16 MB."""

_READ, _WRITE, _DISMISS = range(3)


class RowService:
    """Gives the leader access to the rows of all hosts.

    The leader works with `model` and `state`, and ends with `dismiss`. Meanwhile the other hosts
    run `serve`.

    Parameters
    ----------
    kernel : HostKernel
        This host's kernel.
    """

    def __init__(self, kernel: HostKernel) -> None:
        self._kernel = kernel
        self._group = kernel.group
        self._placement = kernel.placement
        self.num_features = kernel.placement.feature_dim

    def model(self) -> "SharedModel":
        """Return the whole model."""
        own, layout = self._kernel.model(), self._placement.layout
        w = SharedRows(self, layout.w_at, layout.w_at + 1, is_flat=True)
        return SharedModel(own.predictor_type, own.w0, w, SharedRows(self, 0, layout.num_factors))

    def writable_model(self) -> "SharedModel":
        """Return the whole model, for writing."""
        self._kernel.writable_state()
        return self.model()

    def load(self, model: FMModel) -> None:
        """Take a model in place of the present one."""
        write_model(model, self.writable_model())

    def state(self) -> State:
        """Return the state that one host with all rows would have."""
        return self._with_all_rows(self._kernel.state())

    def writable_state(self, forms: Forms | None = None) -> State:
        """Return the same, for writing."""
        return self._with_all_rows(self._kernel.writable_state())

    def _with_all_rows(self, own: State) -> State:
        parameters: SharedArray = SharedRows(self, 0, self._placement.layout.stride)
        return {**own, PARAMETER_ROWS: parameters}

    def read(self, *block: int) -> Float32Array:
        """Return a block of all rows: rows start:stop, columns first:last; for the leader."""
        self._say(_READ, *block)
        start, stop, first, last = block
        values = np.zeros((stop - start, last - first), np.float32)
        parts = self._parts(block)
        found = self._send(block, np.array([part.size for part in parts]))
        for part, numbers in zip(parts, _cut(found, parts), strict=True):
            values[part.block] = numbers
        return values

    def write(self, values: Float32Array, *block: int) -> None:
        """Set a block of all rows; for the leader."""
        self._say(_WRITE, *block)
        parts = self._parts(block)
        sent = np.concatenate([values[part.block].reshape(-1) for part in parts])
        self._receive(block, sent, np.array([part.size for part in parts]))

    def dismiss(self) -> None:
        """End `serve` on the other hosts, and give them the replicated arrays; for the leader."""
        self._say(_DISMISS)
        self._share_replicated()

    def serve(self) -> None:
        """Do what the leader says until it calls `dismiss`; for the other hosts."""
        nobody = np.zeros(self._group.size, np.int64)
        while True:
            command, *block = self._hear()
            if command == _READ:
                self._send(block, nobody)
            elif command == _WRITE:
                self._receive(block, np.empty(0, np.float32), nobody)
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

    def _parts(self, block: Sequence[int]) -> list[Part]:
        """Find what each host keeps of a block."""
        return [self._placement.part(host, *block) for host in range(self._group.size)]

    def _send(self, block: Sequence[int], counts_in: Int64Array) -> Float32Array:
        """Send this host's numbers to the leader; return the numbers received."""
        part = self._placement.part(self._group.rank, *block)
        counts_out = np.zeros(self._group.size, np.int64)
        counts_out[0] = part.size
        numbers = np.ascontiguousarray(self._kernel.own_parameters[part.own]).reshape(-1)
        return self._group.exchange(numbers, counts_out, counts_in).wait()

    def _receive(self, block: Sequence[int], sent: Float32Array, counts_out: Int64Array) -> None:
        """Send out the leader's numbers; store those received on this host."""
        part = self._placement.part(self._group.rank, *block)
        counts_in = np.zeros(self._group.size, np.int64)
        counts_in[0] = part.size
        numbers = self._group.exchange(sent, counts_out, counts_in).wait()
        self._kernel.writable_parameters[part.own] = numbers.reshape(part.shape)

    def _share_replicated(self) -> None:
        self._kernel.state()  # copies a device's numbers to the host
        for array in self._kernel.replicated:
            of_leader = self._group.gather(array)[0]
            if not np.array_equal(array, of_leader):
                self._kernel.writable_state()
                array[...] = of_leader


def _cut(numbers: Float32Array, parts: Sequence[Part]) -> Iterator[Float32Array]:
    """Yield each part's numbers in its shape."""
    start = 0
    for part in parts:
        yield numbers[start : start + part.size].reshape(part.shape)
        start += part.size


@dataclass(frozen=True, slots=True)
class SharedModel:
    """The whole model, for the leader; slices of w and V can be read and assigned.

    Attributes
    ----------
    predictor_type : {"regressor", "binary_classifier"}
    w0 : float32, shape (1,)
    w, V : SharedRows
    field_weights : None
        Several hosts learn none.
    """

    predictor_type: PredictorType
    w0: Float32Array
    w: "SharedRows"
    V: "SharedRows"
    field_weights: None = None


class SharedRows:
    """Some columns of all features' rows, for the leader.

    Parameters
    ----------
    service : RowService
    first, last : int
        The columns are first:last.
    is_flat : bool, optional
        Whether it is one column, with the shape of a vector.
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
            self._service.write(block.reshape(last - first, -1), first, last, *self._columns)

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
        """Yield blocks of the same sizes to fill; each is stored before the next is yielded."""
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
