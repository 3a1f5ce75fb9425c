"""Read from validation and test tables what users should be recommended."""

import logging
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from container.settings import Paths
from container.training.channel_rows import ChannelRows
from container.training.job import EVALUATED, TrainingJob
from container.training.tables.rows import read_table_rows
from container.training.tables.source import num_threads
from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.data.tables.tables import are_of_items
from fm_algo.loss import LOSSES
from fm_algo.sparse import CSRBatch
from fm_algo.training.ranking.queries import Queries, QueryCollector, most_users
from fm_algo.training.rows import Rows

_log = logging.getLogger("fm_algo")


def load_queries(
    paths: Paths,
    job: TrainingJob,
    channels: Mapping[str, ChannelRows],
    should_stop: Callable[[], bool],
) -> dict[str, Queries]:
    """Read the validation and the test channel once more, for what is relevant to their users.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
        With tables.
    channels : mapping of str to ChannelRows
        Rows of the train channel that are not in memory are read once more, too.
    should_stop : callable
        As for `read_channel`.

    Returns
    -------
    dict of str to Queries
        By channel; empty if there is no table of items, or nobody knows who is a user.

    Raises
    ------
    UserError, PlatformError
        As from `read_table_rows`.
    """
    if job.tables is None or job.seen is None or not job.is_ranked:
        return {}
    encoder, seen = job.tables.encoder, job.seen
    items = encoder.side("items")
    if items is None:
        return {}
    if any(each.name == seen.user and each.kind == "ignore" for each in encoder.columns):
        _log.warning("rankings are not judged: column %s is ignored", seen.user)
        return {}
    cells = ArrowEncoder(encoder, num_threads(job))
    width = job.hyperparameters.num_factors
    if job.hyperparameters.is_field_weighted:
        width *= int(are_of_items(encoder).sum())  # an item has a vector per column of its own
    most = most_users(len(items.keys), width)
    least_label = _least_label(job, channels["train"])
    is_above_0 = job.hyperparameters.loss is not None
    relevant = "with a label above 0" if is_above_0 else f"from label {least_label:.6g} on"
    queries = {}
    for name in EVALUATED:
        if name not in job.channels or job.is_pipe(name):
            continue
        collector = QueryCollector(encoder, most, least_label, seen)

        def take(
            batch: pa.RecordBatch, rows: CSRBatch, collector: QueryCollector = collector
        ) -> None:
            users = cells.hash_words(batch, seen.user)
            collector.add(users, cells.encode_keys(batch, items), rows)

        for _ in read_table_rows(paths, job, name, 0, should_stop, take):
            pass
        queries[name] = collector.finish()
        _log.info(
            "%s channel: items ranked for %d users%s; relevant %s",
            name,
            queries[name].contexts.num_rows,
            ", a sample" if queries[name].is_sample else "",
            relevant,
        )
    return queries


def _least_label(job: TrainingJob, rows: Rows) -> float:
    """Return the label from which on an item is relevant."""
    if job.hyperparameters.loss is not None:
        return float(np.nextafter(np.float32(0), np.float32(1)))
    if LOSSES[job.hyperparameters.predictor_type].is_classifier:
        return 1.0
    num_labels, total = 0, 0.0
    for block in rows.blocks(0):
        labels = block.require_labels()
        num_labels += len(labels)
        total += float(labels.sum(dtype="float64"))
    return total / max(num_labels, 1)
