"""`Recommends`: the part of an estimator that finds what would raise the score of a row most."""

from collections.abc import Sequence

from fm_algo.answers.recommend import top_features
from fm_algo.data.tables.cells import Scalar
from fm_algo.errors import UserError
from fm_algo.estimators.answers import Answers
from fm_algo.estimators.frames import one_row_of
from fm_algo.estimators.tables import RowsLike
from fm_algo.sparse import Float32Array, Int32Array


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
