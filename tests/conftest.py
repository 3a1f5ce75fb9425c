import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from hypothesis import settings
from moto.server import ThreadedMotoServer

from fm_algo.data.tables.blocks import Block, number_blocks
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.dictionary import Dictionary
from fm_algo.data.tables.encoder import SideTable, TableEncoder

# A busy machine makes slow examples, not wrong ones.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def image() -> str:
    """The tag of the image under test, which only who built it knows."""
    tag = os.environ.get("FM_IMAGE")  # noqa: TID251 - told from outside, not a setting of the project
    if not tag:
        pytest.skip("DOCKER TESTS NOT RUN: FM_IMAGE names no image (`make local-test` builds one)")
    return tag


@pytest.fixture(scope="session")
def mxnet_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models in the built-in's layout, packed by a genuine MXNet; each unpacked in its folder."""
    unpacked = tmp_path_factory.mktemp("mxnet-models")
    for archive in (ROOT / "tests" / "data" / "builtin").glob("*/model.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked / archive.parent.name, filter="data")
    return unpacked


@pytest.fixture(scope="session")
def builtin_job() -> Path:
    """A real job of the built-in, which is not ours to publish."""
    folder = ROOT.parent / "shared" / "fixtures" / "builtin-job"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: it is not ours to publish")
    return folder


class Bucket:
    """A bucket of a server that speaks S3's own HTTP."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name

    def put(self, key: str, body: bytes) -> None:
        """Store an object."""
        self._client.put_object(Bucket=self._name, Key=key, Body=body)

    def url(self, key: str) -> str:
        """Return where an object or a prefix is."""
        return f"s3://{self._name}/{key}"


@pytest.fixture
def s3_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bucket]:
    """A bucket, and the environment of a user who has it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="data")
    yield Bucket(client, "data")
    server.stop()


@pytest.fixture(scope="session")
def table_encoder():
    """Ratings by user and item, and a table of items with genres and a price.

    Features: 0-2 user (u1, u2, rare), 3-6 item (i1, i2, i3, rare), 7-9 genres (Drama, War, rare),
    10 price. The items table has i2, i1 and i9; i9 is rare, and has no price.
    """
    columns = parse_columns(
        {
            "rating": "label",
            "user": "category",
            "item": "category",
            "genres": {"set": "|"},
            "price": "number",
        }
    )
    blocks = number_blocks(
        [
            Block(column=columns["user"], first=0, num_values=2),
            Block(column=columns["item"], first=0, num_values=3),
            Block(column=columns["genres"], table="items", first=0, num_values=2),
            Block(column=columns["price"], table="items", first=0, mean=4.0, deviation=2.0),
        ]
    )
    dictionaries = {
        "user": Dictionary.of([b"u1", b"u2"]),
        "item": Dictionary.of([b"i1", b"i2", b"i3"]),
        "genres": Dictionary.of([b"Drama", b"War"]),
    }
    items = SideTable(
        "items",
        "item",
        Dictionary.of([b"i2", b"i1", b"i9"]),
        np.array([0, 3, 4, 5, 5], np.int64),
        np.array([7, 8, 10, 10, 9], np.int32),
        np.array([0.5, 0.5, -1.5, 2.0, 1.0], np.float32),
    )
    rows = tuple(columns[name] for name in ("rating", "user", "item"))
    return TableEncoder(rows, blocks, dictionaries, (items,))
