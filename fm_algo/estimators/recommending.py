"""The part of an estimator that recommends: for a row, or to users."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
from sklearn.utils.validation import check_is_fitted

from fm_algo.answers.recommend import top_features
from fm_algo.data.tables.cells import Cell, Scalar
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.estimators.answers import Answers
from fm_algo.estimators.frames import Frame, one_row_of, to_table
from fm_algo.estimators.tables import RowsLike
from fm_algo.sparse import Float32Array, Int32Array

Users: TypeAlias = "Scalar | Mapping[str, Cell] | Sequence[Scalar | Mapping[str, Cell]] | Frame"
"""One user, as a value or as cells by column; or several, also as a data frame of cells."""


class Recommends(Answers):
    """Recommends for a row of numbers or names."""

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
            items = self._candidates(candidates, top_k)
            cells = one_row_of(X) if exclude_seen else None
            names, margin = items.top(
                self.model_, row, top_k, self._left_out(items, exclude, cells)
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


class RecommendsToUsers(Answers):
    """Recommends to users."""

    user: str

    def recommend(
        self,
        users: Users,
        top_k: int = 10,
        *,
        candidates: str | None = None,
        exclude: Sequence[Scalar] = (),
        exclude_seen: bool | None = None,
    ) -> tuple[list[str], Float32Array] | tuple[list[list[str]], list[Float32Array]]:
        """Find the items that users want most.

        Parameters
        ----------
        users : text, number or dict; or a sequence or data frame of such
            One user, or several. A dict has cells by column: of a user whom the model does not
            know, columns of the table of users say something all the same.
        top_k : int, optional
            How many items are wanted.
        candidates : str, optional
            The column whose values are ranked, by default the items.
        exclude : sequence of values, optional
            Candidates that are not to be among them.
        exclude_seen : bool, optional
            Whether to leave out what a user has in the training rows; by default if the model
            knows it, because of keep_seen.

        Returns
        -------
        names : list of str
            The best first. There are fewer than top_k if there are no more candidates. For several
            users, a list per user.
        scores : float32, same length
            Those of `predict`. For several users, a list of arrays.

        Raises
        ------
        UserError
            If there are no such candidates, or a cell is not what its column holds.
        """
        tables = self._tables()
        items = self._candidates(candidates, top_k)
        is_one, cells = self._cells_of(users)
        rows = self._names().rows.encode(cells).batch
        if exclude_seen is None:
            exclude_seen = tables.seen is not None and tables.seen.item == items.column
        found = [
            items.top(
                self.model_,
                rows.rows(number, number + 1),
                top_k,
                self._left_out(items, exclude, row if exclude_seen else None),
            )
            for number, row in enumerate(cells)
        ]
        names = [best for best, _ in found]
        scores = [self.model_.link(margin) for _, margin in found]
        return (names[0], scores[0]) if is_one else (names, scores)

    def _cells_of(self, users: Users) -> tuple[bool, Sequence[Mapping[str, Cell]]]:
        """Return whether one user is meant, and a row of cells for each."""
        if isinstance(users, Mapping):
            return True, [users]
        if users is None or isinstance(users, str | int | float | np.generic):
            return True, [{self.user: _plain(users)}]
        if hasattr(users, "columns"):  # a data frame, where a column alone has none
            return False, to_table(users).to_pylist()
        return False, [
            user if isinstance(user, Mapping) else {self.user: _plain(user)}
            for user in cast(Iterable[Any], users)
        ]

    def _tables(self) -> Tables:
        check_is_fitted(self, "model_")
        return cast(Tables, self.tables_)


def _plain(value: Any) -> Scalar:  # noqa: ANN401 - of NumPy, Arrow or Python
    """Return a value of Python."""
    if isinstance(value, pa.Scalar):
        return cast(Scalar, value.as_py())
    return cast(Scalar, value.item() if isinstance(value, np.generic) else value)
