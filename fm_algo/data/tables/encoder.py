"""`TableEncoder`: what each column and value of a table is among the features of a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from fm_algo.data.tables.blocks import Block
from fm_algo.data.tables.columns import Column
from fm_algo.data.tables.dictionary import UNKNOWN, Dictionary
from fm_algo.errors import UserError
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.sparse.matrix import Float32Array, Int32Array, Int64Array

_T = TypeVar("_T")

SideName = Literal["users", "items"]


@dataclass(frozen=True, slots=True, eq=False)
class SideTable:
    """A table that is joined to the rows by a key, already encoded.

    Attributes
    ----------
    name : {"users", "items"}
    key : str
        The column that both tables have.
    keys : Dictionary
        The n keys; number r is that of row r.
    indptr : int64, shape (n + 2,)
    indices : int32, shape (num_entries,)
    values : float32, shape (num_entries,)
        The features of the side columns, row by row as in `CSRBatch`. The last row is that of a
        key that is not in the table: all its cells are missing.
    """

    name: SideName
    key: str
    keys: Dictionary
    indptr: Int64Array
    indices: Int32Array
    values: Float32Array

    def row_of(self, key: bytes | None) -> int:
        """Return the number of a key's row; of the last row if the key is missing or unknown."""
        number = UNKNOWN if key is None else self.keys.find(key)
        return len(self.keys) if number == UNKNOWN else number

    def entries(self, row: int) -> tuple[list[int], list[float]]:
        """Return the features and the values of a row."""
        entries = slice(int(self.indptr[row]), int(self.indptr[row + 1]))
        return self.indices[entries].tolist(), self.values[entries].tolist()


class _Description(msgspec.Struct, frozen=True):
    """What the manifest of a model says of its encoder."""

    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    sides: dict[SideName, str]


@dataclass(frozen=True, eq=False)
class TableEncoder:
    """Columns and values as numbered features. It never changes; `arrow.fitting` makes one.

    Attributes
    ----------
    columns : tuple of Column
        All columns of the training table, in its order; label, weight and ignored ones too.
    blocks : tuple of Block
        The columns that have features, of the table and then of the side tables; features
        ascending without gaps.
    dictionaries : mapping of str to Dictionary
        Of categories, sets and labels that are words, by name of the column.
    sides : tuple of SideTable
        Those of users and of items, as far as there are any, in this order.
    """

    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    dictionaries: Mapping[str, Dictionary]
    sides: tuple[SideTable, ...] = ()

    @property
    def feature_dim(self) -> int:
        """Number of features."""
        return self.blocks[-1].stop

    @cached_property
    def space(self) -> FeatureSpace:
        """The features, with a field per column."""
        return FeatureSpace.of_columns(
            tuple(block.name for block in self.blocks),
            np.array([block.first for block in self.blocks], np.int64),
            self.feature_dim,
        )

    @property
    def needed(self) -> list[str]:
        """Names of the columns that a table to score must have: all that the rows' features need.

        Those of the side tables are read off them by their keys.
        """
        own = [block.name for block in self.blocks if block.table == "rows"]
        return own + [side.key for side in self.sides if side.key not in own]

    @cached_property
    def block_of(self) -> Mapping[str, Block]:
        """The blocks by the name of their column."""
        return {block.name: block for block in self.blocks}

    def side(self, name: SideName) -> SideTable | None:
        """Return the side table of this name, if there is one."""
        return next((side for side in self.sides if side.name == name), None)

    def feature_name(self, feature: int) -> str:
        """Return the name of a feature: ``user=u7``, ``age``, ``18<=age<25``, ``url#4711``."""
        number = int(np.searchsorted(self.space.firsts, feature, side="right")) - 1
        block = self.blocks[number]
        return block.feature_name(feature, self.dictionaries.get(block.name))

    def get_feature_names_out(self, _input_features: object = None) -> NDArray[np.object_]:
        """Return the names of all features, an array of str, shape (feature_dim,)."""
        names = np.empty(self.feature_dim, object)
        for block in self.blocks:
            names[block.first : block.stop] = list(self._names(block))
        return names

    def _names(self, block: Block) -> Iterator[str]:
        dictionary, others = self.dictionaries.get(block.name), block.first
        if dictionary is not None:
            yield from (f"{block.name}={value.decode()}" for value in dictionary.values())
            others += len(dictionary)
        for feature in range(others, block.stop):
            yield block.feature_name(feature, None)

    def describe(self) -> dict[str, object]:
        """Return all but the arrays, as JSON types, for a manifest."""
        sides = {side.name: side.key for side in self.sides}
        described = msgspec.to_builtins(_Description(self.columns, self.blocks, sides))
        return {str(name): value for name, value in described.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, for a file.

        Names are ``dictionary.COLUMN.hashes`` and so on, and of a side table
        ``items.keys.hashes`` and ``items.indptr``.
        """
        arrays: dict[str, NDArray[Any]] = {}
        for name, dictionary in self.dictionaries.items():
            arrays |= named(f"dictionary.{name}", dictionary.arrays())
        for side in self.sides:
            arrays |= named(f"{side.name}.keys", side.keys.arrays())
            rows: dict[str, NDArray[Any]] = {
                "indptr": side.indptr,
                "indices": side.indices,
                "values": side.values,
            }
            arrays |= named(side.name, rows)
        return arrays

    @classmethod
    def of_arrays(cls, described: object, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the encoder that `describe` and `arrays` tell of.

        Raises
        ------
        UserError
            If they do not fit together.
        """
        try:
            known = msgspec.convert(described, _Description)
            dictionaries = {
                block.name: Dictionary.of_arrays(below(f"dictionary.{block.name}", arrays))
                for block in known.blocks
                if block.column.kind in {"category", "set"}
            }
            dictionaries |= {
                column.name: Dictionary.of_arrays(below(f"dictionary.{column.name}", arrays))
                for column in known.columns
                if column.positive is not None and f"dictionary.{column.name}.text" in arrays
            }
            sides = tuple(_side_of(name, key, arrays) for name, key in known.sides.items())
        except (msgspec.ValidationError, KeyError) as error:
            raise UserError(f"the model's encoder is damaged: {error}") from error
        _check_blocks(known.blocks, dictionaries)
        return cls(known.columns, known.blocks, dictionaries, sides)


def _side_of(name: SideName, key: str, arrays: Mapping[str, NDArray[Any]]) -> SideTable:
    keys = Dictionary.of_arrays(below(f"{name}.keys", arrays))
    rows = below(name, arrays)
    side = SideTable(name, key, keys, rows["indptr"], rows["indices"], rows["values"])
    if len(side.indptr) != len(keys) + 2 or int(side.indptr[-1]) != len(side.indices):
        raise UserError(f"the table {name} of the model's encoder is damaged")
    return side


def _check_blocks(blocks: Sequence[Block], dictionaries: Mapping[str, Dictionary]) -> None:
    first = 0
    for block in blocks:
        known = dictionaries.get(block.name)
        if block.first != first or (known is not None and len(known) != block.num_values):
            raise UserError(f"the model's encoder is damaged at column {block.name}")
        first = block.stop
    if not blocks:
        raise UserError("the model's encoder has no columns")


def named(prefix: str, things: Mapping[str, _T]) -> dict[str, _T]:
    """Return things with a prefix and a point before their names."""
    return {f"{prefix}.{name}": thing for name, thing in things.items()}


def below(prefix: str, things: Mapping[str, _T]) -> dict[str, _T]:
    """Return the things whose names have a prefix and a point, without them."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): thing for name, thing in things.items() if name.startswith(start)
    }
