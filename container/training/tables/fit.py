"""Learn from the tables of a job what their values are among the features: one pass over them."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec
import pyarrow as pa

from container.settings import Paths
from container.training.channel import SIDE_CHANNELS
from container.training.channels import read_sources
from container.training.job import TrainingJob
from container.training.model_channel import load_start
from container.training.tables.source import check_same_columns, num_threads, open_source
from fm_algo.data.formats.content_type import JSONLINES, parse_content_type
from fm_algo.data.tables.arrow.fitting import EncoderFit, Side
from fm_algo.data.tables.arrow.learnt import LearntColumn
from fm_algo.data.tables.arrow.schema import columns_of
from fm_algo.data.tables.arrow.seen import SeenPairs, seen_columns
from fm_algo.data.tables.arrow.table_reader import TableReader
from fm_algo.data.tables.columns import OTHERS
from fm_algo.data.tables.encoder import SideName, TableEncoder
from fm_algo.data.tables.moves import find_moves
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError

_log = logging.getLogger("fm_algo")


def learn_tables(
    paths: Paths, job: TrainingJob, should_stop: Callable[[], bool]
) -> TrainingJob | None:
    """Learn the encoder of a job of tables, and which items its users have seen.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
        With columns.
    should_stop : callable
        As for `read_sources`.

    Returns
    -------
    TrainingJob or None
        With tables, the items seen if they are needed, the feature_dim that they have and, if it
        starts from a model, moves. None after a stop was requested.

    Raises
    ------
    UserError
        If the tables are not as `columns` says, or do not fit the model to start from; names
        channel, file, line or row, column and value.
    PlatformError
        If a file cannot be read.
    """
    started = time.perf_counter()
    start = load_start(paths, job)
    earlier = None if start is None or start.tables is None else start.tables.encoder
    if job.channels["train"].is_pipe or len(job.resources.hosts) > 1:
        tables, num_rows = Tables(_unlearnt(job, earlier)), 0
    else:
        learning = _Learning(paths, job, should_stop, earlier)
        num_rows = learning.read()
        if should_stop():
            return None
        tables = learning.finish()
    _log_learnt(tables, num_rows, time.perf_counter() - started)
    moves = None if earlier is None else tuple(find_moves(earlier, tables.encoder))
    kept = tables if job.hyperparameters.keep_seen else dataclasses.replace(tables, seen=None)
    learnt = msgspec.structs.replace(job, tables=kept, seen=tables.seen)
    return learnt.with_features(tables.encoder.feature_dim, moves)


def _unlearnt(job: TrainingJob, earlier: TableEncoder | None) -> TableEncoder:
    """Return the encoder of columns that need no rows: the same on every host."""
    columns = dict(job.hyperparameters.table_columns or {})
    others = columns.pop(OTHERS, None)
    if others is not None and others.kind != "ignore":
        raise UserError(
            f'columns: "{OTHERS}" is {others.kind}, allowed is ignore: in Pipe mode and on several '
            "hosts nobody sees the names of all columns beforehand"
        )
    schema = pa.schema([(name, pa.string()) for name in columns])
    return EncoderFit(columns, schema, is_typed=False, earlier=earlier).finish()


class _Learning:
    """The pass over the training table of a host, and over the tables that are joined to it.

    Parameters
    ----------
    paths : Paths
    job : TrainingJob
    should_stop : callable
    earlier : TableEncoder or None
        Of a model to go on from.
    """

    def __init__(
        self,
        paths: Paths,
        job: TrainingJob,
        should_stop: Callable[[], bool],
        earlier: TableEncoder | None,
    ) -> None:
        self._paths, self._job, self._should_stop = paths, job, should_stop
        self._earlier = earlier
        self._columns = job.hyperparameters.table_columns or {}
        self._sides = [self._read_side(name) for name in SIDE_CHANNELS if name in job.channels]
        self._fit: EncoderFit | None = None
        self._seen: SeenPairs | None = None

    def read(self) -> int:
        """Read the training table; return the number of rows read."""
        num_rows = 0
        for batch in self._read("train", self._read_rows):
            num_rows += batch.num_rows
            if self._seen is None and not self._fitted.needs_rows:
                break  # all is known from the header
        return num_rows

    def finish(self) -> Tables:
        """Return what was learnt."""
        encoder = self._fitted.finish()
        return Tables(encoder, None if self._seen is None else self._seen.finish(encoder))

    @property
    def _fitted(self) -> EncoderFit:
        if self._fit is None:
            raise RuntimeError("no table has been read yet")
        return self._fit

    def _read(
        self, name: str, read: Callable[[BinaryIO], Iterator[pa.RecordBatch]]
    ) -> Iterator[pa.RecordBatch]:
        return read_sources(self._paths, self._job, name, 0, self._should_stop, read)

    def _read_rows(self, stream: BinaryIO) -> Iterator[pa.RecordBatch]:
        """Learn from one file of the training table."""
        if self._fit is None:
            reader = open_source(stream, self._job, "train", self._expected())
            self._fit = self._begin(reader)
        else:
            names = [column.name for column in self._fit.columns]
            reader = open_source(stream, self._job, "train", names)
            check_same_columns(reader, names, names, self._job, "train")
        for batch in reader:
            if self._should_stop():
                return
            with reader.naming_rows():
                self._fit.add(batch)
                if self._seen is not None:
                    self._seen.add(batch)
            yield batch

    def _expected(self) -> list[str] | None:
        """Return the columns that JSON Lines have even if no line does; None for other types."""
        content_type = parse_content_type(self._job.channels["train"].content_type)
        if content_type.name != JSONLINES:
            return None
        of_sides = {name for side in self._sides for name in side.table.schema.names}
        return [name for name in self._columns if name not in of_sides and name != OTHERS]

    def _begin(self, reader: TableReader) -> EncoderFit:
        fit = EncoderFit(
            self._columns,
            reader.schema,
            is_typed=reader.is_typed,
            sides=self._sides,
            earlier=self._earlier,
            num_threads=num_threads(self._job),
        )
        chosen = self._job.hyperparameters
        if chosen.keep_seen or chosen.loss is not None or self._job.is_ranked:
            self._seen = self._collect_seen(fit)
        return fit

    def _collect_seen(self, fit: EncoderFit) -> SeenPairs | None:
        """Return what collects the items of users; None if it is not clear who they are."""
        loss = self._job.hyperparameters.loss
        try:
            user, item = seen_columns(fit.columns, fit.keys)
        except UserError as error:
            if self._job.hyperparameters.keep_seen:
                raise
            what = error.message.removeprefix("keep_seen=true: ")
            if loss is not None:
                raise UserError(f"loss={loss}: {what}") from error
            _log.warning("rankings are not judged: %s", what)
            return None
        is_ignored = any(each.name == user and each.kind == "ignore" for each in fit.columns)
        if loss is not None and is_ignored:
            raise UserError(
                f"loss={loss}: column {user} is ignored, but items are drawn that its users do not "
                "have; make it a category, or hash it"
            )
        return SeenPairs(user, item)

    def _read_side(self, name: SideName) -> Side:
        """Read a table to be joined to the rows as a whole, and check its cells."""
        batches: list[pa.RecordBatch] = []

        def read(stream: BinaryIO) -> Iterator[pa.RecordBatch]:
            known = batches[0].schema.names if batches else None
            reader = open_source(stream, self._job, name, known)
            if known is not None:
                check_same_columns(reader, known, known, self._job, name)
            columns = columns_of(self._columns, reader.schema, is_typed=reader.is_typed)
            checks = [LearntColumn(column) for column in columns if column.is_learnt]
            for batch in reader:
                with reader.naming_rows():
                    for check in checks:
                        check.add(batch)
                batches.append(batch.select(known or batch.schema.names))
                yield batch

        for _ in self._read(name, read):
            pass
        try:
            return Side(name, pa.Table.from_batches(batches))
        except pa.ArrowException as error:
            what = str(error).partition("\n")[0]
            raise UserError(f"{name} channel: its files do not fit together: {what}") from error


def _log_learnt(tables: Tables, num_rows: int, seconds: float) -> None:
    blocks = tables.encoder.blocks
    _log.info(
        "learnt from tables: %d columns with %d values, feature_dim %d, %d rows, %.1f s",
        len(blocks),
        sum(block.num_values for block in blocks),
        tables.encoder.feature_dim,
        num_rows,
        seconds,
    )
    for side in tables.encoder.sides:
        _log.info("the %s table has %d rows, its key is %s", side.name, len(side.keys), side.key)
