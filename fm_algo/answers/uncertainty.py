"""How sure a model is of its scores: how far those of its posterior samples lie apart.

This is the uncertainty about the score itself: the noise-free mean of a regressor, the probability
of a classifier. A new label scatters around that score by noise of its own, which is not in here.
"""

from dataclasses import dataclass

import numpy as np

from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, to_float32

MIN_SAMPLES = 2

_INTERVAL = (0.05, 0.95)


@dataclass(frozen=True, slots=True, eq=False)
class Uncertainty:
    """What is known of n scores.

    Attributes
    ----------
    score_std : float32, shape (n,)
        Standard deviation of the posterior of each score, estimated from the samples (divisor
        S - 1). In the unit of the score.
    low, high : float32, shape (n,)
        The 5 % and the 95 % quantile of the samples' scores, interpolated between neighbours: an
        interval that has the noise-free score with a probability of 90 %, by the model.
    """

    score_std: Float32Array
    low: Float32Array
    high: Float32Array


def check_samples(model: FMModel) -> None:
    """Check that a model has the samples that its uncertainty is read from.

    Raises
    ------
    UserError
        If it has fewer than two.
    """
    if len(model.samples) < MIN_SAMPLES:
        raise UserError(
            f"the model holds {len(model.samples)} posterior samples, uncertainty needs "
            f"{MIN_SAMPLES} or more: train it with optimizer=mcmc and posterior_samples=20, say"
        )


def score_uncertainty(model: FMModel, batch: CSRBatch) -> Uncertainty:
    """Tell how sure a model is of the score of each row.

    Parameters
    ----------
    model : FMModel
        With S samples of the posterior, 2 at least.
    batch : CSRBatch
        n rows; its feature_dim must be the model's.

    Returns
    -------
    Uncertainty
        A number is not finite where samples' scores are not.

    Raises
    ------
    UserError
        If the model has fewer samples, or feature_dim differs.

    Notes
    -----
    O(S * num_entries * num_factors), and a few mebibytes whatever n and S are.
    """
    check_samples(model)
    score_std, low, high = np.empty((3, batch.num_rows), np.float32)
    for rows, margins in model.sample_margins(batch):
        scores = model.link(to_float32(margins)).astype(np.float64)  # (num_rows, S)
        with np.errstate(invalid="ignore"):  # of infinite scores
            score_std[rows] = to_float32(scores.std(axis=1, ddof=1))
            bounds = np.quantile(scores, _INTERVAL, axis=1)  # (2, num_rows)
        low[rows], high[rows] = to_float32(bounds)
    return Uncertainty(score_std, low, high)
