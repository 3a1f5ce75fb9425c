"""`score`: score the rows of a file."""

import argparse

from fm_algo.answers.uncertainty import check_samples, score_uncertainty
from fm_algo.artifacts.location import read_from
from fm_algo.artifacts.remote import local_source
from fm_algo.cli.arguments import location
from fm_algo.cli.console import write
from fm_algo.data.formats.content_type import RECORDIO_PROTOBUF, parse_content_type
from fm_algo.data.formats.factory import ROW_TYPES, make_decoder
from fm_algo.data.formats.predictions import encode_jsonlines, uncertainty_extras
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

ABOUT = """\
Score the rows of DATA: a line of JSON a row on standard output, as the server answers.
With --uncertainty each has score_std and score_interval, too: for a model with samples.
"""

_BLOCK_BYTES = 1 << 24


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("data", type=location, metavar="DATA", help="a file of rows")
    parser.add_argument(
        "--content-type",
        default=RECORDIO_PROTOBUF,
        metavar="TYPE",
        help=f"one of {', '.join(ROW_TYPES)}; default: %(default)s",
    )
    parser.add_argument(
        "--uncertainty", action="store_true", help="tell how sure the model is of each score"
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    model = read_from(options.source).model
    if options.uncertainty:
        check_samples(model)
    content_type = parse_content_type(options.content_type)
    decoder = make_decoder(content_type, feature_dim=model.feature_dim, labelled=False)
    with local_source(options.data, lambda _: False) as data:
        try:
            with data.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    _print_scores(model, decoder.feed(block), uncertainty=options.uncertainty)
                _print_scores(model, decoder.close(), uncertainty=options.uncertainty)
        except UserError as error:
            raise error.within(options.data) from error


def _print_scores(model: FMModel, rows: CSRBatch, *, uncertainty: bool) -> None:
    score = model.score(rows)
    known = uncertainty_extras(score_uncertainty(model, rows)) if uncertainty else []
    write(encode_jsonlines(score, model.predicted_label(score), dict(enumerate(known))))
