"""`NamedItems`: values of a column that can be recommended, by name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fm_algo.answers.catalogue import Catalogue
from fm_algo.answers.vectors import num_blocks
from fm_algo.data.tables.blocks import Block
from fm_algo.data.tables.cells import Cell, text_of
from fm_algo.data.tables.dictionary import UNKNOWN, Dictionary
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array


@dataclass(frozen=True, eq=False)
class NamedItems:
    """The n candidates among which the best, or the most similar, are looked for.

    Attributes
    ----------
    column : str
        The column whose values they are.
    names : Dictionary
        Their names by number.
    catalogue : Catalogue
    blocks : sequence of Block
        The features that make a candidate. What a row has of them is left out.
    """

    column: str
    names: Dictionary
    catalogue: Catalogue
    blocks: Sequence[Block]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_vectors(self) -> int:
        """How many products it takes to go through the candidates, with a vector per field each."""
        return len(self) * num_blocks(self.catalogue.fields)

    def numbers(self, cells: Sequence[Cell]) -> Int32Array:
        """Return the numbers of named candidates, without those that are none.

        Raises
        ------
        UserError
            If a cell is not a text or number.
        """
        texts = (text_of(cell) for cell in cells)
        found = (UNKNOWN if text is None else self.names.find(text) for text in texts)
        return np.array([number for number in found if number != UNKNOWN], np.int32)

    def top(
        self, model: FMModel, row: CSRBatch, top_k: int, exclude: Int32Array
    ) -> tuple[list[str], Float32Array]:
        """Find the best candidates for a row.

        Parameters
        ----------
        model : FMModel
        row : CSRBatch
            One row; its own candidate, or that it has none, does not count.
        top_k : int
        exclude : int32
            Numbers of candidates that are not to be among them.

        Returns
        -------
        names : list of str
            The best first.
        margin : float32, same length
        """
        is_context = np.ones(row.num_entries, np.bool_)
        for block in self.blocks:
            is_context &= (row.indices < block.first) | (row.indices >= block.stop)
        items, margin = self.catalogue.top(
            model, row.indices[is_context], row.values[is_context], top_k=top_k, exclude=exclude
        )
        return self._names_of(items), margin

    def similar(self, item: int, count: int) -> tuple[list[str], Float32Array]:
        """Find the candidates that are most like one.

        Parameters
        ----------
        item : int
            Its number; UNKNOWN: nothing is like it.
        count : int

        Returns
        -------
        names : list of str
            The most similar first.
        cosine : float32, same length
        """
        if item == UNKNOWN:
            return [], np.empty(0, np.float32)
        items, cosine = self.catalogue.similar(item, count)
        return self._names_of(items), cosine

    def _names_of(self, items: Int32Array) -> list[str]:
        return [self.names.value(number).decode() for number in items.tolist()]
