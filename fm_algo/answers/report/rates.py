"""How good the probabilities of a classifier are: calibration, ROC, precision and recall."""

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import Float32Array

_Numbers = NDArray[np.float64]

_MOST_POINTS = 200


def calibration(
    scores: Float32Array,
    labels: Float32Array,
    weights: Float32Array | None = None,
    num_bins: int = 10,
) -> tuple[_Numbers, _Numbers, _Numbers]:
    """Compare probabilities with what happened, in bins of about equally many rows.

    Parameters
    ----------
    scores, labels : float32, shape (n,)
        Probabilities of label 1, and labels.
    weights : float32, shape (n,), optional
        Weights of the rows, by default 1.
    num_bins : int

    Returns
    -------
    score, share, weight : float64, shape (b,)
        Of each bin, the mean score, the share of label 1, and the weight of its rows.
    """
    order = np.argsort(scores, kind="stable")
    weight = _weights(scores, weights)[order]
    places = np.minimum((num_bins * (np.cumsum(weight) - weight / 2) / weight.sum()), num_bins - 1)
    bins = places.astype(np.int64)
    sums: _Numbers = np.stack(
        [
            np.bincount(bins, weight * numbers, num_bins)
            for numbers in (1.0, scores[order], labels[order])
        ]
    )
    total, score, share = sums[:, sums[0] > 0]
    return score / total, share / total, total


def roc(
    scores: Float32Array, labels: Float32Array, weights: Float32Array | None = None
) -> tuple[_Numbers, _Numbers]:
    """Return the ROC curve: the share of negatives, and of positives, above each threshold.

    Parameters
    ----------
    scores, labels : float32, shape (n,)
        Both labels must be there.
    weights : float32, shape (n,), optional

    Returns
    -------
    false_positive_rate, true_positive_rate : float64, shape (p,)
        From 0 to 1; at most about 200 points.
    """
    positives, negatives = _counts_above(scores, labels, weights)
    return _thinned(negatives / negatives[-1], positives / positives[-1])


def precision_recall(
    scores: Float32Array, labels: Float32Array, weights: Float32Array | None = None
) -> tuple[_Numbers, _Numbers]:
    """Return the recall and the precision above each threshold, as `roc` does."""
    positives, negatives = _counts_above(scores, labels, weights)
    recall, total = positives[1:] / positives[-1], positives[1:] + negatives[1:]
    return _thinned(recall, positives[1:] / total)


def _counts_above(
    scores: Float32Array, labels: Float32Array, weights: Float32Array | None
) -> tuple[_Numbers, _Numbers]:
    """Weigh the positives and negatives at or above each score; both start at 0."""
    order = np.argsort(-scores, kind="stable")
    weight, positive = _weights(scores, weights)[order], labels[order] == 1
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    positives, negatives = (
        np.concatenate([[0.0], np.cumsum(weight * chosen)[last_of_ties]])
        for chosen in (positive, ~positive)
    )
    return positives, negatives


def _weights(scores: Float32Array, weights: Float32Array | None) -> _Numbers:
    return np.ones(len(scores)) if weights is None else weights.astype(np.float64)


def _thinned(x: _Numbers, y: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Leave out points between others; the ends stay."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).astype(np.int64))
    return x[kept], y[kept]
