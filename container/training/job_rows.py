"""Load the rows of all channels of a job, into memory as far as they fit."""

import dataclasses
import sys
import threading

from container.settings import Paths
from container.training.channel import CHANNELS
from container.training.channel_rows import ChannelRows, load_channel
from container.training.job import TrainingJob
from container.training.model_keeper import Keeper
from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.runtime.machine import usable_memory_bytes
from fm_algo.sparse import CSRBatch
from fm_algo.training.validation_split import split_rows


def load_channels(
    paths: Paths, job: TrainingJob, keeper: Keeper, stop: threading.Event
) -> tuple[dict[str, ChannelRows], int | None]:
    """Read the channels into memory, as far as they fit.

    Returns
    -------
    channels : dict of str to ChannelRows
        Unusable after a stop was requested.
    buffer_bytes : int or None
        Memory for shuffling training rows that are read again; None if they stay in memory.
    """
    hyperparameters = job.hyperparameters
    budget_bytes = _memory_budget_bytes(hyperparameters)
    channels: dict[str, ChannelRows] = {}
    for name in filter(job.channels.__contains__, CHANNELS):
        most_bytes = budget_bytes
        is_as_before = keeper.is_resumed and keeper.notes.num_hosts == len(job.resources.hosts)
        if name == "train" and is_as_before:
            # Do as before the interruption, on any machine: the order of the rows depends on it.
            most_bytes = sys.maxsize if keeper.notes.buffer_bytes is None else -1
        channels[name] = load_channel(paths, job, name, most_bytes, stop.is_set)
        if stop.is_set():
            return channels, None
        budget_bytes -= channels[name].cached_bytes

    train_rows = channels["train"]
    if hyperparameters.validation_split is not None:
        if train_rows.cached is None:
            raise UserError(
                f"validation_split={hyperparameters.validation_split} needs the rows of the train "
                "channel in memory, where they do not fit: raise memory_budget_mb, or give a "
                "validation channel"
            )
        rest, drawn = _split_rows(train_rows.cached, job)
        channels["train"] = dataclasses.replace(train_rows, cached=rest)
        channels["validation"] = dataclasses.replace(train_rows, cached=drawn)
    if train_rows.cached is not None:
        return channels, None
    if keeper.notes.buffer_bytes is not None:
        return channels, keeper.notes.buffer_bytes
    return channels, max(budget_bytes // 3, 0)


def _split_rows(rows: CSRBatch, job: TrainingJob) -> tuple[CSRBatch, CSRBatch]:
    """Draw validation rows; one of several hosts draws none if it has too few rows."""
    if rows.num_rows < 2 and (job.gpu or len(job.resources.hosts) > 1):
        return rows, rows.rows(0, 0)
    try:
        return split_rows(rows, job.hyperparameters.validation_split or 0, job.hyperparameters.seed)
    except UserError as error:
        raise error.within("train channel") from error


def _memory_budget_bytes(hyperparameters: Hyperparameters) -> int:
    """Return the memory for decoded rows: as requested, else half of what this process may use."""
    if hyperparameters.memory_budget_mb is not None:
        return hyperparameters.memory_budget_mb << 20
    return usable_memory_bytes() // 2
