"""`FMRegressor`, which predicts numbers."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d

from fm_algo.answers.uncertainty import check_samples, score_uncertainty
from fm_algo.estimators.estimator import FMEstimator
from fm_algo.estimators.parameters import OF_LABELS
from fm_algo.model import PredictorType
from fm_algo.sparse import Float32Array
from fm_algo.sparse.matrix import Matrix


@OF_LABELS.documented
class FMRegressor(RegressorMixin, FMEstimator):
    """A factorization machine that predicts numbers.

    The parameters are the hyperparameters of a training job, with the same names and ranges.
    Without any, it learns its regularisation by itself and needs no tuning.

    Attributes
    ----------
    coef_ : float32, shape (feature_dim,)
        Linear weights.
    intercept_ : float
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

    _predictor_type: ClassVar[PredictorType] = "regressor"

    def predict(
        self, X: Matrix, *, return_std: bool = False
    ) -> Float32Array | tuple[Float32Array, Float32Array]:
        """Predict numbers.

        Parameters
        ----------
        X : matrix of scipy.sparse, array or data frame of numbers, shape (n, feature_dim)
        return_std : bool, optional
            Whether to tell how sure the model is; it must have been trained with
            optimizer=mcmc and posterior_samples.

        Returns
        -------
        score : float32, shape (n,)
        std : float32, shape (n,)
            With return_std: the standard deviation of the posterior of each score.

        Raises
        ------
        UserError
            If return_std is asked of a model without samples.
        """
        rows = self._rows(X)
        if return_std:
            check_samples(self.model_)
            return self.model_.score(rows), score_uncertainty(self.model_, rows).score_std
        return self.model_.score(rows)

    @property
    def coef_(self) -> Float32Array:
        """Linear weights, float32, shape (feature_dim,)."""
        check_is_fitted(self, "model_")
        return self.model_.w

    @property
    def intercept_(self) -> float:
        """Bias."""
        check_is_fitted(self, "model_")
        return float(self.model_.w0[0])

    def _encode(self, y: ArrayLike) -> NDArray[Any]:
        numbers = check_array(y, ensure_2d=False, dtype="numeric", input_name="y")
        labels: NDArray[Any] = np.asarray(column_or_1d(numbers, warn=True))
        return labels
