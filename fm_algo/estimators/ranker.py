"""`FMRanker`, which learns from interactions what to recommend to whom."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias, cast

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from fm_algo.data.tables.cells import Cell, Scalar
from fm_algo.data.tables.moves import find_moves
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.estimators.answers import Answers
from fm_algo.estimators.frames import Frame, encode_frame, to_table
from fm_algo.estimators.interactions import (
    complete_columns,
    learn_interactions,
    positives_of,
    queries_of,
    read_interactions,
)
from fm_algo.estimators.learning import Learning, history_of
from fm_algo.estimators.parameters import OF_RANKER
from fm_algo.estimators.tables import RowsLike
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.early_stopping import judged_metric
from fm_algo.training.metrics import RANKING_METRICS, Metric
from fm_algo.training.ranking.queries import Queries, evaluate_ranking

if TYPE_CHECKING:
    from fm_algo.estimators.model_report import ModelReport

Users: TypeAlias = "Scalar | Mapping[str, Cell] | Sequence[Scalar | Mapping[str, Cell]] | Frame"
"""One user, as a value or as cells by column; or several, also as a data frame of cells."""


@OF_RANKER.documented
class FMRanker(Answers):
    """A factorization machine that learns from interactions what to recommend to whom.

    Each interaction says that its user wants its item, and is compared with items that this user
    has in no interaction. A column of labels may say otherwise: of a label that is not above 0,
    nothing is learnt. Users and items may have columns of their own, in tables that are joined.

    Attributes
    ----------
    factors_ : float32, shape (feature_dim, num_factors)
    model_ : FMModel
        All parameters.
    n_features_in_ : int
        The number of columns of interactions.
    feature_names_in_ : str, shape (n_features_in_,)
        Their names.
    n_iter_ : int
        Epochs done.
    history_ : list of dict
        What each of them reached, by the name of the metric.
    hyperparameters_ : dict of str to object
        Those that the model was trained with.
    """

    user: str
    item: str
    warm_start: bool
    verbose: bool

    @OF_RANKER.taken
    def __init__(self, **parameters: Any) -> None:  # noqa: ANN401 - checked by `fit`
        for name, value in OF_RANKER.complete(parameters).items():
            setattr(self, name, value)

    def fit(
        self,
        interactions: Frame,
        sample_weight: ArrayLike | None = None,
        eval_set: Frame | None = None,
        *,
        users: Frame | None = None,
        items: Frame | None = None,
    ) -> Self:
        """Train on interactions.

        Parameters
        ----------
        interactions : data frame, n rows
            Of pandas, polars or pyarrow. It has the columns that `user` and `item` name. Columns
            that are called label and weight are such; `columns` says what all others are.
        sample_weight : array-like, shape (n,), optional
            How much each row counts, by default the column of weights.
        eval_set : data frame, optional
            Interactions to judge the rankings by after each epoch; early_stopping_patience needs
            them.
        users, items : data frame, optional
            Tables to be joined to the rows by the columns of users and items, with a row each.
            Those of `items` are what can be recommended; without it, those of the interactions.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is not one weight per row.
        UserError
            If the parameters, numbers or tables are not allowed; names each parameter.
        AlgorithmError
            If training diverges.
        """
        earlier = self.model_ if self.warm_start and hasattr(self, "model_") else None
        before = None if earlier is None or self.tables_ is None else self.tables_.encoder
        frame = to_table(interactions)
        columns = complete_columns(frame.column_names, self.user, self.item, self.columns)
        pair = (self.user, self.item)
        tables = learn_interactions(
            frame, users, items, columns, pair, min_count=self.min_count, earlier=before
        )
        encoder = tables.encoder
        chosen = self._chosen(encoder.feature_dim)
        queries = self._queries(eval_set, tables, chosen)
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, np.empty(frame.num_rows))
        positives = positives_of(frame, tables, weights)
        moves = None if before is None else find_moves(before, encoder)
        learning = Learning(chosen, earlier, moves, encoder.space)
        self._epochs = learning.train(positives, queries, is_shown=bool(self.verbose))
        self.know(tables if self.keep_seen else dataclasses.replace(tables, seen=None))
        self.model_ = learning.model().copy()
        self.hyperparameters_ = self._described(chosen) | {"columns": columns}
        self.history_ = history_of(self._epochs)
        self.n_iter_ = len(self.history_)
        return self

    def predict(self, X: RowsLike) -> Float32Array:
        """Score rows of users and items.

        Parameters
        ----------
        X : data frame, dict of cells by column, or list of such; n rows

        Returns
        -------
        float32, shape (n,)
            The higher, the more the user wants the item. Scores of one user can be compared.

        Raises
        ------
        UserError
            If a column is lacking, or a cell is not what its column holds.
        """
        rows = self._rows(X)
        return self.model_.score(rows)

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

    def score(self, interactions: Frame, *, metric: str = "ndcg@10") -> float:
        """Judge the rankings by interactions that were not trained on.

        Parameters
        ----------
        interactions : data frame
            As for `fit`.
        metric : {"ndcg@10", "recall@10", "map@10"}, optional

        Returns
        -------
        float
            The mean over users of what docs/tables.md describes, from 0 to 1; nan if no user has
            anything that could be found.

        Raises
        ------
        UserError
            If there is no such metric, or the model does not know what users have seen.
        """
        if metric not in RANKING_METRICS:
            raise UserError(f"metric={metric!r}, allowed: {', '.join(RANKING_METRICS)}")
        metrics = {each.name: each.value for each in self._metrics(interactions)}
        return metrics.get(metric, float("nan"))

    def report(self, interactions: Frame) -> "ModelReport":
        """Report on the model as a training job does: plots and numbers.

        Parameters
        ----------
        interactions : data frame
            To judge it by, as for `fit`; best such as it was not trained on.

        Returns
        -------
        ModelReport
            A notebook shows it; `save` writes the page. It has no verdict.

        Raises
        ------
        ImportError
            If matplotlib is not installed: ``pip install 'fm-algo[report]'``.
        UserError
            As `score` does.
        """
        from fm_algo.estimators.model_report import make_report  # noqa: PLC0415 - needs matplotlib

        tables, metrics = self._tables(), self._metrics(interactions)
        rows = CSRBatch.join([rows for *_, rows in read_interactions(interactions, tables)])
        chosen = self._chosen(tables.encoder.feature_dim)
        epochs = getattr(self, "_epochs", [])
        return make_report(self.model_, chosen, epochs, rows, tables.encoder, metrics)

    def _chosen(self, feature_dim: int) -> Hyperparameters:
        chosen = OF_RANKER.hyperparameters(self.get_params(), feature_dim, "regressor")
        if chosen.loss is None:
            raise UserError("loss=None, allowed: bpr, warp")
        judged_metric(chosen)
        return chosen

    def _queries(
        self, eval_set: Frame | None, tables: Tables, chosen: Hyperparameters
    ) -> Queries | None:
        patience = chosen.early_stopping_patience
        if eval_set is not None:
            return queries_of(eval_set, tables, chosen.num_factors)
        if patience is not None:
            raise UserError(f"early_stopping_patience={patience} needs an eval_set")
        return None

    def _metrics(self, interactions: Frame) -> list[Metric]:
        queries = queries_of(interactions, self._tables(), self.model_.num_factors)
        return evaluate_ranking(self.model_, queries)

    def _tables(self) -> Tables:
        check_is_fitted(self, "model_")
        return cast(Tables, self.tables_)

    def _rows(self, X: RowsLike) -> CSRBatch:
        return encode_frame(X, self._tables().encoder, labelled=False)

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


def _plain(value: Any) -> Scalar:  # noqa: ANN401 - of NumPy, Arrow or Python
    """Return a value of Python."""
    if isinstance(value, pa.Scalar):
        return cast(Scalar, value.as_py())
    return cast(Scalar, value.item() if isinstance(value, np.generic) else value)
