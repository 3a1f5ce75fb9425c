"""Use s3:// locations like local paths, through boto3, which the extra `aws` installs.

boto3 finds region, credentials and endpoint itself: in its configuration files, AWS_REGION,
AWS_PROFILE and AWS_ENDPOINT_URL. Nothing else in this library knows of S3. The image does not need
this module, because SageMaker copies files for it.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fm_algo.errors import UserError

_SCHEME = "s3://"
_NOT_FOUND = {"404", "NoSuchKey"}


@contextmanager
def local_source(location: str, is_wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Make the files at a location readable under a local path.

    Parameters
    ----------
    location : str
        A path, which is returned as it is; or s3://bucket/key of an object or a prefix, which is
        copied to a temporary directory.
    is_wanted : function of str to bool
        Gets the name of an object directly below a prefix; returns whether to copy it.

    Yields
    ------
    Path
        A file or a directory.

    Raises
    ------
    UserError
        If S3 does not have it or refuses it.
    """
    if not location.startswith(_SCHEME):
        yield Path(location)
        return
    bucket, key = _parse(location)
    with tempfile.TemporaryDirectory(prefix="fm-s3-") as directory:
        with _s3_errors(location):
            path = _download(bucket, key, Path(directory), is_wanted)
        if path is None:
            raise UserError(f"{location}: no such object, and no model below it")
        yield path


@contextmanager
def local_target(location: str) -> Iterator[Path]:
    """Make a location writable under a local path.

    Parameters
    ----------
    location : str
        A path, which is returned as it is; or s3://bucket/key. Files written are uploaded there
        if the block ends without an error.

    Yields
    ------
    Path
        The caller makes it a file, to be uploaded as the key, or a directory, whose files are
        uploaded below the key.

    Raises
    ------
    UserError
        If S3 refuses it.
    """
    if not location.startswith(_SCHEME):
        yield Path(location)
        return
    bucket, key = _parse(location)
    with tempfile.TemporaryDirectory(prefix="fm-s3-") as directory:
        path = Path(directory) / _name(key)
        yield path
        with _s3_errors(location):
            client = _client()
            if path.is_file():
                client.upload_file(str(path), bucket, key)
                return
            prefix = f"{key.rstrip('/')}/".lstrip("/")
            for file in sorted(path.iterdir()):
                client.upload_file(str(file), bucket, prefix + file.name)


def _parse(location: str) -> tuple[str, str]:
    bucket, _, key = location.removeprefix(_SCHEME).partition("/")
    if not bucket:
        raise UserError(f"{location} names no bucket, expected s3://bucket/key")
    return bucket, key


def _name(key: str) -> str:
    """Return the last part of a key, or another name if that one would lead elsewhere."""
    name = key.rstrip("/").rpartition("/")[2]
    return "object" if name in {"", ".", ".."} else name


def _download(
    bucket: str, key: str, directory: Path, is_wanted: Callable[[str], bool]
) -> Path | None:
    """Copy the object, or else the wanted objects directly below the key; None without any."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - as in _client

    client = _client()
    if key and not key.endswith("/"):
        path = directory / _name(key)
        try:
            client.download_file(bucket, key, str(path))
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NOT_FOUND:
                raise
        else:
            return path
    prefix = f"{key.rstrip('/')}/".lstrip("/")
    pages = client.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=prefix, Delimiter="/"
    )
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    names = [key.removeprefix(prefix) for key in keys]
    wanted = [name for name in names if is_wanted(name)]
    for name in wanted:
        client.download_file(bucket, prefix + name, str(directory / name))
    return directory if wanted else None


def _client() -> Any:  # noqa: ANN401 - boto3 makes its clients' types at run time
    import boto3  # noqa: PLC0415 - not at the top: without an s3:// path, boto3 is not needed

    return boto3.client("s3")


@contextmanager
def _s3_errors(location: str) -> Iterator[None]:
    """Report in one line an error of S3 or of the connection to it."""
    try:
        import boto3.exceptions  # noqa: PLC0415 - as in _client
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError as error:
        raise UserError(f"{location}: s3:// needs boto3: pip install 'fm-algo[aws]'") from error
    try:
        yield
    except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
        raise UserError(f"{location}: {' '.join(str(error).split())}") from error
