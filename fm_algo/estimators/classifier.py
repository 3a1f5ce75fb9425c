"""`FMClassifier`, which predicts one of two classes."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from fm_algo.answers.uncertainty import check_samples, score_uncertainty
from fm_algo.artifacts.artifact import Label
from fm_algo.errors import UserError
from fm_algo.estimators.estimator import FMEstimator, _learns_by_mini_batches
from fm_algo.estimators.parameters import OF_LABELS
from fm_algo.model import PredictorType
from fm_algo.sparse import Float32Array
from fm_algo.sparse.matrix import Matrix


@OF_LABELS.documented
class FMClassifier(ClassifierMixin, FMEstimator):
    """A factorization machine that predicts one of two classes, and how likely it is.

    The parameters are the hyperparameters of a training job, with the same names and ranges.
    Without any, it learns its regularisation by itself and needs no tuning.

    Attributes
    ----------
    classes_ : shape (2,)
        The two labels, in ascending order. The second is what a training job calls label 1.
    coef_ : float32, shape (1, feature_dim)
        Linear weights.
    intercept_ : float32, shape (1,)
        Bias.
    factors_ : float32, shape (feature_dim, num_factors)
    model_ : FMModel
        All parameters, and the samples that posterior_samples keeps.
    n_features_in_ : int
        feature_dim.
    feature_names_in_ : str, shape (feature_dim,)
        The columns of X if it was a data frame.
    n_iter_ : int
        Epochs or sweeps done.
    history_ : list of dict
        What each of them reached, by the name of the metric.
    hyperparameters_ : dict of str to object
        Those that the model was trained with.
    """

    _predictor_type: ClassVar[PredictorType] = "binary_classifier"
    classes_: NDArray[Any]

    @available_if(_learns_by_mini_batches)
    def partial_fit(
        self,
        X: Matrix,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train one more epoch, on these rows; see `FMRegressor.partial_fit`.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like, shape (2,)
            All labels there are; the first call needs them.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If classes are missing, not two, or other ones than before.
        UserError, AlgorithmError
            As `fit` does.
        """
        is_known = hasattr(self, "classes_")
        if classes is None and not is_known:
            raise ValueError("classes must be passed on the first call to partial_fit")
        if classes is not None:
            found = _two_classes(np.asarray(classes))
            if is_known and not np.array_equal(found, self.classes_):
                raise ValueError(f"classes={found} are other ones than before: {self.classes_}")
            self.classes_ = found
        trained: Self = super().partial_fit(X, y, sample_weight)
        return trained

    def predict(self, X: Matrix) -> NDArray[Any]:
        """Predict classes.

        Parameters
        ----------
        X : matrix of scipy.sparse, array or data frame of numbers, shape (n, feature_dim)

        Returns
        -------
        shape (n,)
            ``classes_[1]`` from a probability of 0.5 up, as a server answers.
        """
        rows = self._rows(X)
        is_second = self.model_.score(rows) >= 0.5
        return np.asarray(self.classes_[is_second.astype(np.intp)])

    def predict_proba(
        self, X: Matrix, *, return_std: bool = False
    ) -> Float32Array | tuple[Float32Array, Float32Array]:
        """Predict how likely each class is.

        Parameters
        ----------
        X : matrix of scipy.sparse, array or data frame of numbers, shape (n, feature_dim)
        return_std : bool, optional
            Whether to tell how sure the model is; it must have been trained with
            optimizer=mcmc and posterior_samples.

        Returns
        -------
        probability : float32, shape (n, 2)
            In the order of classes_.
        std : float32, shape (n,)
            With return_std: the standard deviation of the posterior of each probability.

        Raises
        ------
        UserError
            If return_std is asked of a model without samples.
        """
        rows = self._rows(X)
        margin = self.model_.margin(rows)
        # Of -margin, because 1 - score has few digits where the score is near 1.
        probability = np.stack([self.model_.link(-margin), self.model_.link(margin)], axis=1)
        if return_std:
            check_samples(self.model_)
            return probability, score_uncertainty(self.model_, rows).score_std
        return probability

    def decision_function(self, X: Matrix) -> Float32Array:
        """Log-odds of ``classes_[1]``.

        Parameters
        ----------
        X : matrix of scipy.sparse, array or data frame of numbers, shape (n, feature_dim)

        Returns
        -------
        float32, shape (n,)
        """
        rows = self._rows(X)
        return self.model_.margin(rows)

    @property
    def coef_(self) -> Float32Array:
        """Linear weights, float32, shape (1, feature_dim)."""
        check_is_fitted(self, "model_")
        return self.model_.w[np.newaxis]

    @property
    def intercept_(self) -> Float32Array:
        """Bias, float32, shape (1,)."""
        check_is_fitted(self, "model_")
        return self.model_.w0

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def _meet(self, y: ArrayLike | None) -> None:
        y = self._require(y)
        check_array(y, ensure_2d=False, dtype=None, input_name="y")
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind != "binary":
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {kind}."
            )
        self.classes_ = _two_classes(column_or_1d(y, warn=True))

    def _encode(self, y: ArrayLike) -> NDArray[Any]:
        labels = column_or_1d(y)
        is_second = labels == self.classes_[1]
        unknown = ~is_second & (labels != self.classes_[0])
        if unknown.any():
            row = int(unknown.argmax())
            raise ValueError(
                f"row {row}: label {labels.tolist()[row]!r} is not one of the classes "
                f"{self.classes_.tolist()}"
            )
        return np.asarray(is_second, np.float32)

    def _labels(self) -> tuple[Label, ...] | None:
        if self.classes_.dtype.kind in "iuf" and self.classes_.tolist() == [0, 1]:
            return None
        labels = self.classes_.tolist()
        if not all(isinstance(label, Label) for label in labels):
            raise UserError(
                f"the labels {labels} cannot be saved, allowed are texts, numbers and booleans"
            )
        return tuple(labels)


def _two_classes(labels: NDArray[Any]) -> NDArray[Any]:
    classes = np.unique(labels)
    if len(classes) != 2:
        raise ValueError(
            f"labels of {len(classes)} class{'' if len(classes) == 1 else 'es'}, "
            f"{classes.tolist()[:3]}, allowed are two classes"
        )
    return classes
