"""`TakesTables`: the part of an estimator that turns data frames into rows of features."""

import dataclasses
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from fm_algo.data.tables.cells import describe
from fm_algo.data.tables.moves import Move, find_moves
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.estimators.frames import (
    Frame,
    encode_frame,
    is_frame,
    learn_tables,
)
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.sparse.matrix import Matrix

RowsLike: TypeAlias = "Matrix | Frame | CSRBatch"
"""A matrix of numbers; with columns, a data frame, or cells by column."""


class TakesTables(BaseEstimator):
    """Takes data frames, where its parameter `columns` says what their columns are."""

    tables_: Tables | None = None
    columns: dict[str, object] | None
    min_count: int
    keep_seen: bool

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
