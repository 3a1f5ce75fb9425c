"""The rows of one channel: in memory if they fit, else read again each time they are needed."""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from container.settings import Paths
from container.training.channels import describe_files, read_channel
from container.training.job import Resources, TrainingJob
from fm_algo.data.fields import KnownFields
from fm_algo.data.row_buffer import RowBuffer
from fm_algo.sparse import CSRBatch
from fm_algo.training.rows import Rows

if TYPE_CHECKING:
    from container.training.tables.positives import PositiveReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelRows(Rows):
    """The rows of one channel; not in memory if they do not fit or come through FIFOs.

    Attributes
    ----------
    describe_origin : callable
        Returns a text that identifies their origin, as far as it is known without reading them.
    """

    describe_origin: Callable[[], str]

    @property
    def cached_bytes(self) -> int:
        """Memory that the rows take, in bytes."""
        held = [rows.num_bytes for rows in (self.cached, self.positives) if rows is not None]
        return sum(held)

    def describe(self) -> str:
        """Return a text that identifies these rows: for rows in memory, by all their numbers."""
        rows, check = self.cached, 0
        if rows is None:
            return self.describe_origin()
        arrays = (rows.indptr, rows.indices, rows.values, rows.require_labels(), rows.weights)
        of_ranking = self.positives
        paired = () if of_ranking is None else (of_ranking.items, of_ranking.users)
        for numbers in (*arrays, *paired):
            check = check if numbers is None else zlib.crc32(numbers.data, check)
        return f"{rows.num_rows} rows with {rows.num_entries} values (check {check:08x})"


def load_channel(
    paths: Paths,
    job: TrainingJob,
    name: str,
    budget_bytes: int,
    should_stop: Callable[[], bool],
) -> ChannelRows:
    """Read this host's rows of a channel into memory, as far as the budget allows.

    If each host has all files, row r belongs to host r modulo the number of hosts. If a host has
    several processes, the first one has all its rows.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    name : str
        A channel of the job.
    budget_bytes : int
        Memory the rows may take. If they need more, they are dropped and read again later.
    should_stop : callable
        As for `read_channel`.

    Returns
    -------
    ChannelRows
        Unusable after a stop was requested.

    Raises
    ------
    UserError, PlatformError
        As from `read_channel`. Rows beyond the budget are not checked yet.
    """
    passes = itertools.count()
    reader, positives = _reader_of(job, name)

    def read(_epoch: int) -> Iterator[CSRBatch]:
        if job.gpu:
            return iter(())
        # FIFOs are numbered from 0 at each start of the container, whatever the epoch.
        blocks = reader(paths, job, name, next(passes), should_stop)
        return blocks if job.channels[name].is_sharded else _own_rows(blocks, job.resources)

    if job.channels[name].is_pipe:
        return ChannelRows(read=read, describe_origin=lambda: "a pipe", space=job.space)
    origin = functools.partial(describe_files, paths, name)
    buffer = RowBuffer(job.hyperparameters.feature_dim)
    for block in read(0):
        buffer.append(block)
        if buffer.num_bytes + (0 if positives is None else positives.num_bytes) > budget_bytes:
            return ChannelRows(read=read, describe_origin=origin, space=job.space)
    rows = ChannelRows(
        read=read, cached=buffer.take(buffer.num_rows), describe_origin=origin, space=job.space
    )
    if positives is None or should_stop():
        return rows
    return dataclasses.replace(rows, positives=positives.finish())


_Reader = Callable[[Paths, TrainingJob, str, int, Callable[[], bool]], Iterator[CSRBatch]]


def _reader_of(job: TrainingJob, name: str) -> "tuple[_Reader, PositiveReader | None]":
    """Return what reads a channel once, numbered features or tables.

    With a ranking loss, return what gathers the positives of the train channel meanwhile, too.
    """
    if job.hyperparameters.columns is None:
        space = job.space or job.hyperparameters.numbered_fields
        fields = None if space is None else KnownFields(space)
        return functools.partial(read_channel, fields=fields), None
    # Imported here: a job of numbered features does not need pyarrow.
    from container.training.tables.positives import PositiveReader  # noqa: PLC0415
    from container.training.tables.rows import read_table_rows  # noqa: PLC0415

    if job.hyperparameters.loss is None or name != "train":
        return read_table_rows, None
    positives = PositiveReader(job)
    return functools.partial(read_table_rows, take=positives.take), positives


def _own_rows(blocks: Iterator[CSRBatch], resources: Resources) -> Iterator[CSRBatch]:
    num_hosts = len(resources.hosts)
    if num_hosts == 1:
        yield from blocks
        return
    num_rows = 0
    for block in blocks:
        first = (resources.rank - num_rows) % num_hosts
        yield block.take(np.arange(first, block.num_rows, num_hosts))
        num_rows += block.num_rows
