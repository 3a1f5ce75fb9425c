"""Open the files or FIFOs of a channel of tables."""

from collections.abc import Collection
from typing import BinaryIO

from container.training.channels import is_gzip, unpack
from container.training.job import TrainingJob
from fm_algo.data.formats.content_type import CSV, JSONLINES, PARQUET, parse_content_type
from fm_algo.data.tables.arrow.reading import open_table
from fm_algo.data.tables.arrow.table_reader import TableReader
from fm_algo.data.tables.cells import listed
from fm_algo.data.tables.columns import OTHERS
from fm_algo.errors import UserError
from fm_algo.runtime.machine import usable_processors


def open_source(
    stream: BinaryIO, job: TrainingJob, name: str, wanted: Collection[str] | None
) -> TableReader:
    """Open a table; unpack text while reading if it begins like gzip.

    Parameters
    ----------
    stream : binary stream
    job : TrainingJob
    name : str
        A channel of the job.
    wanted : collection of str or None
        Columns that are read; None for all.

    Raises
    ------
    UserError
        If it is no table of the channel's content type.
    """
    content_type = parse_content_type(job.channels[name].content_type)
    if content_type.name == PARQUET:
        if is_gzip(stream):
            raise UserError(
                "this is gzip, expected Parquet as it is: its columns are compressed within"
            )
        return open_table(stream, content_type, wanted)
    reader = open_table(unpack(stream), content_type, wanted)
    known = job.hyperparameters.columns or {}
    if content_type.name == CSV and not known.keys() & set(reader.names):
        raise UserError(
            f"line 1: {listed([repr(name) for name in reader.names])} are no names of columns; "
            f"expected a header with {listed(list(known))}"
        )
    return reader


def check_same_columns(
    reader: TableReader,
    needed: Collection[str],
    known: Collection[str],
    job: TrainingJob,
    name: str,
) -> None:
    """Check that a table has the columns of the training table.

    Parameters
    ----------
    reader : TableReader
    needed : collection of str
        Columns that it must have. In JSON Lines, one that is in no line is missing in all.
    known : collection of str
        All that it may have, unless `columns` says what all others are.
    job : TrainingJob
    name : str
        The table's channel.

    Raises
    ------
    UserError
        If one is lacking or unknown.
    """
    absent = [column for column in needed if column not in reader.names]
    takes_any = OTHERS in (job.hyperparameters.columns or {})
    unknown = [] if takes_any else [column for column in reader.names if column not in known]
    content_type = parse_content_type(job.channels[name].content_type)
    if absent and content_type.name != JSONLINES:
        raise UserError(
            f"no column {listed(absent)}, which the training table has; found are "
            f"{listed(reader.names)}"
        )
    if unknown:
        raise UserError(
            f"column {listed(unknown)} is not in the training table, which has {listed([*known])}"
        )


def num_threads(job: TrainingJob) -> int:
    """Return how many threads read columns side by side."""
    return job.hyperparameters.num_threads or usable_processors()
