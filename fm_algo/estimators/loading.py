"""`load_model`: from any artifact that a server reads to a fitted estimator."""

import os

import numpy as np

from fm_algo.artifacts.location import read_from
from fm_algo.estimators.classifier import FMClassifier
from fm_algo.estimators.frames import own_arrays
from fm_algo.estimators.parameters import OF_LABELS
from fm_algo.estimators.regressor import FMRegressor
from fm_algo.loss import LOSSES


def load_model(location: str | os.PathLike[str]) -> FMClassifier | FMRegressor:
    """Load a model that a training job, an estimator or the built-in algorithm saved.

    Parameters
    ----------
    location : path or str
        A directory with our model.safetensors or the built-in's model_algo-1, one of these files,
        or a model.tar.gz; any of them may be s3://bucket/key if boto3 is installed.

    Returns
    -------
    FMClassifier or FMRegressor
        Fitted, with arrays in memory. Its parameters are the hyperparameters of the artifact, its
        classes_ 0 and 1 unless an estimator with other labels was saved.

    Raises
    ------
    UserError
        If there is no such model or it cannot be read.
    """
    stored = read_from(os.fspath(location))
    parameters = OF_LABELS.of_model(stored.hyperparameters, stored.model)
    estimator: FMClassifier | FMRegressor
    if LOSSES[stored.model.predictor_type].is_classifier:
        estimator = FMClassifier(**parameters)
        estimator.classes_ = np.array(stored.labels or (0, 1))
    else:
        estimator = FMRegressor(**parameters)
    # Not views of a file, which may be gone when another process gets the estimator.
    estimator.model_, estimator.hyperparameters_ = stored.model.copy(), stored.hyperparameters
    estimator.n_features_in_ = stored.model.feature_dim
    if stored.tables is not None:
        estimator.know(own_arrays(stored.tables))
    return estimator
