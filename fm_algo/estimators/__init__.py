"""Factorization machines on the interface of scikit-learn, which must be installed.

parameters   the constructor's parameters, drawn from the declaration of the hyperparameters
learning     one training, from rows in memory to a model
frames       data frames to rows of features
interactions data frames of users and the items that they want to what a ranking loss learns from
tables       the part of an estimator that takes data frames
trained      the part that saves its model and names its features
answers      the part that explains and finds what is alike
recommending the part that recommends: for a row, or to users
model_report a model's report, as a page and as numbers
estimator    what the regressor and the classifier share
regressor, classifier, ranker
loading      `load_model`, from any artifact to a fitted estimator
"""

try:
    import sklearn  # noqa: F401 - only to say what is missing
except ImportError as error:
    raise ImportError("scikit-learn is missing: pip install 'fm-algo[sklearn]'") from error

from fm_algo.estimators.classifier import FMClassifier
from fm_algo.estimators.loading import load_model
from fm_algo.estimators.ranker import FMRanker
from fm_algo.estimators.regressor import FMRegressor

__all__ = ["FMClassifier", "FMRanker", "FMRegressor", "load_model"]
