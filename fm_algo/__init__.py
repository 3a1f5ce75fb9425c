"""Factorization machines: estimators, formats, model, kernels and training.

    FMRegressor(...).fit(X, y)                  predict numbers, on scikit-learn's interface
    FMClassifier(...).fit(X, y)                 predict one of two classes
    FMRanker(...).fit(interactions)             learn from who has what to recommend items
    load_model(location)                        a fitted estimator from any artifact
    read_recordio(source) -> rows, labels       RecordIO-protobuf to a scipy matrix
    write_recordio(target, rows, labels)        and back

Import the other public names from their own modules:

    fm_algo.sparse               CSRBatch.of(X, y), rows in sparse form, checked
    fm_algo.model                FMModel, which scores them
    fm_algo.hyperparameters      Hyperparameters and parse_hyperparameters
    fm_algo.answers.uncertainty  score_uncertainty, how sure a model with samples is
    fm_algo.artifacts.artifact   load_model and save_model
    fm_algo.data.formats         bytes to rows and scores to bytes
    fm_algo.errors               UserError, AlgorithmError and PlatformError, all FMError
"""

import importlib
from typing import TYPE_CHECKING

from fm_algo.data.recordio_file import read_recordio, write_recordio

if TYPE_CHECKING:
    from fm_algo.estimators import FMClassifier, FMRanker, FMRegressor, load_model

__all__ = [
    "FMClassifier",
    "FMRanker",
    "FMRegressor",
    "load_model",
    "read_recordio",
    "write_recordio",
]


def __getattr__(name: str) -> object:
    """Import the estimators when they are first asked for: they need scikit-learn."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("fm_algo.estimators"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
