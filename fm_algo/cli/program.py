"""The program: parse the command line, run a command, report errors in one line.

Exit codes: 0, done. 1, not done; one line on standard error says why. 2, the command is wrong.
130, interrupted.
"""

import argparse
from collections.abc import Sequence
from typing import Protocol

from fm_algo.cli import (
    convert,
    explain,
    export_vectors,
    fetch,
    inspect,
    recommend,
    score,
    similar,
)
from fm_algo.cli.arguments import location
from fm_algo.cli.console import PROG
from fm_algo.errors import FMError


class Command(Protocol):
    """A module of this room."""

    ABOUT: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments of the command."""
        ...

    def run(self, options: argparse.Namespace) -> None:
        """Run the command."""
        ...


_COMMANDS: dict[str, Command] = {
    "convert": convert,
    "export-vectors": export_vectors,
    "fetch": fetch,
    "inspect": inspect,
    "score": score,
    "recommend": recommend,
    "similar": similar,
    "explain": explain,
}

_PLACES = """\
SRC is a directory with model.safetensors (ours) or model_algo-1 (the built-in algorithm's), one of
these files, or model.tar.gz. Each path may be s3://bucket/key if boto3 is installed (fm-algo[aws]).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit with 1 and one line on standard error if it cannot be done.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    command: Command = options.command
    try:
        command.run(options)
    except (FMError, OSError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    except MemoryError:
        parser.exit(1, f"{parser.prog}: not enough memory for this model\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROG, description="Factorization machines: models and their vectors."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in _COMMANDS.items():
        added = commands.add_parser(
            name,
            help=command.ABOUT.splitlines()[0],
            description=command.ABOUT,
            epilog=_PLACES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(command=command)
        added.add_argument(
            "source", type=location, metavar="SRC", help="the model, or the data to fetch"
        )
        command.add_arguments(added)
    return parser
