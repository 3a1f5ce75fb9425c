import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import settings

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
