"""A Parquet file as a request. pyarrow is loaded with the first one, and for nothing else."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fm_algo.data.formats.request import RequestRows
from fm_algo.data.tables.columns import without_index
from fm_algo.data.tables.requests.header import check_header
from fm_algo.data.tables.requests.rows import NamedRows, RowCounter, encode_rows
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_CELLS = 1 << 25
"""Cells of a file: a short one can hold very many that are equal. Half a minute of work."""

_MAX_UNPACKED = 1 << 29
"""Bytes of a row group, unpacked."""


class ParquetRows:
    """A Parquet file to rows; a `RequestDecoder`. What it holds is written at its end.

    Parameters
    ----------
    rows : RowEncoder
    """

    def __init__(self, rows: RowEncoder) -> None:
        self._rows = rows
        self._at_once = RowCounter(rows).at_once
        self._body = bytearray()

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        """Take the next bytes; no row is complete before the last one."""
        self._body += data
        return iter(())

    def close(self) -> Iterator[RequestRows]:
        """End the request; yield its rows.

        Raises
        ------
        UserError
            If it is no Parquet file of the model's columns, or at the first cell that is not what
            its column holds; names row, column and value.
        """
        import pyarrow as pa  # noqa: PLC0415 - half a second, for those alone who send Parquet
        import pyarrow.parquet  # noqa: PLC0415

        try:
            file = pyarrow.parquet.ParquetFile(io.BytesIO(self._body))
            names = without_index(file.schema_arrow.names)
            self._check(file.metadata, names)
            first = 0
            for batch in file.iter_batches(self._at_once, columns=names, use_threads=False):
                yield self._encode(batch, first)
                first += batch.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            what = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"the request is no Parquet file that can be read: {what}") from error

    def _check(self, metadata: Any, names: list[str]) -> None:  # noqa: ANN401 - pyarrow's
        check_header(names, self._rows)
        allowed = _MAX_CELLS // self._rows.width
        if metadata.num_rows > allowed:
            raise UserError(
                f"the Parquet file has {metadata.num_rows} rows, allowed: {allowed} for a model "
                f"whose rows have {self._rows.width} features; write several files"
            )
        groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
        num_bytes = max((group.total_byte_size for group in groups), default=0)
        if num_bytes > _MAX_UNPACKED:
            raise UserError(
                f"the Parquet file has a row group of {num_bytes} bytes unpacked, allowed: "
                f"{_MAX_UNPACKED}; write smaller row groups"
            )

    def _encode(self, batch: "pa.RecordBatch", first: int) -> NamedRows:
        columns = [_cells(batch.column(place)) for place in range(batch.num_columns)]
        names = batch.schema.names
        rows = [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]
        encoded = encode_rows(self._rows, rows, lambda row: f"row {first + row}")
        return NamedRows(encoded.batch, unknown=encoded.unknown)


def _cells(column: "pa.Array") -> list[Any]:
    """Return the cells of a column; times and decimals as text, as they are in training."""
    import pyarrow as pa  # noqa: PLC0415

    kind = column.type
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.string())
    cells: list[Any] = column.to_pylist()
    return cells
