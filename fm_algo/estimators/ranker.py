"""`FMRanker`, which learns from interactions what to recommend to whom."""

import dataclasses
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight

from fm_algo.data.tables.moves import find_moves
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
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
from fm_algo.estimators.recommending import RecommendsToUsers
from fm_algo.estimators.tables import RowsLike
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.early_stopping import judged_metric
from fm_algo.training.metrics import RANKING_METRICS, Metric
from fm_algo.training.ranking.queries import Queries, evaluate_ranking

if TYPE_CHECKING:
    from fm_algo.estimators.model_report import ModelReport


@OF_RANKER.documented
class FMRanker(RecommendsToUsers):
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
        y: None = None,
        *,
        sample_weight: ArrayLike | None = None,
        eval_set: Frame | None = None,
        users: Frame | None = None,
        items: Frame | None = None,
    ) -> Self:
        """Train on interactions.

        Parameters
        ----------
        interactions : data frame, n rows
            Of pandas, polars or pyarrow. It has the columns that `user` and `item` name. Columns
            that are called label and weight are such; `columns` says what all others are.
        y : None
            There is none, as scikit-learn's pipelines say: labels are a column.
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
        if y is not None:
            raise UserError("a ranker has no y: labels are a column of the interactions")
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

    def _rows(self, X: RowsLike) -> CSRBatch:
        return encode_frame(X, self._tables().encoder, labelled=False)
