"""`Answers`: what an estimator tells beyond a score: why, and what is like what."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fm_algo.answers.explain import Explanation, explain
from fm_algo.data.tables.cells import Cell, Scalar
from fm_algo.data.tables.dictionary import UNKNOWN
from fm_algo.data.tables.named_items import NamedItems
from fm_algo.data.tables.named_model import Names
from fm_algo.errors import UserError
from fm_algo.estimators.tables import RowsLike
from fm_algo.estimators.trained import Trained
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array


class Answers(Trained):
    """Explains scores and finds what is alike; by name where there are tables."""

    def explain(self, X: RowsLike) -> Explanation:
        """Split the margin of a row into parts, one per feature and one per pair of features.

        Parameters
        ----------
        X : matrix, array or data frame, shape (1, feature_dim)
            With `columns`: a data frame of one row, or a dict of cells by column.

        Returns
        -------
        Explanation
            Its features are numbers; `feature_name` says what they are. It is about the model
            itself, not its samples. With interaction="field_weighted", each pair has the names of
            its two fields and their weight.

        Raises
        ------
        UserError
            If there is not exactly one row.
        """
        row = self._one_row(X)
        return explain(self.model_, row.indices, row.values)

    def similar(
        self, value: Scalar, count: int = 10, candidates: str | None = None
    ) -> tuple[list[str], Float32Array]:
        """Find the values that are most like one, by the cosine of their factors.

        Parameters
        ----------
        value : text or number
            Such as an item.
        count : int, optional
            How many are wanted.
        candidates : str, optional
            The column that it is a value of, by default the key of the table of items.

        Returns
        -------
        names : list of str
            The most similar first; none is like an unknown value.
        cosine : float32, same length

        Raises
        ------
        UserError
            If the model has no tables, or no such candidates.
        """
        items = self._names().items(candidates)
        found = items.numbers([value])
        return items.similar(int(found[0]) if len(found) else UNKNOWN, count)

    def _candidates(self, candidates: object, top_k: int) -> NamedItems:
        """Return the values of a column that can be recommended, by default the items."""
        if not isinstance(candidates, str | None) or top_k < 1:
            raise UserError(
                f"candidates={candidates!r}, top_k={top_k}: allowed are the name of a column, and "
                "a top_k of at least 1"
            )
        return self._names().items(candidates)

    def _left_out(
        self, items: NamedItems, exclude: Sequence[Scalar], cells: Mapping[str, Cell] | None
    ) -> Int32Array:
        """Return which candidates are left out: some by name, and what a row's user has seen."""
        excluded = items.numbers(list(exclude))
        if cells is None:
            return excluded
        seen = self._names().seen(cells, items.column)
        return np.union1d(excluded, seen).astype(np.int32)

    def _rows(self, X: RowsLike) -> CSRBatch:
        """Return the rows to be scored."""
        raise NotImplementedError

    def _one_row(self, X: RowsLike) -> CSRBatch:
        rows = self._rows(X)
        if rows.num_rows != 1:
            raise UserError(f"{rows.num_rows} rows, allowed is one")
        return rows

    def _names(self) -> Names:
        """Return what is known of candidates by name, made when first asked for."""
        check_is_fitted(self, "model_")
        if self.tables_ is None:
            raise UserError("the model has no tables: fit it with columns")
        known: tuple[FMModel, Names] | None = self.__dict__.get("_known_names")
        if known is None or known[0] is not self.model_:
            known = self.model_, Names(self.model_, self.tables_.with_candidates(self.model_))
            self.__dict__["_known_names"] = known
        return known[1]

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_known_names", None)  # follows from the rest, and holds locks and caches
        return state
