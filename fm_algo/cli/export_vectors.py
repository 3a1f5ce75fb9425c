"""`export-vectors`: write the vectors of items and users, for nearest-neighbour search."""

import argparse
from pathlib import Path

from fm_algo.artifacts.export import save_vectors
from fm_algo.artifacts.location import read_from, write_to
from fm_algo.cli.arguments import add_target, feature_range
from fm_algo.cli.console import note
from fm_algo.cli.convert import tell_of_samples

ABOUT = """\
Write items.npy and items.pbr, and users.npy and users.pbr, into the directory DST.

The inner product of a user's and an item's vector ranks the items as the model does. The .pbr
files are RecordIO-protobuf: items to train SageMaker's k-NN on (index_metric INNER_PRODUCT; the
label is the item's number, 0 for feature FIRST), users to ask it with.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_target(parser, "a directory, or an archive as for convert")
    parser.add_argument(
        "--items",
        type=feature_range,
        required=True,
        metavar="FIRST:STOP",
        help="features of the items",
    )
    parser.add_argument(
        "--users",
        type=feature_range,
        metavar="FIRST:STOP",
        help="features of the users; STOP excluded",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    model = read_from(options.source).model

    def save(directory: Path) -> None:
        difference = save_vectors(directory, model, options.items, options.users)
        if difference is not None:
            note(str(difference))

    write_to(options.target, save)
    tell_of_samples(model)
