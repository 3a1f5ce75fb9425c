"""Read tables as Arrow record batches: Parquet, CSV with a header, JSON Lines, data frames.

Cells of text formats arrive as text, so that nothing is guessed: `columns` says what they mean.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet

from fm_algo.data.formats.content_type import (
    CSV,
    JSONLINES,
    PARQUET,
    TABLE_TYPES,
    ContentType,
    is_table,
)
from fm_algo.data.tables.arrow.columns import is_words
from fm_algo.data.tables.arrow.csv_table import open_csv
from fm_algo.data.tables.arrow.json_lines_table import open_json_lines
from fm_algo.data.tables.arrow.table_reader import ROWS_AT_ONCE, TableReader, check_names
from fm_algo.data.tables.cells import describe
from fm_algo.data.tables.columns import without_index
from fm_algo.errors import UserError

Source: TypeAlias = "Path | BinaryIO"


def open_table(
    source: Source, content_type: ContentType, wanted: Collection[str] | None = None
) -> TableReader:
    """Open a table for reading once.

    Parameters
    ----------
    source : Path or binary stream
        Parquet needs a stream that can seek.
    content_type : ContentType
        One of `TABLE_TYPES`.
    wanted : collection of str, optional
        Names of the columns to read; others may be left out of the batches.

    Raises
    ------
    UserError
        If it is no such table, here or while it is read; names the line or row.
    """
    if content_type.name == PARQUET:
        return _open_parquet(source, wanted)
    stream = source.open("rb") if isinstance(source, Path) else source
    if content_type.name == CSV and is_table(content_type):
        return open_csv(stream, wanted)
    if content_type.name == JSONLINES:
        return open_json_lines(stream, wanted or ())
    raise UserError(
        f"{content_type.name} is no content type of tables, allowed: {', '.join(TABLE_TYPES)}"
    )


def read_frame(frame: Any) -> TableReader:  # noqa: ANN401 - any library's
    """Read a data frame: whatever offers the Arrow stream interface.

    Parameters
    ----------
    frame : pandas.DataFrame, polars.DataFrame, pyarrow.Table, …

    Raises
    ------
    UserError
        If it does not offer it.
    """
    if not hasattr(frame, "__arrow_c_stream__"):
        raise UserError(
            f"{describe(frame)} is no table; allowed is a data frame that offers "
            "__arrow_c_stream__, such as those of pandas, polars and pyarrow"
        )
    table = pa.table(frame)
    table = table.select(without_index(table.column_names))
    return TableReader(table.schema, iter(table.to_batches(ROWS_AT_ONCE)))


def _open_parquet(source: Source, wanted: Collection[str] | None) -> TableReader:
    try:
        file = pyarrow.parquet.ParquetFile(source)
        names = without_index(file.schema_arrow.names)
        check_names(names)
        words = [field.name for field in file.schema_arrow if is_words(field.type)]
        if not isinstance(source, Path):
            source.seek(0)
        # Texts as numbers into a dictionary, where the file has one: each is looked up once.
        file = pyarrow.parquet.ParquetFile(source, read_dictionary=words, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"this is no Parquet file: {_first_line(error)}") from error
    columns = names if wanted is None else [name for name in names if name in wanted]

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=columns):
                batch.validate(full=True)  # compiled code trusts offsets and numbers of words
                yield batch
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"the Parquet file is damaged: {_first_line(error)}") from error

    return TableReader(pa.schema([file.schema_arrow.field(name) for name in names]), batches())


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
