"""`RowEncoder`: turn rows of single cells into features, as a server gets them.

Without pyarrow and Numba, and quick for a few rows; `fm_algo.data.tables.arrow.encoding` does the
same for whole batches.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fm_algo.data.formats.number import shown
from fm_algo.data.tables.blocks import Block, CellEntries
from fm_algo.data.tables.cells import BLANKS, Cell, listed, text_of
from fm_algo.data.tables.encoder import SideTable, TableEncoder
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, to_float32

_CACHED_CELLS = 1 << 15
"""Cells of all columns whose features are remembered, some 10 MB; a full column forgets its own."""

_CACHED_LENGTH = 256
"""Longer texts, and cells of more entries, are not remembered."""


_Cache = dict[object, CellEntries]
"""By text or None, or by type and value: 1, 1.0 and True are equal, but not the same text."""


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
    """Turns cells into rows of features. Several threads may use it at a time.

    A cell of a side column counts before the side table's. A column that a row lacks is missing.

    Parameters
    ----------
    encoder : TableEncoder

    Attributes
    ----------
    width : int
        About how many entries a row has.
    """

    def __init__(self, encoder: TableEncoder) -> None:
        self._encoder = encoder
        self._cached_cells = max(1, _CACHED_CELLS // (len(encoder.blocks) + len(encoder.sides)))
        caches: dict[str, _Cache] = {block.name: {} for block in encoder.blocks}
        self._of_rows, *of_sides = (
            [
                (block.name, block, caches[block.name])
                for block in encoder.blocks
                if block.table == table
            ]
            for table in ("rows", *(side.name for side in encoder.sides))
        )
        self._of_sides: list[tuple[SideTable, _Cache, list[tuple[str, Block, _Cache]]]] = [
            (side, {}, blocks) for side, blocks in zip(encoder.sides, of_sides, strict=True)
        ]
        self._names = {column.name for column in encoder.columns} | encoder.block_of.keys()
        joined = (len(side.indices) // len(side.indptr) for side in encoder.sides)
        self.width = max(1, len(self._of_rows) + sum(joined))

    @property
    def encoder(self) -> TableEncoder:
        """What it encodes by."""
        return self._encoder

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
        indptr = [0]
        features: list[int] = []
        values: list[float] = []
        unknown: dict[int, list[str]] = {}
        for number, row in enumerate(rows):
            names = self._append(row, features, values)
            if names:
                unknown[number] = names
            indptr.append(len(features))
        batch = CSRBatch(
            np.array(indptr, np.int64),
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
            self.check_names(row)
        unknown: list[str] = []
        for name, block, cache in self._of_rows:
            cell = row.get(name)
            known = cache.get(cell) if cell is None or cell.__class__ is str else None
            if known is None:
                known = self._look_up(block, cell, cache)
            its_features, its_values, is_known = known
            features += its_features
            values += its_values
            if not is_known:
                unknown.append(name)
        for side, cache, blocks in self._of_sides:
            cells = {name: row[name] for name, *_ in blocks if _is_given(row.get(name))}
            known = self._join(side, row, cache)
            if not known.is_known and side.key not in unknown:
                unknown.append(side.key)
            if cells:
                known = self._replace(known, blocks, cells, unknown)
            features += known.features
            values += known.values
        return unknown

    def _look_up(self, block: Block, cell: Cell, cache: _Cache) -> CellEntries:
        """Return the entries of a cell, which are not remembered by its text."""
        key: object = cell if cell is None or isinstance(cell, str) else (type(cell), cell)
        is_single = not isinstance(cell, list | tuple | dict)
        if is_single and (found := cache.get(key)) is not None:
            return found
        try:
            known = block.entries(cell, self._encoder.dictionaries.get(block.name))
        except UserError as error:
            raise UserError(f"column {block.name}: {error.message}") from error
        if is_single:
            self._remember(cache, key, known)
        return known

    def _join(self, side: SideTable, cells: Mapping[str, Cell], cache: _Cache) -> CellEntries:
        """Return the entries of the side table's row that a row names by its key."""
        text = column_text(cells, side.key)
        if (known := cache.get(text)) is not None:
            return known
        row = side.row_of(text)
        # A key that is a column of features is told unknown as that, if it is.
        is_known = text is None or row < len(side.keys) or side.key in self._encoder.block_of
        known = CellEntries(*side.entries(row), is_known)
        self._remember(cache, text, known)
        return known

    def _replace(
        self,
        joined: CellEntries,
        blocks: Sequence[tuple[str, Block, _Cache]],
        cells: Mapping[str, Cell],
        unknown: list[str],
    ) -> CellEntries:
        """Return the entries of a side table's row, with the features of some cells instead."""
        features: list[int] = []
        values: list[float] = []
        for name, block, cache in blocks:
            if name in cells:
                known = self._look_up(block, cells[name], cache)
                features += known.features
                values += known.values
                if not known.is_known:
                    unknown.append(name)
                continue
            for feature, value in zip(joined.features, joined.values, strict=True):
                if block.first <= feature < block.stop:
                    features.append(feature)
                    values.append(value)
        return CellEntries(features, values, is_known=True)

    def _remember(self, cache: _Cache, key: object, known: CellEntries) -> None:
        is_long = isinstance(key, str | bytes) and len(key) > _CACHED_LENGTH
        if is_long or len(known.features) > _CACHED_LENGTH:
            return
        if len(cache) >= self._cached_cells:
            cache.clear()
        cache[key] = known

    def check_names(self, names: Iterable[str]) -> None:
        """Check that all names are those of the model's columns.

        Raises
        ------
        UserError
            At the first one that is not; lists those that are.
        """
        wrong = next((name for name in names if name not in self._names), None)
        if wrong is not None:
            found = shown(wrong.encode("utf-8", "replace"))
            allowed = listed(sorted(self._names))
            raise UserError(f"{found} is no column of the model; allowed: {allowed}")


def column_text(row: Mapping[str, Cell], column: str) -> bytes | None:
    """Return the UTF-8 text in a column of a row; None if it is missing.

    Raises
    ------
    UserError
        If it is no single value; names the column.
    """
    try:
        return text_of(row.get(column))
    except UserError as error:
        raise UserError(f"column {column}: {error.message}") from error


def _is_given(cell: Cell) -> bool:
    """Tell whether a side column's cell counts before the side table's: a missing one does not."""
    if isinstance(cell, str):
        return cell.strip(BLANKS) != ""
    return cell is not None and cell == cell  # noqa: PLR0124 - a NaN is missing
