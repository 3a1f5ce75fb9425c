"""`Tables`: what a model knows of the tables that it was trained on, as its file holds it."""

import dataclasses
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from fm_algo.answers.vectors import fields_of, item_vectors, num_blocks
from fm_algo.data.tables.dictionary import UNKNOWN, UInt64Array
from fm_algo.data.tables.encoder import SideTable, TableEncoder, below, named
from fm_algo.data.tables.hashing import hash_text
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.matrix import Float32Array, Int32Array, Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The items that each user has in the training rows.

    Attributes
    ----------
    user, item : str
        Names of their columns.
    users : uint64, shape (n,)
        XXH64 of the users' texts, ascending.
    indptr : int64, shape (n + 1,)
        User u has the items ``items[indptr[u]:indptr[u + 1]]``.
    items : int32, shape (num_pairs,)
        Rows of the items table, or numbers of values of the item column where there is none;
        ascending for each user.
    """

    user: str
    item: str
    users: UInt64Array
    indptr: Int64Array
    items: Int32Array

    def items_of(self, user: bytes) -> Int32Array:
        """Return the items of a user; none of an unknown one."""
        return self.items_of_hash(np.uint64(hash_text(user)))

    def items_of_hash(self, hashed: np.uint64) -> Int32Array:
        """Return the items of the user with this hash; none of an unknown one."""
        place = int(np.searchsorted(self.users, hashed))
        if place == len(self.users) or self.users[place] != hashed:
            return self.items[:0]
        return self.items[int(self.indptr[place]) : int(self.indptr[place + 1])]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, for a file."""
        return {"users": self.users, "indptr": self.indptr, "items": self.items}

    @classmethod
    def of_arrays(cls, user: str, item: str, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return what the arrays of a file hold.

        Raises
        ------
        UserError
            If they do not fit together.
        """
        try:
            seen = cls(user, item, arrays["users"], arrays["indptr"], arrays["items"])
        except KeyError as error:
            raise UserError(f"the model's seen items are damaged: no {error}") from error
        types = tuple(array.dtype.name for array in seen.arrays().values())
        if (
            types != ("uint64", "int64", "int32")
            or any(array.ndim != 1 for array in seen.arrays().values())
            or len(seen.indptr) != len(seen.users) + 1
            or int(seen.indptr[-1]) != len(seen.items)
        ):
            raise UserError("the model's seen items are damaged")
        return seen


class _SeenColumns(msgspec.Struct, frozen=True):
    user: str
    item: str


class _Description(msgspec.Struct, frozen=True):
    """What the manifest of a model says of its tables beside its encoder."""

    seen: _SeenColumns | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The items of the items table as vectors, a row each; see `fm_algo.answers.vectors`.

    Attributes
    ----------
    V : float32, shape (n, num_factors), or (n, B num_factors) with B fields
    w : float32, shape (n,)
    fields : int32, shape (B,), or None
        The fields that the vectors have a block of, where pairs of fields have weights.
    """

    V: Float32Array
    w: Float32Array
    fields: Int32Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """Encoder, seen items and candidates of a model.

    Attributes
    ----------
    encoder : TableEncoder
    seen : Seen or None
        None if training did not keep them.
    candidates : Candidates or None
        Of a model that was loaded, where it has an items table. They follow from the model, so
        saving computes them anew.
    """

    encoder: TableEncoder
    seen: Seen | None = None
    candidates: Candidates | None = None

    def describe(self) -> dict[str, object]:
        """Return all but the arrays, as JSON types, for a manifest."""
        seen = {} if self.seen is None else {"user": self.seen.user, "item": self.seen.item}
        return self.encoder.describe() | ({"seen": seen} if seen else {})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by name, for a file; without the candidates."""
        seen = {} if self.seen is None else named("seen", self.seen.arrays())
        return self.encoder.arrays() | seen

    def describe_check(self) -> str:
        """Return a text that identifies these tables, by all that they hold."""
        check = zlib.crc32(msgspec.json.encode(self.describe()))
        for array in self.arrays().values():
            check = zlib.crc32(np.ascontiguousarray(array).data, check)
        return f"{self.encoder.feature_dim} features (check {check:08x})"

    @classmethod
    def of_arrays(cls, described: object, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Return the tables that `describe` and `arrays` tell of, with any candidates.

        Raises
        ------
        UserError
            If they do not fit together.
        """
        encoder = TableEncoder.of_arrays(described, arrays)
        try:
            columns = msgspec.convert(described, _Description).seen
        except msgspec.ValidationError as error:
            raise UserError(f"the model's seen items are damaged: {error}") from error
        seen = candidates = None
        if columns is not None:
            seen = Seen.of_arrays(columns.user, columns.item, below("seen", arrays))
        vectors = below("candidates", arrays)
        if encoder.side("items") is not None:
            try:
                candidates = Candidates(vectors["V"], vectors["w"], vectors.get("fields"))
            except KeyError as error:
                raise UserError(f"the model's candidates are damaged: no {error}") from error
        return cls(encoder, seen, candidates)

    def with_candidates(self, model: FMModel) -> "Tables":
        """Return the same tables with the candidates of a model in memory, if there are items."""
        items = item_rows(self.encoder)
        if items is None:
            return self
        fields = fields_of(model, items.indices)
        V, w = item_vectors(model, items.indptr, items.indices, items.values, fields)
        return dataclasses.replace(self, candidates=Candidates(V, w, fields))

    def check_fits(self, feature_dim: int, num_factors: int, num_fields: int | None = None) -> None:
        """Check that these are the tables of a model of this size.

        Parameters
        ----------
        feature_dim, num_factors : int
        num_fields : int, optional
            Where pairs of fields have weights, how many fields there are.

        Raises
        ------
        UserError
            If they are not.
        """
        if self.encoder.feature_dim != feature_dim:
            raise UserError(
                f"an encoder of {self.encoder.feature_dim} features beside a model of {feature_dim}"
            )
        items = self.encoder.side("items")
        if items is None or self.candidates is None:
            return
        V, w, fields = self.candidates.V, self.candidates.w, self.candidates.fields
        if not _are_fields(fields, num_fields):
            raise UserError("the model's candidates are damaged: their fields are not the model's")
        num_items, width = len(items.keys), num_factors * num_blocks(fields)
        if V.shape != (num_items, width) or w.shape != (num_items,):
            raise UserError(
                f"candidates V {V.shape} and w {w.shape} beside {num_items} items and num_factors "
                f"{num_factors}"
            )


def _are_fields(fields: Int32Array | None, num_fields: int | None) -> bool:
    """Tell whether candidates can be of these fields."""
    if fields is None or num_fields is None:
        return fields is None and num_fields is None
    is_list = fields.dtype == np.int32 and fields.ndim == 1
    return is_list and bool(((fields >= 0) & (fields < num_fields)).all())


def item_rows(encoder: TableEncoder) -> CSRBatch | None:
    """Return the rows of the items table as features: each item's own one, then its side columns'.

    None if there is no items table.
    """
    items = encoder.side("items")
    if items is None:
        return None
    num_items = len(items.keys)
    indptr = items.indptr[: num_items + 1]
    indices, values = items.indices[: indptr[-1]], items.values[: indptr[-1]]
    own = _key_features(encoder, items)
    if own is not None:
        starts = indptr[:-1]
        indices, values = np.insert(indices, starts, own), np.insert(values, starts, 1)
        indptr = indptr + np.arange(num_items + 1)
    return CSRBatch(indptr, indices, values, None, encoder.feature_dim)


def _key_features(encoder: TableEncoder, side: SideTable) -> Int32Array | None:
    """Return the feature of each key of a side table; None if the key has no features."""
    block = encoder.block_of.get(side.key)
    if block is None:
        return None
    dictionary = encoder.dictionaries.get(side.key)
    if dictionary is None:
        hashes = np.empty_like(side.keys.hashes)
        hashes[side.keys.numbers] = side.keys.hashes
        places = hashes & np.uint64(block.num_features - 1)
        return (block.first + places.astype(np.int64)).astype(np.int32)
    numbers = side.keys.numbers_in(dictionary)
    return np.where(numbers == UNKNOWN, block.rare, block.first + numbers).astype(np.int32)


def are_of_items(encoder: TableEncoder) -> NDArray[np.bool_]:
    """Tell of each block whether its features make items: the key's, and those of side columns."""
    side = encoder.side("items")
    key = None if side is None else side.key
    return np.array([block.table == "items" or block.name == key for block in encoder.blocks])


def without_items(rows: CSRBatch, encoder: TableEncoder) -> CSRBatch:
    """Return rows without the features of their items, those of side columns included.

    They keep their weights, and no labels.
    """
    is_kept = ~are_of_items(encoder)[encoder.space.field_of(rows.indices)]
    indptr = np.append(0, np.cumsum(is_kept))[rows.indptr]
    indices, values = rows.indices[is_kept], rows.values[is_kept]
    return CSRBatch(indptr, indices, values, None, rows.feature_dim, rows.weights)
