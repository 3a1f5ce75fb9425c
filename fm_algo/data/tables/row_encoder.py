"""`RowEncoder`: turn rows of single cells into features, as a server gets them.

Without pyarrow and Numba, and quick for a few rows; `fm_algo.data.tables.arrow.encoding` does the
same for whole batches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fm_algo.data.tables.blocks import Block, Entries
from fm_algo.data.tables.cells import Cell, text_of
from fm_algo.data.tables.encoder import SideTable, TableEncoder
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, to_float32

_CACHED_CELLS = 1 << 15
"""Cells of a column whose features are remembered; then all are forgotten."""

_CACHED_LENGTH = 256
"""Longer texts are not remembered."""

_Known = tuple[Entries, bool]


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows as features.

    Attributes
    ----------
    batch : CSRBatch
        Without labels.
    unknown : dict of int to list of str
        By row, the columns with a value that the model does not know; other rows are not in it.
    """

    batch: CSRBatch
    unknown: dict[int, list[str]]


class RowEncoder:
    """Turns cells into rows of features.

    A cell of a side column counts before the side table's. A column that a row lacks is missing.

    Parameters
    ----------
    encoder : TableEncoder
    """

    def __init__(self, encoder: TableEncoder) -> None:
        self._encoder = encoder
        self._caches: dict[str, dict[tuple[type, Cell], _Known]] = {
            block.name: {} for block in encoder.blocks
        }
        self._of_rows = [block for block in encoder.blocks if block.table == "rows"]
        self._of_sides = [
            (side, [block for block in encoder.blocks if block.table == side.name])
            for side in encoder.sides
        ]
        plain = {column.name for column in encoder.columns}
        self._names = plain | encoder.block_of.keys()

    @property
    def names(self) -> set[str]:
        """Names of all columns that a row may have."""
        return self._names

    def encode(self, rows: Sequence[Mapping[str, Cell]]) -> EncodedRows:
        """Turn rows into features.

        Parameters
        ----------
        rows : sequence of mapping of str to cell
            By name of the column.

        Raises
        ------
        UserError
            If a row has a column that is none of the model's, or a cell is not what its column
            holds; names the column, not the row.
        """
        indptr = np.zeros(len(rows) + 1, np.int64)
        features: list[int] = []
        values: list[float] = []
        unknown: dict[int, list[str]] = {}
        for number, row in enumerate(rows):
            names = self._append(row, features, values)
            if names:
                unknown[number] = names
            indptr[number + 1] = len(features)
        batch = CSRBatch(
            indptr,
            np.array(features, np.int32),
            to_float32(np.array(values, np.float64)),
            None,
            self._encoder.feature_dim,
        )
        return EncodedRows(batch, unknown)

    def _append(
        self, row: Mapping[str, Cell], features: list[int], values: list[float]
    ) -> list[str]:
        """Append the entries of a row; return its columns with unknown values."""
        if not row.keys() <= self._names:
            raise UserError(self._tell_unknown_column(row))
        unknown: list[str] = []
        for block in self._of_rows:
            self._append_cell(block, row.get(block.name), features, values, unknown)
        for side, blocks in self._of_sides:
            key = row.get(side.key)
            side_features, side_values = side.entries(side.row_of(_key_text(side, key)))
            if not any(row.get(block.name) is not None for block in blocks):
                features += side_features
                values += side_values
                continue
            for block in blocks:
                cell = row.get(block.name)
                if cell is not None:
                    self._append_cell(block, cell, features, values, unknown)
                    continue
                for feature, value in zip(side_features, side_values, strict=True):
                    if block.first <= feature < block.stop:
                        features.append(feature)
                        values.append(value)
        return unknown

    def _append_cell(
        self,
        block: Block,
        cell: Cell,
        features: list[int],
        values: list[float],
        unknown: list[str],
    ) -> None:
        entries, is_known = self._entries(block, cell)
        for feature, value in entries:
            features.append(feature)
            values.append(value)
        if not is_known:
            unknown.append(block.name)

    def _entries(self, block: Block, cell: Cell) -> _Known:
        cache = self._caches[block.name]
        is_short = not isinstance(cell, list | dict) and (
            not isinstance(cell, str) or len(cell) <= _CACHED_LENGTH
        )
        key = (type(cell), cell)  # 1, 1.0 and True are equal, but not the same text
        if is_short and (known := cache.get(key)) is not None:
            return known
        try:
            known = block.entries(cell, self._encoder.dictionaries.get(block.name))
        except UserError as error:
            raise UserError(f"column {block.name}: {error.message}") from error
        if is_short:
            if len(cache) >= _CACHED_CELLS:
                cache.clear()
            cache[key] = known
        return known

    def _tell_unknown_column(self, row: Mapping[str, Cell]) -> str:
        wrong = next(name for name in row if name not in self._names)
        return f"{wrong!r} is no column of the model; allowed: {', '.join(sorted(self._names))}"


def _key_text(side: SideTable, key: Cell) -> bytes | None:
    try:
        return text_of(key)
    except UserError as error:
        raise UserError(f"column {side.key}: {error.message}") from error
