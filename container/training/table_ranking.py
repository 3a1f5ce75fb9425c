"""Judge how a model of tables ranks the items for the users of a channel."""

from collections.abc import Callable

import pyarrow as pa

from container.settings import Paths
from container.training.job import TrainingJob
from container.training.table_rows import read_table_rows, tables_of
from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.loss import LOSSES
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.training.metrics import Metric
from fm_algo.training.ranking import QueryCollector, evaluate_ranking, most_users


def rank(
    paths: Paths, job: TrainingJob, name: str, model: FMModel, should_stop: Callable[[], bool]
) -> list[Metric]:
    """Read a channel once more, and rank all items for its users.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    name : str
        A channel of the job that holds rows.
    model : FMModel
    should_stop : callable
        As for `read_sources`.

    Returns
    -------
    list of Metric
        Empty if the job has no table of items, the channel comes through a FIFO, which cannot be
        read again, or after a stop was requested.

    Raises
    ------
    UserError, PlatformError
        As from `read_table_rows`.
    """
    experience, encoder = job.experience, tables_of(job).encoder
    items = encoder.side("items")
    if experience is None or items is None or name not in job.channels or job.is_pipe(name):
        return []
    seen, loss = experience.seen, LOSSES[job.hyperparameters.predictor_type]
    arrow = ArrowEncoder(encoder)
    queries = QueryCollector(
        encoder,
        most_users(len(items.keys), model.num_factors),
        1.0 if loss.is_classifier else experience.label_mean,
    )

    def watch(cells: pa.RecordBatch, rows: CSRBatch) -> None:
        queries.add(arrow.hash_words(cells, seen.user), arrow.encode_keys(cells, items), rows)

    for _ in read_table_rows(paths, job, name, 0, should_stop, watch):
        pass
    return [] if should_stop() else evaluate_ranking(model, queries.finish(seen))
