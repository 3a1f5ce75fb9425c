"""`load_model`: from any artifact that a server reads to a fitted estimator."""

import os

import numpy as np

from fm_algo.artifacts.location import read_from
from fm_algo.data.tables.arrow.seen import seen_columns
from fm_algo.data.tables.tables import Tables
from fm_algo.estimators.classifier import FMClassifier
from fm_algo.estimators.frames import own_arrays
from fm_algo.estimators.parameters import OF_LABELS, OF_RANKER
from fm_algo.estimators.ranker import FMRanker
from fm_algo.estimators.regressor import FMRegressor
from fm_algo.loss import LOSSES


def load_model(location: str | os.PathLike[str]) -> FMClassifier | FMRanker | FMRegressor:
    """Load a model that a training job, an estimator or the built-in algorithm saved.

    Parameters
    ----------
    location : path or str
        A directory with our model.safetensors or the built-in's model_algo-1, one of these files,
        or a model.tar.gz; any of them may be s3://bucket/key if boto3 is installed.

    Returns
    -------
    FMClassifier, FMRegressor or FMRanker
        Fitted, with arrays in memory; a ranker if it was trained with a ranking loss. Its
        parameters are the hyperparameters of the artifact, its classes_ 0 and 1 unless an
        estimator with other labels was saved.

    Raises
    ------
    UserError
        If there is no such model or it cannot be read.
    """
    stored = read_from(os.fspath(location))
    estimator: FMClassifier | FMRanker | FMRegressor
    if stored.tables is not None and stored.hyperparameters.get("loss") is not None:
        estimator = FMRanker(**OF_RANKER.of_model(stored.hyperparameters, stored.model))
        estimator.user, estimator.item = _pair_of(stored.tables)
    elif LOSSES[stored.model.predictor_type].is_classifier:
        estimator = FMClassifier(**OF_LABELS.of_model(stored.hyperparameters, stored.model))
        estimator.classes_ = np.array(stored.labels or (0, 1))
    else:
        estimator = FMRegressor(**OF_LABELS.of_model(stored.hyperparameters, stored.model))
    # Not views of a file, which may be gone when another process gets the estimator.
    estimator.model_, estimator.hyperparameters_ = stored.model.copy(), stored.hyperparameters
    estimator.n_features_in_ = stored.model.feature_dim
    if stored.tables is not None:
        estimator.know(own_arrays(stored.tables))
    return estimator


def _pair_of(tables: Tables) -> tuple[str, str]:
    """Return the columns of users and items."""
    if tables.seen is not None:
        return tables.seen.user, tables.seen.item
    encoder = tables.encoder
    return seen_columns(encoder.columns, {side.name: side.key for side in encoder.sides})
