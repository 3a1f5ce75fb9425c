import os
from pathlib import Path

import pytest

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
