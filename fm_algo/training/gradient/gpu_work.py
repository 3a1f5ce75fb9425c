"""What a mini-batch needs on the GPU besides parameters and rows: memory, and being launched."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
import triton

from fm_algo.training.gradient.gpu_passes import TILE

_MOST_FACTORS = 256
"""Factors of a row that a program holds at once."""

_ROW_TILE, _COLUMN_TILE = 512, 256
"""Numbers that a program of one warp holds at once: entries, or pairs, times factors."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """How much a program of one warp holds at once: powers of two, as Triton wants them.

    Attributes
    ----------
    factors : int
        A slice of them.
    entries, pairs : int
        Of a row, or of a column.
    """

    factors: int
    entries: int
    pairs: int

    @classmethod
    def of(cls, width: int) -> Self:
        """Return what fits rows of parameters whose factors are so wide."""
        factors = min(triton.next_power_of_2(width), _MOST_FACTORS)
        entries, pairs = (
            min(max(numbers // factors, 2), 32) for numbers in (_ROW_TILE, _COLUMN_TILE)
        )
        return cls(factors, entries, pairs)


class Work:
    """Memory for a mini-batch, for each one anew; it grows as the mini-batches do."""

    def __init__(self, device: torch.device, width: int) -> None:
        self._device, self._width = device, width
        self._num_places = self._num_keys = -1
        self.metric_sums = self._empty(4, torch.float64)
        self.grow(0, 0)

    def num_bytes(self, num_places: int, num_keys: int) -> int:
        """Memory of a mini-batch, what sorting takes included."""
        tiles_bytes = (self._width + 2) * 4 * (num_keys // TILE)
        return num_places * (4 * self._width + 28) + num_keys * (36 + 24) + tiles_bytes

    def grow(self, num_places: int, num_keys: int) -> bool:
        """Make room for a mini-batch; return whether the memory is another one now."""
        if num_places <= self._num_places and num_keys <= self._num_keys:
            return False
        num_places, num_keys = max(num_places, self._num_places), max(num_keys, self._num_keys)
        self._num_places, self._num_keys = num_places, num_keys
        num_tiles = num_keys // TILE
        # What is there is given back first: the larger one need not fit beside it.
        self.plan = self.margin = self.residual = self.factor_sums = torch.empty(0)
        self.row_labels = torch.empty(0)
        self.keys = self.sorted_keys = self.order = self.rows = self.weights = torch.empty(0)
        self.pair_rows = self.pair_gradients = self.pair_values = torch.empty(0)
        self.tile_factors = self.tile_sums = torch.empty(0)
        self.plan = self._empty(2 * num_places + 1, torch.int64)
        self.margin, self.residual = self._empty(num_places), self._empty(num_places)
        self.row_labels = self._empty(num_places)
        self.factor_sums = self._empty(num_places * self._width)
        self.keys = self._empty(num_keys, torch.int32)
        self.sorted_keys = self._empty(num_keys, torch.int32)
        self.order = self._empty(num_keys, torch.int64)
        self.rows = self._empty(num_keys, torch.int32)
        self.weights = self._empty(num_keys)
        self.pair_rows = self._empty(num_keys, torch.int32)
        self.pair_gradients, self.pair_values = self._empty(num_keys), self._empty(num_keys)
        self.tile_factors = self._empty(num_tiles * self._width)
        self.tile_sums = self._empty(num_tiles * 2)
        return True

    def _empty(self, size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device=self._device)


@dataclass(slots=True)
class RecordedStep:
    """The launches of a step, which are replayed as one from the third time on."""

    _is_compiled: bool = False
    _graph: torch.cuda.CUDAGraph | None = None

    def run(self, launch: Callable[[], None]) -> None:
        """Do what `launch` does, which is the same each time."""
        if not self._is_compiled:
            launch()  # as it is: no program can be loaded while a step is being recorded
            self._is_compiled = True
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            # Threads that read ahead may go on meanwhile.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                launch()
        self._graph.replay()


def padded(num_entries: int) -> int:
    """Round up, by an eighth at most, to one of few sizes; a multiple of a tile, and not 0."""
    unit = max(TILE, 1 << max(num_entries.bit_length() - 4, 0))
    return max(-(-num_entries // unit), 1) * unit
