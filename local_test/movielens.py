"""Load MovieLens-100k from a public Python package that contains it as example data.

The data may be used but not redistributed. So it is downloaded once, to .cache/movielens, and never
committed.
"""

import contextlib
import csv
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

NUM_USERS, NUM_ITEMS = 943, 1682
FEATURE_DIM = NUM_USERS + NUM_ITEMS
"""In a row, features user - 1 and NUM_USERS + item - 1 are 1, and all others are 0."""

_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "movielens"
_PACKAGE = "recbole==1.2.1"
_DIRECTORY = "recbole/dataset_example/ml-100k"

Rows = list[dict[str, str]]

# Each table's columns as the package names them, and what they are called here.
_NAMES = {
    "inter": {"user_id": "user", "item_id": "item", "rating": "rating"},
    "user": {"user_id": "user", "age": "age", "gender": "gender", "occupation": "occupation"},
    "item": {"item_id": "item", "movie_title": "title", "release_year": "year", "class": "genres"},
}


def load_tables() -> tuple[Rows, Rows, Rows]:
    """Return the tables of ratings, users and items; genres stand between blanks.

    Raises
    ------
    subprocess.CalledProcessError
        If the package is not in the cache and cannot be downloaded.
    """
    ratings, users, items = (_load_table(kind) for kind in _NAMES)
    return ratings, users, items


def _load_table(kind: str) -> Rows:
    names = _NAMES[kind]
    with _open(kind) as file:
        rows = csv.reader(io.TextIOWrapper(file, "utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE)
        header = [column.partition(":")[0] for column in next(rows)]
        return [
            {names[name]: cell for name, cell in zip(header, row, strict=True) if name in names}
            for row in rows
        ]


def load_ratings() -> NDArray[np.int64]:
    """Return all ratings: user and item, both from 1, and the rating; shape (100000, 3).

    Raises
    ------
    subprocess.CalledProcessError
        If the package is not in the cache and cannot be downloaded.
    """
    with _open("inter") as file:
        return np.loadtxt(file, np.int64, skiprows=1, usecols=(0, 1, 2))


def load_times() -> NDArray[np.int64]:
    """Return when each of the ratings was given, in seconds since 1970; shape (100000,).

    Raises
    ------
    subprocess.CalledProcessError
        If the package is not in the cache and cannot be downloaded.
    """
    with _open("inter") as file:
        return np.loadtxt(file, np.int64, skiprows=1, usecols=3)


@contextlib.contextmanager
def _open(kind: str) -> Iterator[IO[bytes]]:
    """Open a table in the package, which is downloaded if it is not in the cache."""
    if not list(_CACHE.glob("*.whl")):
        _download()
    (wheel,) = _CACHE.glob("*.whl")
    with zipfile.ZipFile(wheel) as package, package.open(f"{_DIRECTORY}/ml-100k.{kind}") as file:
        yield file


def _download() -> None:
    """Put the package into the cache, whole or not at all: others may be looking for it."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as fresh:
        subprocess.run([*pip, "download", "--no-deps", "--dest", fresh, _PACKAGE], check=True)
        for wheel in Path(fresh).glob("*.whl"):
            wheel.replace(_CACHE / wheel.name)
