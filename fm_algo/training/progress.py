"""What a checkpoint remembers beside the kernel's arrays."""

from typing import Self

import msgspec

from fm_algo.training.early_stopping import BestEpoch


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far training is.

    Attributes
    ----------
    epoch : int
        The one being trained, from 0.
    num_batches : int
        Mini-batches of that epoch trained already.
    sums : dict of str to float
        The epoch's metrics so far, as `MetricSums.state` says them; empty at its start.
    best : BestEpoch or None
        Of the epochs before, where early stopping is on.
    """

    epoch: int = 0
    num_batches: int = 0
    sums: dict[str, float] = {}
    best: BestEpoch | None = None


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What the program around the training loop must remember.

    Attributes
    ----------
    records_seen, batches_seen : int
        Of the whole epochs before.
    num_hosts : int
        Of the job that wrote it.
    buffer_bytes : int or None
        Size of the buffer that rows read again are shuffled in; None where all are in memory. The
        order of the rows depends on it.
    rows : dict of str to str
        By channel, what tells its rows from others; empty in checkpoints of earlier releases.
    """

    records_seen: int = 0
    batches_seen: int = 0
    num_hosts: int = 1
    buffer_bytes: int | None = None
    rows: dict[str, str] = {}

    def after(self, num_rows: int, num_batches: int) -> Self:
        """Return the notes after one more whole epoch."""
        return msgspec.structs.replace(
            self,
            records_seen=self.records_seen + num_rows,
            batches_seen=self.batches_seen + num_batches,
        )
