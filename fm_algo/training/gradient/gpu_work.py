"""The working memory of a mini-batch on the GPU, and steps recorded to launch them faster."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import triton

from fm_algo.training.gradient.gpu_passes import TILE

_MOST_FACTORS = 256
"""The most factors of a row that a program holds at once."""

_ROW_TILE, _COLUMN_TILE = 512, 256
"""Numbers that a program of one warp holds at once: entries, or pairs, times factors."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """How much a program of one warp holds at once: powers of two, as Triton wants them.

    Attributes
    ----------
    factors : int
        Factors per slice.
    entries, pairs : int
        Entries of a row; pairs of a column.
    """

    factors: int
    entries: int
    pairs: int

    @classmethod
    def of(cls, width: int) -> Self:
        """Return the tiles for parameter rows with factors of this width."""
        factors = min(triton.next_power_of_2(width), _MOST_FACTORS)
        entries, pairs = (
            min(max(numbers // factors, 2), 32) for numbers in (_ROW_TILE, _COLUMN_TILE)
        )
        return cls(factors, entries, pairs)


class Work:
    """Working memory that all mini-batches use in turn; it grows with their size.

    Parameters
    ----------
    device : torch.device
    width : int
        Floats of v.
    by_field : bool
        Whether there are sums of factors for each entry, not for each row.
    """

    def __init__(self, device: torch.device, width: int, *, by_field: bool = False) -> None:
        self._device, self._width, self._by_field = device, width, by_field
        self._num_places = self._num_keys = -1
        self.metric_sums = self._empty(5, torch.float64)
        self.grow(0, 0)

    def num_bytes(self, num_places: int, num_keys: int) -> int:
        """Return the bytes that a mini-batch needs, including those for sorting."""
        tiles_bytes = (self._width + 2) * 4 * (num_keys // TILE)
        sums_bytes = 4 * self._width * (num_keys if self._by_field else num_places)
        entry_bytes = 36 + 24 + 4 * self._by_field
        return num_places * 28 + num_keys * entry_bytes + sums_bytes + tiles_bytes

    def grow(self, num_places: int, num_keys: int) -> bool:
        """Make room for a mini-batch; return whether this allocated other memory."""
        if num_places <= self._num_places and num_keys <= self._num_keys:
            return False
        num_places, num_keys = max(num_places, self._num_places), max(num_keys, self._num_keys)
        self._num_places, self._num_keys = num_places, num_keys
        num_tiles = num_keys // TILE
        # The old memory is given back first: the new memory need not fit beside it.
        self.plan = self.margin = self.residual = self.factor_sums = torch.empty(0)
        self.row_labels = torch.empty(0)
        self.keys = self.sorted_keys = self.order = self.rows = torch.empty(0)
        self.weights = self.own_values = torch.empty(0)
        self.pair_rows = self.pair_gradients = self.pair_values = torch.empty(0)
        self.tile_factors = self.tile_sums = torch.empty(0)
        self.plan = self._empty(2 * num_places + 1, torch.int64)
        self.margin, self.residual = self._empty(num_places), self._empty(num_places)
        self.row_labels = self._empty(num_places)
        self.factor_sums = self._empty((num_keys if self._by_field else num_places) * self._width)
        self.keys = self._empty(num_keys, torch.int32)
        self.sorted_keys = self._empty(num_keys, torch.int32)
        self.order = self._empty(num_keys, torch.int64)
        self.rows = self._empty(num_keys, torch.int32)
        self.weights = self._empty(num_keys)
        self.own_values = self._empty(num_keys if self._by_field else 0)
        self.pair_rows = self._empty(num_keys, torch.int32)
        self.pair_gradients, self.pair_values = self._empty(num_keys), self._empty(num_keys)
        self.tile_factors = self._empty(num_tiles * self._width)
        self.tile_sums = self._empty(num_tiles * 2)
        return True

    def _empty(self, size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device=self._device)


@dataclass(slots=True)
class RecordedStep:
    """The launches of a step: run one by one at first, then recorded and replayed as one."""

    _is_compiled: bool = False
    _graph: torch.cuda.CUDAGraph | None = None

    def run(self, launch: Callable[[], None]) -> None:
        """Do what `launch` does; it must do the same each time."""
        if not self._is_compiled:
            launch()  # not recorded: no program can be loaded while a step is recorded
            self._is_compiled = True
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Threads that read ahead may continue meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                launch()
        self._graph.replay()


def padded(num_entries: int) -> int:
    """Round up, by at most an eighth, to one of few sizes: multiples of a tile, never 0."""
    unit = max(TILE, 1 << max(num_entries.bit_length() - 4, 0))
    return max(-(-num_entries // unit), 1) * unit
