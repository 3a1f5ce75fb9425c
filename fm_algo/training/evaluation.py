"""Compute the metrics of rows that are not trained on: validation and test rows."""

from collections.abc import Iterable
from typing import Protocol

from fm_algo.model import PredictorType
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.metrics import Metric, added_up, metrics_for
from fm_algo.training.peers import Alone, Peers

_EVALUATED_AT_ONCE = 1 << 16
"""Rows that `evaluate` scores at once."""


class Scorer(Protocol):
    """An object that scores rows: a learner or a model."""

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row, float32, shape (num_rows,)."""
        ...


def evaluate(
    scorer: Scorer,
    predictor_type: PredictorType,
    blocks: Iterable[CSRBatch],
    peers: Peers | None = None,
) -> list[Metric]:
    """Return the metrics of rows that are not trained on.

    Parameters
    ----------
    scorer : Scorer
    predictor_type : {"regressor", "binary_classifier"}
        Decides which metrics are computed.
    blocks : iterable of CSRBatch
        The rows in blocks of any size, with labels.
    peers : Peers, optional
        The other hosts of the job. The metrics then cover the rows of all hosts.
    """
    peers = peers or Alone()
    sums = metrics_for(predictor_type, with_auc=True)
    for rows in peers.blocks_in_step(iter(blocks)):
        for start in range(0, rows.num_rows or 1, _EVALUATED_AT_ONCE):
            block = rows.rows(start, min(start + _EVALUATED_AT_ONCE, rows.num_rows))
            sums.update(scorer.margin(block), block.require_labels(), block.weights)
    return added_up(sums, peers.add_up, predictor_type).results()
