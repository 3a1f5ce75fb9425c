"""`NamedModel`: a model that knows the columns and values that its features stand for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from fm_algo.answers.catalogue import Catalogue
from fm_algo.data.fields import KnownFields
from fm_algo.data.formats.number import shown
from fm_algo.data.tables.cells import Cell, listed
from fm_algo.data.tables.named_items import NamedItems
from fm_algo.data.tables.row_encoder import RowEncoder, column_text
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import Int32Array


class Names:
    """What the features of a model stand for, and which of its values can be recommended.

    Several threads may use it at a time.

    Parameters
    ----------
    model : FMModel
    tables : Tables
        Of the model, as they are loaded.

    Attributes
    ----------
    rows : RowEncoder
        Turns rows of cells into features.
    """

    def __init__(self, model: FMModel, tables: Tables) -> None:
        self.rows = RowEncoder(tables.encoder)
        self._model = model
        self._tables = tables
        self._items: dict[str, NamedItems] = {}

    @property
    def fields(self) -> KnownFields | None:
        """The fields of the features, if the model has weights of them."""
        return KnownFields.of_model(self._model)

    def feature_name(self, feature: int) -> str:
        """Return the name of a feature, such as ``user=u7``."""
        return self._tables.encoder.feature_name(feature)

    def items(self, column: str | None) -> NamedItems:
        """Return the values that can be recommended, or looked for among similar ones.

        Parameters
        ----------
        column : str or None
            None: the rows of the items table. Else the values of this column of categories.

        Raises
        ------
        UserError
            If the model has no such values; says which it has.
        """
        side = self._tables.encoder.side("items")
        if column is None:
            if side is None:
                raise UserError(
                    "configuration: the model has no items table, so candidates must name a "
                    f"column; allowed: {listed(self._allowed())}"
                )
            column = side.key
        found = self._items.get(column)
        if found is None:
            # Two threads may do this at a time; either result is good.
            found = self._items[column] = self._make_items(column)
        return found

    def seen(self, cells: Mapping[str, Cell], column: str) -> Int32Array:
        """Return the numbers of the items that a row's user has in the training rows.

        Parameters
        ----------
        cells : mapping of str to cell
            The row.
        column : str
            That of the items.

        Raises
        ------
        UserError
            If training did not keep them, or kept those of another column.
        """
        seen = self._tables.seen
        if seen is None:
            raise UserError("configuration: exclude_seen needs a model trained with keep_seen=true")
        if seen.item != column:
            raise UserError(
                f"configuration: the model keeps which values of {seen.item} a {seen.user} has "
                f"seen, so exclude_seen cannot tell those of {column}"
            )
        user = column_text(cells, seen.user)
        return seen.items[:0] if user is None else seen.items_of(user)

    def _make_items(self, column: str) -> NamedItems:
        encoder, model = self._tables.encoder, self._model
        side, candidates = encoder.side("items"), self._tables.candidates
        if side is not None and candidates is not None and column == side.key:
            blocks = [block for block in encoder.blocks if block.table == "items"]
            blocks += [block for block in encoder.blocks if block.name == column]
            catalogue = Catalogue(candidates.V, candidates.w, candidates.fields)
            return NamedItems(column, side.keys, catalogue, blocks)
        if column not in self._allowed():
            raise UserError(
                f"configuration: candidates is {shown(column.encode('utf-8', 'replace'))}, "
                f"allowed: {listed(self._allowed()) or 'none'}"
            )
        block = encoder.block_of[column]
        own = slice(block.first, block.first + block.num_values)
        catalogue = Catalogue.of_features(model, own)
        return NamedItems(column, encoder.dictionaries[column], catalogue, [block])

    def _allowed(self) -> list[str]:
        """Return the columns whose values can be candidates.

        A user's row of the users table is no part of a value, so a user is none.
        """
        encoder = self._tables.encoder
        users = encoder.side("users")
        return [
            block.name
            for block in encoder.blocks
            if block.column.kind == "category" and (users is None or block.name != users.key)
        ]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class NamedModel(FMModel):
    """A factorization machine whose features have names.

    Attributes
    ----------
    names : Names
    """

    names: Names

    @classmethod
    def of(cls, model: FMModel, tables: Tables) -> Self:
        """Return a model with the names that were kept with it."""
        names = Names(model, tables)
        return cls(
            model.predictor_type,
            model.w0,
            model.w,
            model.V,
            model.samples,
            model.field_weights,
            names=names,
        )
