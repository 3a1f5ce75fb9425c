"""Compile what ranking losses run: learn from a few positives with each."""

import numpy as np

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.loss import RANKING_LOSSES
from fm_algo.sparse import CSRBatch, Int64Array
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.initialization import draw_initial
from fm_algo.training.positives import Positives
from fm_algo.training.ranking.learner import RankingLearner
from fm_algo.training.rows import Rows

_NUM_USERS, _NUM_ITEMS = 2, 3


def main() -> None:
    """Run each compiled function once."""
    users, items = np.array([0, 1, 1]), np.arange(_NUM_ITEMS)
    positives = Positives(
        _rows_of(users), items.astype(np.int32), users, _rows_of(_NUM_USERS + items)
    )
    for loss in RANKING_LOSSES:
        hyperparameters = parse_hyperparameters(
            {
                "feature_dim": _NUM_USERS + _NUM_ITEMS,
                "num_factors": 1,
                "predictor_type": "regressor",
                "loss": loss,
                "negative_sampling_power": 1,
            }
        )
        learner = RankingLearner(CPUKernel(hyperparameters), hyperparameters)
        draw_initial(learner.writable_model(), hyperparameters)
        learner.take_rows(Rows(lambda _epoch: iter(()), positives=positives))
        for _step in learner.steps(0, 0, lambda: False):
            pass


def _rows_of(features: Int64Array) -> CSRBatch:
    """Make rows of one feature each."""
    indptr, ones = np.arange(len(features) + 1), np.ones(len(features), np.float32)
    return CSRBatch(indptr, features.astype(np.int32), ones, None, _NUM_USERS + _NUM_ITEMS)
