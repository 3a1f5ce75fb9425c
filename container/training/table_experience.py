"""Collect what the users of the training rows have, while an encoder is learnt from them."""

import logging
from typing import Self

import numpy as np
import pyarrow as pa

from container.training.job import TrainingJob
from fm_algo.data.tables.arrow import columns as cells
from fm_algo.data.tables.arrow.encoding import on_column
from fm_algo.data.tables.arrow.fitting import EncoderFit
from fm_algo.data.tables.arrow.seen import SeenPairs, seen_columns
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.tables import Experience
from fm_algo.errors import UserError

_JUDGED = ("test", "validation")
"""The channels on which rankings are judged."""

_log = logging.getLogger("fm_algo")


class ExperienceCollector:
    """Collects which items users have seen, and the mean of the labels.

    Parameters
    ----------
    user, item : str
        Names of their columns.
    label : str or None
        Name of the column of labels; None if no mean is needed.
    """

    def __init__(self, user: str, item: str, label: str | None) -> None:
        self._seen = SeenPairs(user, item)
        self._label = label
        self._total, self._num_rows = 0.0, 0

    @classmethod
    def of_job(cls, job: TrainingJob, fit: EncoderFit) -> Self | None:
        """Return a collector if the job keeps what users have seen, or ranks items for them.

        Raises
        ------
        UserError
            If the job keeps it, but it is not clear which columns are users and items.
        """
        chosen = job.hyperparameters
        is_judged = "items" in fit.keys and not job.channels.keys().isdisjoint(_JUDGED)
        if not (is_judged or chosen.keep_seen):
            return None
        why = "keep_seen=true" if chosen.keep_seen else "rankings are not judged"
        try:
            user, item = seen_columns(fit.columns, fit.keys, why)
        except UserError as error:
            if chosen.keep_seen:
                raise
            _log.info("%s", error.message)
            return None
        is_regressor = chosen.predictor_type == "regressor"
        label = next(column.name for column in fit.columns if column.kind == "label")
        return cls(user, item, label if is_regressor else None)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of the training table.

        Raises
        ------
        CellError
            If a cell is not what its column holds.
        """
        self._seen.add(batch)
        if self._label is not None:
            self._total += float(np.nansum(on_column(batch, self._label, cells.to_numbers)))
            self._num_rows += batch.num_rows

    def finish(self, encoder: TableEncoder) -> Experience:
        """Return what was collected of the items that the encoder knows."""
        return Experience(self._seen.finish(encoder), self._total / max(self._num_rows, 1))
