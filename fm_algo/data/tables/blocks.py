"""`Block`: the consecutive features of one column, and what each of them means.

A category's block is its values, the most frequent first, then `(rare)` for all others, then
`(missing)` if cells were missing in training (else a missing cell is rare). A set's block is its
members and `(rare)`. A number is one feature. The bins of a number are followed by `(missing)`. A
hashed column has 2^bits features.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

from fm_algo.data.tables.cells import Cell, members_of, number_of, text_of
from fm_algo.data.tables.columns import Column
from fm_algo.data.tables.dictionary import UNKNOWN, Dictionary
from fm_algo.data.tables.hashing import hash_text

Table = Literal["rows", "users", "items"]
"""Where a column stands: in the rows themselves, or in a table that is joined by a key."""

RARE, MISSING = "(rare)", "(missing)"


class CellEntries(NamedTuple):
    """A cell as entries of a row.

    Attributes
    ----------
    features : sequence of int
        Ascending.
    values : sequence of float
    is_known : bool
        False if a value stands for which `(rare)` must do.
    """

    features: Sequence[int]
    values: Sequence[float]
    is_known: bool


_ONE = (1.0,)
"""The values of almost all cells: one object, however many are remembered."""


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The features of one column.

    Attributes
    ----------
    column : Column
    table : {"rows", "users", "items"}
    first : int
        The first feature.
    num_values : int
        Of a category or set: how many values have a feature of their own.
    has_missing : bool
        Of a category: whether missing cells have a feature of their own.
    mean, deviation : float
        Of a number: what is subtracted, then divided by.
    edges : tuple of float
        Of bins: where each but the first begins, ascending.
    """

    column: Column
    table: Table = "rows"
    first: int
    num_values: int = 0
    has_missing: bool = False
    mean: float = 0.0
    deviation: float = 1.0
    edges: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """Name of the column."""
        return self.column.name

    @property
    def num_features(self) -> int:
        """Number of features."""
        match self.column.kind:
            case "category":
                return self.num_values + 1 + self.has_missing
            case "set":
                return self.num_values + 1
            case "bins":
                return len(self.edges) + 2
            case "hash":
                return 1 << self.column.bits
        return 1

    @property
    def stop(self) -> int:
        """The feature after the last one."""
        return self.first + self.num_features

    @property
    def rare(self) -> int:
        """The feature of rare and unknown values of a category or set."""
        return self.first + self.num_values

    @property
    def missing(self) -> int:
        """The feature of missing cells of a category or of bins."""
        if self.column.kind == "bins":
            return self.stop - 1
        return self.rare + self.has_missing

    def entries(self, cell: Cell, dictionary: Dictionary | None) -> CellEntries:
        """Turn one cell into entries of a row.

        Parameters
        ----------
        cell : text, number, bool or None; of a set also a sequence of them
        dictionary : Dictionary or None
            Of a category or set.

        Raises
        ------
        UserError
            If the cell is not what the column holds; does not name the column.
        """
        column = self.column
        if column.kind in {"number", "bins"}:
            return self._number_entries(number_of(cell))
        is_hashed = column.kind == "hash"
        if column.kind != "set" and column.separator is None:
            text = text_of(cell)
            feature = self._feature(text, dictionary)
            is_known = is_hashed or text is None or feature != self.rare
            return CellEntries((feature,), _ONE, is_known)
        texts = members_of(cell, column.separator)
        features = sorted({self._feature(text, dictionary) for text in texts})
        scale = 1 / math.sqrt(len(features)) if column.scale == "root" and features else 1.0
        is_known = is_hashed or self.rare not in features
        return CellEntries(features, [scale] * len(features), is_known)

    def _number_entries(self, number: float) -> CellEntries:
        if self.column.kind == "bins":
            is_missing = math.isnan(number)
            place = bisect_right(self.edges, number)
            feature = self.missing if is_missing else self.first + place
            return CellEntries((feature,), _ONE, is_known=True)
        scaled = (number - self.mean) / self.deviation
        if math.isnan(scaled) or scaled == 0:
            return CellEntries((), (), is_known=True)
        return CellEntries((self.first,), (scaled,), is_known=True)

    def _feature(self, text: bytes | None, dictionary: Dictionary | None) -> int:
        if self.column.kind == "hash":
            return self.first + (hash_text(text or b"") & (self.num_features - 1))
        if text is None:
            return self.missing
        number = UNKNOWN if dictionary is None else dictionary.find(text)
        return self.rare if number == UNKNOWN else self.first + number

    def feature_name(self, feature: int, dictionary: Dictionary | None) -> str:
        """Return the name of a feature of this block, such as ``user=u7``."""
        place = feature - self.first
        match self.column.kind:
            case "number":
                return self.name
            case "hash":
                return f"{self.name}#{place}"
            case "bins":
                return self._bin_name(place)
        if place < self.num_values and dictionary is not None:
            return f"{self.name}={dictionary.value(place).decode()}"
        return f"{self.name}={RARE if feature == self.rare else MISSING}"

    def _bin_name(self, place: int) -> str:
        edges = self.edges
        if place > len(edges):
            return f"{self.name}={MISSING}"
        if not edges:
            return f"{self.name}=(any)"
        if place == 0:
            return f"{self.name}<{edges[0]:g}"
        if place == len(edges):
            return f"{self.name}>={edges[-1]:g}"
        return f"{edges[place - 1]:g}<={self.name}<{edges[place]:g}"


def number_blocks(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Return the blocks with features one block after the other, from 0."""
    placed, first = [], 0
    for block in blocks:
        placed.append(msgspec.structs.replace(block, first=first))
        first = placed[-1].stop
    return tuple(placed)
