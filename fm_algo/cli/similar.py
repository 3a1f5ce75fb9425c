"""`similar`: find the items most like one."""

import argparse

from fm_algo.cli.named import add_candidates, add_form, read_named, write_answer
from fm_algo.data.tables.named_model import Names
from fm_algo.errors import UserError

ABOUT = """\
Find the items most like one, by a model of tables: names and cosines, the most similar first.

  similar SRC --item i3 --top 5
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("--item", required=True, metavar="NAME", help="the item")
    add_candidates(parser)
    add_form(parser)


def run(options: argparse.Namespace) -> None:
    """Run the command."""
    items = Names(*read_named(options.source)).items(options.candidates)
    own = items.numbers([options.item])
    if not len(own):
        raise UserError(f"{items.column} {options.item!r} is not among the {len(items)} candidates")
    names, cosines = items.similar(int(own[0]), options.top)
    write_answer(
        [
            {"name": name, "similarity": cosine}
            for name, cosine in zip(names, cosines.tolist(), strict=True)
        ],
        as_json=options.json,
    )
