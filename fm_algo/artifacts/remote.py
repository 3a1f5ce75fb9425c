"""s3:// locations as local paths, through boto3: installed by the extra `aws`.

Region, credentials and endpoint are boto3's own to find: its configuration files, AWS_REGION,
AWS_PROFILE, AWS_ENDPOINT_URL. Nothing else in this library knows of S3, and the image does not need
it: SageMaker copies for it.
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
    """Make what is at a location readable under a path.

    Parameters
    ----------
    location : str
        A path, given back as it is; or s3://bucket/key of an object or of a prefix, copied to a
        directory that is removed in the end.
    is_wanted : function of str to bool
        Told the name of an object directly below a prefix: whether it is copied.

    Yields
    ------
    Path
        A file or a directory.

    Raises
    ------
    UserError
        If S3 does not have it or does not give it.
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
    """Make a location writable under a path.

    Parameters
    ----------
    location : str
        A path, given back as it is; or s3://bucket/key, where what was written goes if the block
        is left without an error.

    Yields
    ------
    Path
        To be made a file, then the object at the key; or a directory, whose files go below it.

    Raises
    ------
    UserError
        If S3 does not take it.
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
    """Return the last part of a key; another name where that one leads elsewhere."""
    name = key.rstrip("/").rpartition("/")[2]
    return "object" if name in {"", ".", ".."} else name


def _download(
    bucket: str, key: str, directory: Path, is_wanted: Callable[[str], bool]
) -> Path | None:
    """Copy an object, or else the objects wanted directly below the key; None if there are none."""
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
    import boto3  # noqa: PLC0415 - not at the top: whoever uses no s3:// path needs no boto3

    return boto3.client("s3")


@contextmanager
def _s3_errors(location: str) -> Iterator[None]:
    """Say in one line what S3, or the way to it, did not do."""
    try:
        import boto3.exceptions  # noqa: PLC0415 - as in _client
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
    except ImportError as error:
        raise UserError(f"{location}: s3:// needs boto3: pip install 'fm-algo[aws]'") from error
    try:
        yield
    except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
        raise UserError(f"{location}: {' '.join(str(error).split())}") from error
