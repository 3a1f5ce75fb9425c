"""Flags that several commands share, and their defaults."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from deploy.aws.names import check_name, timed_name
from deploy.aws.uploads import Upload, plan_upload
from deploy.aws.wait import Patience
from deploy.settings import Settings
from fm_algo.errors import UserError

FOLDER = "fm-algo"
"""Everything that this tool puts in the bucket is below this prefix."""


def add_name(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the flag of a job's name."""
    parser.add_argument("--name", help=f"of the {what}; default made from the time")


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the flag of the image."""
    parser.add_argument("--image", help="image in ECR; default FM_IMAGE_URI")


def add_role(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the image and of the role that runs it at SageMaker."""
    add_image(parser)
    parser.add_argument("--role", help="ARN of the role SageMaker takes on; default FM_ROLE_ARN")


def add_bucket(parser: argparse.ArgumentParser) -> None:
    """Add the flag of the bucket."""
    parser.add_argument("--bucket", help="for data and models; default FM_BUCKET")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the flag of the place for results."""
    parser.add_argument("--output", metavar="S3_URI", help="default a folder of the bucket")


def add_instances(parser: argparse.ArgumentParser, instance_type: str) -> None:
    """Add the flags of the machines."""
    parser.add_argument("--instance-type", default=instance_type, help="default %(default)s")
    parser.add_argument("--instance-count", type=int, default=1, help="default %(default)s")


def add_waiting(parser: argparse.ArgumentParser, limit_s: int) -> None:
    """Add the flags of waiting."""
    parser.add_argument("--no-wait", action="store_true", help="return when AWS has the request")
    parser.add_argument(
        "--limit-s", type=float, default=limit_s, help="wait no longer; default %(default)s"
    )
    parser.add_argument(
        "--poll-s", type=float, default=10, help="ask this often; default %(default)s"
    )


def patience(arguments: argparse.Namespace) -> Patience | None:
    """Return how long to wait; None means not at all."""
    if arguments.no_wait:
        return None
    return Patience(arguments.limit_s, arguments.poll_s)


def required(value: str | None, flag: str, variable: str) -> str:
    """Return a value that a flag or the environment must give.

    Raises
    ------
    UserError
        If neither gave it.
    """
    if value is None:
        raise UserError(f"no {flag.removeprefix('--')} is given: add {flag} or set {variable}")
    return value


def name(arguments: argparse.Namespace, longest: int) -> str:
    """Return the checked name of a job: --name, or one made from the time.

    Raises
    ------
    UserError
        If AWS does not accept the name.
    """
    return check_name(arguments.name or timed_name("fm"), longest)


def image(arguments: argparse.Namespace, settings: Settings) -> str:
    """Return the image's URI."""
    return required(arguments.image or settings.image, "--image", "FM_IMAGE_URI")


def role(arguments: argparse.Namespace, settings: Settings) -> str:
    """Return the role's ARN."""
    return required(arguments.role or settings.role, "--role", "FM_ROLE_ARN")


def bucket(arguments: argparse.Namespace, settings: Settings) -> str:
    """Return the bucket's name."""
    return required(arguments.bucket or settings.bucket, "--bucket", "FM_BUCKET")


def output(arguments: argparse.Namespace, settings: Settings, folder: str) -> str:
    """Return --output, or the folder of that name in the bucket."""
    given: str | None = arguments.output
    return given or f"s3://{bucket(arguments, settings)}/{FOLDER}/{folder}"


def data(
    source: str, arguments: argparse.Namespace, settings: Settings
) -> tuple[str, Upload | None]:
    """Return the S3 URI of a source, and its upload if it is local."""
    if source.startswith("s3://"):
        return source, None
    upload = plan_upload(Path(source), bucket(arguments, settings), f"{FOLDER}/data")
    return upload.uri, upload


def pairs(texts: Iterable[str], flag: str) -> dict[str, str]:
    """Split NAME=VALUE texts.

    Raises
    ------
    UserError
        If a text has no equals sign, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            raise UserError(f"{flag} {text}: give NAME=VALUE, each name once")
        found[key] = value
    return found


def read_strings(path: Path) -> dict[str, str]:
    """Read a JSON object; turn its values into strings, as in hyperparameters.json.

    Raises
    ------
    UserError
        If the file cannot be read or holds something else.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}, a JSON object is expected")
    return {key: str(value) for key, value in content.items()}
