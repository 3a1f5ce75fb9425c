"""`FMEstimator`: what the regressor and the classifier share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import (
    _check_sample_weight,
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from fm_algo.errors import UserError
from fm_algo.estimators.frames import Frame, encode_frame
from fm_algo.estimators.learning import Learning, history_of, split_off
from fm_algo.estimators.parameters import OF_LABELS
from fm_algo.estimators.recommending import Recommends
from fm_algo.estimators.tables import RowsLike
from fm_algo.hyperparameters import WITHOUT_GRADIENTS
from fm_algo.model import PredictorType
from fm_algo.sparse import CSRBatch

if TYPE_CHECKING:
    from fm_algo.estimators.model_report import ModelReport

EvalSet = Sequence[Any]
"""``(X, y)`` or ``(X, y, sample_weight)``, or a list with one of these."""


def _learns_by_mini_batches(estimator: "FMEstimator") -> bool:
    if estimator.optimizer not in WITHOUT_GRADIENTS:
        return True
    raise AttributeError(
        f"optimizer={estimator.optimizer} sees all rows at once, so it has no partial_fit: take "
        "another one, such as rowwise_adagrad"
    )


class FMEstimator(Recommends):
    """Trains, scores, explains and saves a factorization machine.

    A subclass says what its labels are.
    """

    _predictor_type: ClassVar[PredictorType]
    _learning: Learning | None

    @OF_LABELS.taken
    def __init__(self, **parameters: Any) -> None:  # noqa: ANN401 - checked by `fit`
        for name, value in OF_LABELS.complete(parameters).items():
            setattr(self, name, value)

    def fit(
        self,
        X: RowsLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        eval_set: EvalSet | None = None,
        *,
        users: Frame | None = None,
        items: Frame | None = None,
    ) -> Self:
        """Train on rows.

        Parameters
        ----------
        X : matrix of scipy.sparse, array or data frame of numbers, shape (n, feature_dim)
            float32 values and int32 indices in CSR form are not copied. With `columns`: a data
            frame, whose columns may be of any type.
        y : array-like, shape (n,), optional
            The labels; with `columns` by default the column of labels.
        sample_weight : array-like, shape (n,), optional
            How much each row counts; with `columns` by default the column of weights.
        eval_set : (X, y) or (X, y, sample_weight), optional
            Validation rows, which are scored after each epoch. early_stopping_patience judges by
            them. With `columns`, X alone will do.
        users, items : data frame, optional
            With `columns`: tables to be joined to the rows, by the column that both have.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If scikit-learn's checks refuse X or y.
        UserError
            If the parameters, numbers or tables are not allowed; names each parameter.
        AlgorithmError
            If training diverges.
        """
        earlier = self.model_ if self.warm_start and hasattr(self, "model_") else None
        moves = self._learn_tables(X, users, items, is_warm=earlier is not None)
        X, y, sample_weight = self._take_apart(X, y, sample_weight)
        self._meet(y)
        rows = self._labelled(X, y, sample_weight, is_first=True)
        chosen = OF_LABELS.hyperparameters(
            self.get_params(), rows.feature_dim, self._predictor_type
        )
        rows, validation = split_off(rows, self._validation_rows(eval_set), chosen)
        learning = Learning(chosen, earlier, moves, self._space())
        self._epochs = learning.train(rows, validation, is_shown=bool(self.verbose))
        self.model_, self.hyperparameters_ = learning.model().copy(), self._described(chosen)
        self.history_ = history_of(self._epochs)
        self.n_iter_ = len(self.history_)
        self._learning = None
        return self

    @available_if(_learns_by_mini_batches)
    def partial_fit(
        self, X: RowsLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train one more epoch, on these rows; the optimiser's state is kept from call to call.

        There is none with optimizer=mcmc and als. n calls with the same rows give the model of
        ``fit`` with epochs=n. `validation_split` and early stopping have no effect.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`. The first call settles the number of features, and with `columns` which
            values have one.

        Returns
        -------
        self

        Raises
        ------
        ValueError, UserError, AlgorithmError
            As `fit` does.
        """
        is_first = not hasattr(self, "model_")
        if is_first:
            self._learn_tables(X, None, None, is_warm=False)
        X, y, sample_weight = self._take_apart(X, y, sample_weight)
        rows = self._labelled(X, y, sample_weight, is_first=is_first)
        chosen = OF_LABELS.hyperparameters(
            self.get_params() | {"early_stopping_patience": None},
            rows.feature_dim,
            self._predictor_type,
        )
        learning = getattr(self, "_learning", None)
        if learning is None or learning.hyperparameters != chosen:
            learning = Learning(chosen, None if is_first else self.model_, space=self._space())
        num_done = getattr(self, "n_iter_", 0)
        epochs = learning.train(
            rows,
            epochs=range(num_done, num_done + 1),
            is_shown=bool(self.verbose),
        )
        self.model_, self.hyperparameters_ = learning.model(), self._described(chosen)
        self._epochs = [*getattr(self, "_epochs", []), *epochs]
        self.history_ = history_of(self._epochs)
        self.n_iter_ = num_done + 1
        self._learning = learning
        return self

    def report(
        self, X: RowsLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> "ModelReport":
        """Report on the model as a training job does: plots, numbers and a verdict.

        Parameters
        ----------
        X, y, sample_weight
            Rows to judge it by, as for `fit`; best such as it was not trained on.

        Returns
        -------
        ModelReport
            A notebook shows it; `save` writes the page.

        Raises
        ------
        ImportError
            If matplotlib is not installed: ``pip install 'fm-algo[report]'``.
        ValueError, UserError
            As `fit` does, for the rows.
        """
        from fm_algo.estimators.model_report import make_report  # noqa: PLC0415 - needs matplotlib

        check_is_fitted(self, "model_")
        X, y, sample_weight = self._take_apart(X, y, sample_weight)
        rows = self._labelled(X, y, sample_weight, is_first=False)
        chosen = OF_LABELS.hyperparameters(
            self.get_params(), rows.feature_dim, self._predictor_type
        )
        encoder = None if self.tables_ is None else self.tables_.encoder
        return make_report(self.model_, chosen, getattr(self, "_epochs", []), rows, encoder)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _meet(self, y: ArrayLike | None) -> None:
        """Look at the labels of a new training."""

    def _require(self, y: ArrayLike | None) -> ArrayLike:
        """Return labels that have to be there."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        return y

    def _encode(self, y: ArrayLike) -> NDArray[Any]:
        """Check labels and turn them into numbers."""
        raise NotImplementedError

    def _to_batch(
        self,
        X: RowsLike,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        is_first: bool = False,
    ) -> CSRBatch:
        """Turn X into rows; only here is it known what X may be and which features it becomes."""
        if self.tables_ is not None:
            is_encoded = isinstance(X, CSRBatch)
            rows = X if is_encoded else encode_frame(X, self.tables_.encoder, labelled=False)
            return CSRBatch.of(rows, y, sample_weight=sample_weight)
        numbers = validate_data(
            self,
            X,
            reset=is_first,
            accept_sparse=["csr", "csc", "coo"],
            dtype=[np.float32, np.float64],
        )
        return CSRBatch.of(numbers, y, sample_weight=sample_weight)

    def _labelled(
        self, X: RowsLike, y: ArrayLike | None, sample_weight: ArrayLike | None, *, is_first: bool
    ) -> CSRBatch:
        labels = self._encode(self._require(y))
        if not isinstance(X, CSRBatch):
            check_consistent_length(X, labels)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, labels)
        return self._to_batch(X, labels, sample_weight, is_first=is_first)

    def _validation_rows(self, eval_set: EvalSet | None) -> CSRBatch | None:
        if eval_set is None:
            return None
        given = eval_set
        if isinstance(given, tuple | list) and len(given) == 1:
            given = given[0]
        if self.tables_ is not None and not isinstance(given, tuple | list):
            given = (given, None)
        is_sequence = isinstance(given, tuple | list)
        if not is_sequence or len(given) not in {2, 3} or isinstance(given[0], tuple):
            raise UserError("eval_set is not one pair (X, y) or one triple (X, y, sample_weight)")
        X, y, *weights = given
        X, y, weight = self._take_apart(X, y, weights[0] if weights else None)
        return self._labelled(X, y, weight, is_first=False)

    def _rows(self, X: RowsLike) -> CSRBatch:
        """Return the rows to be scored."""
        check_is_fitted(self, "model_")
        return self._to_batch(X)
