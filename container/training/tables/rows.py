"""Read a channel of tables as a stream of rows."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from container.settings import Paths
from container.training.channels import drop_weightless, read_sources
from container.training.job import TrainingJob
from container.training.tables.source import check_same_columns, num_threads, open_source
from fm_algo.data.tables.arrow.columns import CellError
from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.loss import LOSSES
from fm_algo.sparse import CSRBatch

_HINT = '; or say in columns which one is positive: {"label": POSITIVE}'


def read_table_rows(
    paths: Paths,
    job: TrainingJob,
    name: str,
    epoch: int,
    should_stop: Callable[[], bool],
    take: Callable[[pa.RecordBatch, CSRBatch], None] = lambda _batch, _rows: None,
) -> Iterator[CSRBatch]:
    """Read the labelled rows of a channel of tables once.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
        With tables.
    name, epoch, should_stop
        As for `read_sources`.
    take : callable, optional
        Gets the cells of the rows, too, before they are yielded.

    Yields
    ------
    CSRBatch
        Some rows at a time, with checked labels, and weights if the table has them. Where a
        ranking loss needs no label and there is none, it is 1.

    Raises
    ------
    UserError
        At the first cell that is not what its column holds, and as from `read_sources`.
    PlatformError
        As from `read_sources`.
    """
    tables = tables_of(job)
    encoder = ArrowEncoder(tables.encoder, num_threads(job))
    known = [column.name for column in tables.encoder.columns]
    keys = {side.key for side in tables.encoder.sides}
    needed = [
        column.name
        for column in tables.encoder.columns
        if column.kind != "ignore" or column.name in keys
    ]
    is_ranking = job.hyperparameters.loss is not None
    label = _name_of_label(tables.encoder)
    loss = LOSSES[job.hyperparameters.predictor_type]

    def read(stream: BinaryIO) -> Iterator[CSRBatch]:
        try:
            reader = open_source(stream, job, name, needed)
            check_same_columns(reader, needed, known, job, name)
            for batch in reader:
                if should_stop():
                    return
                with reader.naming_rows():
                    rows = encoder.encode(batch, labelled=True)
                    if label is None:
                        ones = np.ones(rows.num_rows, np.float32)
                        rows = dataclasses.replace(rows, labels=ones)
                    wrong = None if is_ranking else loss.wrong_label(rows.require_labels())
                    if wrong is not None:
                        raise CellError(f"column {label}: {wrong[1]}{_HINT}", wrong[0])
                    take(batch, rows)
                yield rows
        except UserError:
            if not should_stop():  # else the stop may have cut the source short
                raise

    rows = read_sources(paths, job, name, epoch, should_stop, read)
    return drop_weightless(rows, job, name, should_stop)


def _name_of_label(encoder: TableEncoder) -> str | None:
    return next((column.name for column in encoder.columns if column.kind == "label"), None)


def tables_of(job: TrainingJob) -> Tables:
    """Return the tables of a job that has learnt them."""
    if job.tables is None:
        raise RuntimeError("the job has not learnt its tables")
    return job.tables
