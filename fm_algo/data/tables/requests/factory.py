"""Make the decoder for a request to a model that knows names."""

from fm_algo.data.formats.content_type import CSV, JSON, JSONLINES, PARQUET, ContentType
from fm_algo.data.formats.request import RequestDecoder, make_request_decoder
from fm_algo.data.tables.requests.csv import CSVRows
from fm_algo.data.tables.requests.instances import JSONInstances, JSONLinesInstances
from fm_algo.data.tables.requests.parquet import ParquetRows
from fm_algo.data.tables.row_encoder import RowEncoder


def make_named_decoder(content_type: ContentType, rows: RowEncoder) -> RequestDecoder:
    """Return a new decoder for a request of this type.

    Parameters
    ----------
    content_type : ContentType
        Parquet, or a type of `make_request_decoder`. CSV has a column per column of the table,
        and instances may be objects of cells. Other types are of numbered features as ever.
    rows : RowEncoder
        Of the model.

    Raises
    ------
    UserError
        If a parameter is not allowed; with status 415 if the type is not read.
    """
    name = content_type.name
    if name == JSON:
        return JSONInstances(rows)
    if name == JSONLINES:
        return JSONLinesInstances(rows)
    if name == CSV:
        return CSVRows(content_type, rows)
    if name == PARQUET:
        return ParquetRows(rows)
    return make_request_decoder(content_type, feature_dim=rows.encoder.feature_dim)
