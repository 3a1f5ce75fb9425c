"""`KnowsNames`: the part of an estimator that takes tables and answers by name."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fm_algo.data.feature_space import FeatureSpace
from fm_algo.data.tables.cells import Scalar, describe
from fm_algo.data.tables.dictionary import UNKNOWN
from fm_algo.data.tables.moves import Move, find_moves
from fm_algo.data.tables.named_model import Names
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.estimators.frames import (
    Frame,
    encode_frame,
    is_frame,
    learn_tables,
    one_row_of,
)
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.sparse.matrix import Matrix

RowsLike: TypeAlias = "Matrix | Frame | CSRBatch"
"""A matrix of numbers; with columns, a data frame, or cells by column."""


class KnowsNames(BaseEstimator):
    """Takes tables and answers by name, where its parameter `columns` says what columns are."""

    model_: FMModel
    tables_: Tables | None = None
    columns: dict[str, object] | None
    min_count: int
    keep_seen: bool

    def feature_name(self, feature: int) -> str:
        """Return what a feature is: with `columns` such as ``user=u7``, else a column of X."""
        check_is_fitted(self, "model_")
        if self.tables_ is not None:
            return self.tables_.encoder.feature_name(feature)
        names = getattr(self, "feature_names_in_", None)
        return str(feature) if names is None else str(names[feature])

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

    def _best_names(
        self,
        X: RowsLike,
        candidates: range | str | None,
        top_k: int,
        exclude: Sequence[Scalar],
        *,
        exclude_seen: bool,
    ) -> tuple[list[str], Float32Array]:
        """Return the names and margins of the best candidates for a row."""
        if isinstance(candidates, range) or top_k < 1:
            raise UserError(
                f"candidates={candidates!r}, top_k={top_k}: allowed are the name of a column, and "
                "a top_k of at least 1"
            )
        names = self._names()
        items = names.items(candidates)
        excluded = items.numbers(list(exclude))
        if exclude_seen:
            seen = names.seen(one_row_of(X), items.column)
            excluded = np.union1d(excluded, seen).astype(np.int32)
        return items.top(self.model_, self._one_row(X), top_k, excluded)

    def _one_row(self, X: RowsLike) -> CSRBatch:
        raise NotImplementedError

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

    def _space(self) -> FeatureSpace | None:
        return None if self.tables_ is None else self.tables_.encoder.space

    def _learn_tables(
        self, X: RowsLike, users: Frame | None, items: Frame | None, *, is_warm: bool
    ) -> list[Move] | None:
        """Learn what the columns of a table are; return where the features of the model went."""
        earlier = self.tables_.encoder if is_warm and self.tables_ is not None else None
        if self.columns is None:
            self.tables_ = None
            if users is not None or items is not None:
                raise UserError("users and items are tables to be joined: they need columns")
            return None
        if not is_frame(X):
            raise UserError(
                f"X is {describe(X)}; with columns, allowed is a data frame that offers "
                "__arrow_c_stream__, such as those of pandas, polars and pyarrow"
            )
        tables = learn_tables(
            X,
            {"users": users, "items": items},
            self.columns,
            self.min_count,
            keep_seen=self.keep_seen,
            earlier=earlier,
        )
        self.know(tables)
        return None if earlier is None else find_moves(earlier, tables.encoder)

    def know(self, tables: Tables) -> None:
        """Take what is known of tables, with the columns of the training rows."""
        self.tables_ = tables
        columns = [column.name for column in tables.encoder.columns]
        self.feature_names_in_ = np.array(columns, object)
        self.n_features_in_ = len(columns)

    def _take_apart(
        self, X: RowsLike, y: ArrayLike | None, sample_weight: ArrayLike | None
    ) -> tuple[RowsLike, ArrayLike | None, ArrayLike | None]:
        """Of a table, return its rows of features, and the labels and weights that are in it."""
        if self.tables_ is None:
            return X, y, sample_weight
        rows = encode_frame(X, self.tables_.encoder, labelled=y is None)
        if y is None and rows.labels is None:
            raise UserError('no y, and columns names no label, such as "rating": "label"')
        return (
            dataclasses.replace(rows, labels=None, weights=None),
            rows.labels if y is None else y,
            rows.weights if sample_weight is None else sample_weight,
        )
