"""The numbers that a checkpoint stores besides the learner's arrays."""

from typing import Self

import msgspec

from fm_algo.training.early_stopping import BestEpoch


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far training has come.

    Attributes
    ----------
    epoch : int
        The epoch being trained, from 0.
    num_batches : int
        Mini-batches of that epoch that are done.
    sums : dict of str to float
        The epoch's metric sums so far, as `MetricSums.state` returns them; empty at its start.
    best : BestEpoch or None
        The best of the earlier epochs, if early stopping is on.
    """

    epoch: int = 0
    num_batches: int = 0
    sums: dict[str, float] = {}
    best: BestEpoch | None = None


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What a job must remember besides the progress of its training loop.

    Attributes
    ----------
    records_seen, batches_seen : int
        Totals over the completed epochs.
    num_hosts : int
        Number of hosts of the job that wrote the checkpoint.
    buffer_bytes : int or None
        Size of the buffer in which rows read again are shuffled; the order of the rows depends on
        it. None if all rows are in memory.
    rows : dict of str to str
        For each channel, a text that identifies its rows; empty in checkpoints of earlier releases.
    """

    records_seen: int = 0
    batches_seen: int = 0
    num_hosts: int = 1
    buffer_bytes: int | None = None
    rows: dict[str, str] = {}

    def after(self, num_rows: int, num_batches: int) -> Self:
        """Return the notes after one more completed epoch."""
        return msgspec.structs.replace(
            self,
            records_seen=self.records_seen + num_rows,
            batches_seen=self.batches_seen + num_batches,
        )
