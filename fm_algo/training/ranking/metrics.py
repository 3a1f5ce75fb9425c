"""Metrics of rankings: ndcg@10, recall@10 and map@10, the mean over users of one number each.

    ndcg@k    Σ_r rel_r / log2(r + 1), divided by what the best order would give
    recall@k  relevant items among the first k, divided by all relevant ones
    map@k     mean precision at the ranks of relevant items, as if all min(k, relevant) were there

where rel_r is 1 if the item at rank r = 1 … k is relevant to the user, else 0. NDCG is from
Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20 (4), 2002,
with gains of 0 and 1 and the discount of Burges et al., "Learning to rank using gradient descent",
ICML 2005, which also discounts rank 2. Average precision is from Buckley and Voorhees, "Evaluating
evaluation measure stability", SIGIR 2000, cut off at k as in the Million Song Dataset Challenge
(McFee et al., WWW 2012).
"""

from collections.abc import Iterable

import numpy as np

from fm_algo.sparse import Int32Array
from fm_algo.training.metrics import CUTOFF, RANKING_METRICS, Metric

_DISCOUNTS = 1 / np.log2(np.arange(2, CUTOFF + 2))


def ranking_metrics(answers: Iterable[tuple[Int32Array, Int32Array]]) -> list[Metric]:
    """Return the metrics of the rankings of users.

    Parameters
    ----------
    answers : iterable of (int32 array, int32 array)
        Per user the items that were recommended, the best first, and those that are relevant: at
        least one, each once. Of the first, no more than CUTOFF count.

    Returns
    -------
    list of Metric
        ndcg@10, recall@10 and map@10, all scores in [0, 1]; empty if there are no users.
    """
    sums, num_users = np.zeros(3), 0
    for ranked, relevant in answers:
        is_hit = np.isin(ranked[:CUTOFF], relevant)
        ranks = np.flatnonzero(is_hit) + 1
        most = min(len(relevant), CUTOFF)
        sums += (
            _DISCOUNTS[ranks - 1].sum() / _DISCOUNTS[:most].sum(),
            len(ranks) / len(relevant),
            (np.arange(1, len(ranks) + 1) / ranks).sum() / most,
        )
        num_users += 1
    if not num_users:
        return []
    means = (sums / num_users).tolist()
    return [Metric(name, "score", mean) for name, mean in zip(RANKING_METRICS, means, strict=True)]
