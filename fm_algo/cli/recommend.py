"""`recommend`: find the best items for a user."""

import argparse

import numpy as np

from fm_algo.cli.named import add_candidates, add_form, add_row, read_row, write_answer

ABOUT = """\
Find the best items for a user, by a model of tables: names and scores, the best first.

  recommend SRC --user u7 --top 5 --exclude-seen
  recommend SRC --user new --column age=31
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_row(parser, "user")
    add_candidates(parser)
    add_form(parser)
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="NAME", help="an item to leave out"
    )
    parser.add_argument(
        "--exclude-seen",
        action="store_true",
        help="leave out what the user has in the training rows; needs keep_seen=true in training",
    )


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    found = read_row(options, "user")
    items = found.names.items(options.candidates)
    exclude = items.numbers(options.exclude)
    if options.exclude_seen:
        exclude = np.concatenate([exclude, found.names.seen(found.cells, items.column)])
    names, margin = items.top(found.model, found.row, options.top, exclude)
    scores = found.model.link(margin).tolist()
    write_answer(
        [{"name": name, "score": score} for name, score in zip(names, scores, strict=True)],
        as_json=options.json,
    )
