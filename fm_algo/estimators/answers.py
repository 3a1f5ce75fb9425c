"""`Answers`: what an estimator tells beyond a score: why, what else, what is like it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fm_algo.answers.explain import Explanation, explain
from fm_algo.answers.recommend import top_features
from fm_algo.data.tables.cells import Scalar
from fm_algo.data.tables.dictionary import UNKNOWN
from fm_algo.data.tables.named_model import Names
from fm_algo.errors import UserError
from fm_algo.estimators.frames import one_row_of
from fm_algo.estimators.tables import RowsLike, TakesTables
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array


class Answers(TakesTables):
    """Explains scores, recommends and finds what is alike; by name where there are tables."""

    model_: FMModel

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

    def feature_name(self, feature: int) -> str:
        """Return what a feature is: with `columns` such as ``user=u7``, else a column of X."""
        check_is_fitted(self, "model_")
        if self.tables_ is not None:
            return self.tables_.encoder.feature_name(feature)
        names = getattr(self, "feature_names_in_", None)
        return str(feature) if names is None else str(names[feature])

    def recommend(
        self,
        X: RowsLike,
        candidates: range | str | None = None,
        top_k: int = 10,
        *,
        exclude: Sequence[Scalar] = (),
        exclude_seen: bool = False,
    ) -> tuple[Int32Array | list[str], Float32Array]:
        """Find the candidates whose presence gives a row the highest score.

        Parameters
        ----------
        X : matrix, array or data frame, shape (1, feature_dim)
            The row, such as a user's. With `columns`: a data frame of one row, or a dict of cells.
        candidates : range or str
            Numbers of columns of X, such as the items', in steps of 1. With `columns`: the column
            whose values are ranked, by default all rows of the table of items.
        top_k : int, optional
            How many are wanted.
        exclude : sequence of values, optional
            With `columns`: candidates that are not to be among them.
        exclude_seen : bool, optional
            With `columns` and keep_seen: whether to leave out what the row's user has in the
            training rows.

        Returns
        -------
        features or names : int32, shape (m,), or list of str
            The best first; m is the lesser of top_k and the number of candidates.
        scores : float32, shape (m,)
            What the row would score with that candidate: of a classifier, the probability of
            ``classes_[1]``. By the model itself, not its samples.

        Raises
        ------
        UserError
            If there is not exactly one row, or there are no such candidates.
        """
        row = self._one_row(X)
        if self.tables_ is not None:
            names, margin = self._best_names(
                X, candidates, top_k, exclude, exclude_seen=exclude_seen
            )
            return names, self.model_.link(margin)
        if not isinstance(candidates, range):
            raise UserError(f"candidates={candidates!r}: allowed is a range of columns of X")
        last = candidates.stop - 1
        if candidates.step != 1 or not 0 <= candidates.start <= last < row.feature_dim or top_k < 1:
            raise UserError(
                f"candidates={candidates}, top_k={top_k}: allowed are a range of columns from 0 to "
                f"{row.feature_dim}, in steps of 1 and not empty, and a top_k of at least 1"
            )
        features, margin = top_features(
            self.model_,
            row.indices,
            row.values,
            first=candidates.start,
            last=last,
            top_k=top_k,
        )
        return features, self.model_.link(margin)

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
