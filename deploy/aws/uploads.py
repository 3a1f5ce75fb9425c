"""Upload local files to S3 under a prefix made from their content, so that none is sent twice."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.aws.call import Aws, Call
from deploy.console import say
from fm_algo.errors import UserError


@dataclass(frozen=True, slots=True)
class Upload:
    """Files to upload under one prefix in S3.

    Attributes
    ----------
    bucket : str
    prefix : str
        Ends in a slash; the same content has the same prefix.
    files : tuple of (Path, str)
        Each file and its key.
    """

    bucket: str
    prefix: str
    files: tuple[tuple[Path, str], ...]

    @property
    def uri(self) -> str:
        """The prefix as an S3 URI."""
        return f"s3://{self.bucket}/{self.prefix}"

    def calls(self) -> list[Call]:
        """Return the upload call of each file."""
        return [
            Call("s3", "upload_file", {"Filename": str(path), "Bucket": self.bucket, "Key": key})
            for path, key in self.files
        ]

    def make(self, aws: Aws) -> None:
        """Upload the files that are not in S3 yet; an object there is always whole."""
        present = _keys(aws, self.bucket, self.prefix)
        for call in self.calls():
            if call.parameters["Key"] not in present:
                say(f"uploading {call.parameters['Filename']} to {self.uri}")
                aws.make(call)


def plan_upload(path: Path, bucket: str, folder: str) -> Upload:
    """Plan the upload of a file, or of all files below a directory.

    Hidden and empty files are left out, because the training job would skip them.

    Parameters
    ----------
    path : Path
    bucket : str
    folder : str
        The beginning of the prefix, without a slash at the end.

    Raises
    ------
    UserError
        If there is no such file, or no file in the directory.
    """
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    base = path.parent if path.is_file() else path
    named = [(file, file.relative_to(base).as_posix()) for file in files if file.stat().st_size]
    named = [(file, name) for file, name in named if not _is_hidden(name)]
    if not named:
        raise UserError(f"{path} holds no file to upload; a file, a directory or an s3:// URI is")
    prefix = f"{folder}/{_digest(named)}/"
    return Upload(bucket, prefix, tuple((file, prefix + name) for file, name in named))


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _digest(named: Sequence[tuple[Path, str]]) -> str:
    """Return a hash of names and contents."""
    sums = []
    for path, name in named:
        with path.open("rb") as file:
            sums.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()} {name}\n")
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]


def _keys(aws: Aws, bucket: str, prefix: str) -> set[str]:
    keys: set[str] = set()
    place: dict[str, object] = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = aws.call("s3", "list_objects_v2", **place)
        keys.update(entry["Key"] for entry in page.get("Contents", []))
        if not page.get("IsTruncated"):
            return keys
        place["ContinuationToken"] = page["NextContinuationToken"]
