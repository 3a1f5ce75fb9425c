"""Gather from the rows of the train channel what users want, for a ranking loss."""

import logging

import pyarrow as pa

from container.training.job import TrainingJob
from container.training.tables.rows import tables_of
from container.training.tables.source import num_threads
from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch
from fm_algo.training.positives import PositiveCollector, Positives

_log = logging.getLogger("fm_algo")


class PositiveReader:
    """Takes the cells and rows of the train channel, as `read_table_rows` gives them.

    Parameters
    ----------
    job : TrainingJob
        With tables, a table of items among them, and the items seen.
    """

    def __init__(self, job: TrainingJob) -> None:
        encoder = tables_of(job).encoder
        items = encoder.side("items")
        if items is None or job.seen is None:
            raise RuntimeError("the job has no table of items")
        self._items, self._user = items, job.seen.user
        self._cells = ArrowEncoder(encoder, num_threads(job))
        self._collector = PositiveCollector(encoder)

    @property
    def num_bytes(self) -> int:
        """Memory of what was gathered so far."""
        return self._collector.num_bytes

    def take(self, batch: pa.RecordBatch, rows: CSRBatch) -> None:
        """Take some rows, with their cells."""
        users = self._cells.hash_words(batch, self._user)
        self._collector.add(users, self._cells.encode_keys(batch, self._items), rows)

    def finish(self) -> Positives:
        """Return what was gathered; warn of rows that cannot be learnt from.

        Raises
        ------
        UserError
            If there is nothing to learn from.
        """
        try:
            positives = self._collector.finish()
        except UserError as error:
            raise UserError(f"train channel: {error.message}") from error
        if self._collector.num_unknown:
            _log.warning(
                "train channel: %d rows are not learnt from: their %s is not in the items table",
                self._collector.num_unknown,
                self._items.key,
            )
        return positives
