"""The command line: parse flags, run a command or print its calls, report errors in one line."""

import argparse
import sys
from collections.abc import Sequence
from typing import Protocol

from deploy.aws.call import Aws
from deploy.commands import algorithm, delete, endpoint, push, train, transform, tune
from deploy.console import say, say_json
from deploy.settings import Settings
from fm_algo.errors import FMError


class Step(Protocol):
    """A call of AWS or a command of another program."""

    def check(self) -> None:
        """Check the step as far as possible without doing it."""
        ...

    def as_json(self) -> dict[str, object]:
        """Return what a dry run prints."""
        ...


class Command(Protocol):
    """A command, made from its flags."""

    def calls(self) -> Sequence[Step]:
        """Return the steps that make or change something, in order."""
        ...

    def run(self, aws: Aws) -> None:
        """Run the command."""
        ...


class CommandModule(Protocol):
    """A module of `deploy.commands`."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the flags of the command."""
        ...

    def from_arguments(self, arguments: argparse.Namespace, settings: Settings) -> Command:
        """Turn the flags into the command."""
        ...


_COMMANDS: dict[str, tuple[CommandModule, str]] = {
    "push": (push, "push the image to ECR"),
    "train": (train, "run a training job"),
    "tune": (tune, "search hyperparameters"),
    "endpoint": (endpoint, "serve a model: real time, serverless, async, or many models"),
    "transform": (transform, "score files in S3"),
    "register-algorithm": (algorithm, "make the image an algorithm of the account"),
    "delete": (delete, "delete an endpoint, stop a job, ..."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool.

    Parameters
    ----------
    argv : sequence of str, optional
        Default: the arguments of the process.

    Returns
    -------
    int
        The exit code: 0; 1 with one line on standard error; or 130 if interrupted.
    """
    arguments = _parser().parse_args(argv)
    settings = Settings.from_environment()
    module: CommandModule = arguments.module
    try:
        command = module.from_arguments(arguments, settings)
        if arguments.dry_run:
            _dry_run(command)
        else:
            command.run(Aws(arguments.region or settings.region))
    except FMError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        say("interrupted; what AWS was asked for goes on there, the same --name follows it again")
        return 130
    return 0


def _dry_run(command: Command) -> None:
    steps = command.calls()
    for step in steps:
        step.check()
    say_json([step.as_json() for step in steps])


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--region", help="default AWS_REGION, or the AWS profile's")
    common.add_argument(
        "--dry-run", action="store_true", help="print the calls as JSON and make none"
    )
    parser = argparse.ArgumentParser(
        prog="python -m deploy", description="Factorization machines on SageMaker."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, parents=[common])
        module.add_arguments(command)
        command.set_defaults(module=module)
    return parser
