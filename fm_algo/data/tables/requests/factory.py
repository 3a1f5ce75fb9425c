"""Make the decoder for a request to a model that knows names."""

from fm_algo.data.formats.content_type import CSV, JSON, JSONLINES, PARQUET, ContentType
from fm_algo.data.formats.request import RequestDecoder, make_request_decoder
from fm_algo.data.tables.named_model import Names
from fm_algo.data.tables.requests.csv import CSVRows
from fm_algo.data.tables.requests.instances import JSONInstances, JSONLinesInstances
from fm_algo.data.tables.requests.parquet import ParquetRows


def make_named_decoder(content_type: ContentType, names: Names) -> RequestDecoder:
    """Return a new decoder for a request of this type.

    Parameters
    ----------
    content_type : ContentType
        Parquet, or a type of `make_request_decoder`. CSV has a column per column of the table,
        and instances may be objects of cells. Other types are of numbered features as ever.
    names : Names
        Of the model.

    Raises
    ------
    UserError
        If a parameter is not allowed; with status 415 if the type is not read.
    """
    name = content_type.name
    if name == JSON:
        return JSONInstances(names)
    if name == JSONLINES:
        return JSONLinesInstances(names)
    if name == CSV:
        return CSVRows(content_type, names.rows)
    if name == PARQUET:
        return ParquetRows(names.rows)
    return make_request_decoder(
        content_type,
        feature_dim=names.rows.encoder.feature_dim,
        fields=names.fields,
    )
