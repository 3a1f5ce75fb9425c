"""`score`: score the rows of a file."""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fm_algo.answers.uncertainty import check_samples, score_uncertainty
from fm_algo.artifacts.artifact import StoredModel
from fm_algo.artifacts.location import read_from
from fm_algo.artifacts.remote import local_source
from fm_algo.cli.arguments import location
from fm_algo.cli.console import write
from fm_algo.data.fields import KnownFields
from fm_algo.data.formats.advice import START_BYTES, with_advice
from fm_algo.data.formats.content_type import (
    PARQUET,
    RECORDIO_PROTOBUF,
    ContentType,
    parse_content_type,
    table_type_of,
)
from fm_algo.data.formats.decoder import RowDecoder
from fm_algo.data.formats.factory import ROW_TYPES, make_decoder
from fm_algo.data.formats.predictions import Extra, encode_jsonlines, uncertainty_extras
from fm_algo.data.formats.request import RequestDecoder, RequestRows
from fm_algo.data.tables.named_model import Names
from fm_algo.data.tables.requests.factory import make_named_decoder
from fm_algo.data.tables.requests.rows import NamedRows
from fm_algo.errors import UserError
from fm_algo.model import FMModel

ABOUT = """\
Score the rows of DATA: a line of JSON a row on standard output, as the server answers.
With --uncertainty each has score_std and score_interval, too: for a model with samples.

For a model of tables, DATA is a table with the columns that the training table had, in Parquet,
CSV or JSON Lines. A line names the columns whose value the model does not know: "unknown".
"""

_BLOCK_BYTES = 1 << 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("data", type=location, metavar="DATA", help="a file of rows")
    parser.add_argument(
        "--content-type",
        metavar="TYPE",
        help=f"one of {', '.join((*ROW_TYPES, PARQUET))}; default: {RECORDIO_PROTOBUF}, or of a "
        "model of tables by the end of the name: .parquet, .csv (with a header) or .jsonl",
    )
    parser.add_argument(
        "--uncertainty", action="store_true", help="tell how sure the model is of each score"
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    read = read_from(options.source)
    if options.uncertainty:
        check_samples(read.model)
    content_type = parse_content_type(options.content_type or _type_by_name(read, options.data))
    decoder, start = _make_decoder(read, content_type), b""
    with local_source(options.data, lambda _: False) as data:
        try:
            with data.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    start = start or block[:START_BYTES]
                    _print_scores(read.model, decoder.feed(block), options)
                _print_scores(read.model, decoder.close(), options)
        except UserError as error:
            raise with_advice(error, start, content_type).within(options.data) from error


def _type_by_name(read: StoredModel, data: str) -> str:
    of_table = None if read.tables is None else table_type_of(data)
    return of_table or RECORDIO_PROTOBUF


def _make_decoder(read: StoredModel, content_type: ContentType) -> RequestDecoder:
    if read.tables is not None:
        return make_named_decoder(content_type, Names(read.model, read.tables))
    decoder = make_decoder(
        content_type,
        feature_dim=read.model.feature_dim,
        labelled=False,
        fields=KnownFields.of_model(read.model),
    )
    return _Numbered(decoder)


@dataclass(frozen=True, slots=True)
class _Numbered:
    """Rows of numbered features, as a `RequestDecoder` gives them."""

    decoder: RowDecoder

    def feed(self, data: bytes) -> Iterator[RequestRows]:
        yield RequestRows(self.decoder.feed(data))

    def close(self) -> Iterator[RequestRows]:
        yield RequestRows(self.decoder.close())


def _print_scores(
    model: FMModel, decoded: Iterable[RequestRows], options: argparse.Namespace
) -> None:
    for rows in decoded:
        score, extras = model.score(rows.batch), _extras(model, rows, options)
        write(encode_jsonlines(score, model.predicted_label(score), extras))


def _extras(model: FMModel, rows: RequestRows, options: argparse.Namespace) -> dict[int, Extra]:
    extras: dict[int, Extra] = {}
    if isinstance(rows, NamedRows):
        extras = {row: {"unknown": columns} for row, columns in rows.unknown.items()}
    if rows.configurations or (isinstance(rows, NamedRows) and rows.asked):
        raise UserError("a row has a configuration, which only servers answer")
    if options.uncertainty:
        known = uncertainty_extras(score_uncertainty(model, rows.batch))
        extras = {row: {**extras.get(row, {}), **extra} for row, extra in enumerate(known)}
    return extras
