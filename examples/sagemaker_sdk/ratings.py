"""A small planted problem: 20 users rate 10 items; a row is one user and one item, one-hot."""

import json
import random
from collections.abc import Iterable
from pathlib import Path

NUM_USERS = 20
NUM_ITEMS = 10
FEATURE_DIM = NUM_USERS + NUM_ITEMS
MIDDLE = 3
"""Half of the ratings are above it."""
Rating = tuple[float, int, int]
"""Label, feature of the user, feature of the item."""

HYPERPARAMETERS = {
    "feature_dim": FEATURE_DIM,
    "num_factors": 4,
    "predictor_type": "regressor",
    "epochs": 60,
    "mini_batch_size": 50,
    "bias_lr": 0.05,
    "linear_lr": 0.05,
    "factors_lr": 0.05,
    "factors_init_sigma": 0.1,
}


def make_ratings() -> list[Rating]:
    """Let each user rate each item twice: 3, and a taste in common or not, and a little noise."""
    dice = random.Random(7)  # noqa: S311 - data, not secrets
    pairs = 2 * [(user, item) for user in range(NUM_USERS) for item in range(NUM_ITEMS)]
    ratings = []
    for user, item in pairs:
        taste = 1.0 if user % 2 == item % 2 else -1.0
        ratings.append((MIDDLE + taste + dice.gauss(0, 0.05), user, NUM_USERS + item))
    dice.shuffle(ratings)
    return ratings


def write_csv(path: Path, ratings: Iterable[Rating]) -> None:
    """Write dense rows, the label first: what the image reads and the built-in does not."""
    lines = []
    for label, user, item in ratings:
        row = [0] * FEATURE_DIM
        row[user] = row[item] = 1
        lines.append(",".join([f"{label:.6g}", *map(str, row)]))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def json_instance(rating: Rating) -> dict[str, object]:
    """Return a row in the built-in's sparse JSON."""
    _, user, item = rating
    features = {"keys": [user, item], "shape": [FEATURE_DIM], "values": [1, 1]}
    return {"data": {"features": features}}


def write_json_lines(path: Path, ratings: Iterable[Rating]) -> None:
    """Write rows without labels, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(json_instance(rating)) for rating in ratings]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_scores(what: str, scores: list[float], ratings: list[Rating]) -> None:
    """Say how far the scores are from the labels.

    Raises
    ------
    SystemExit
        If a score is missing or the model has not learned.
    """
    if len(scores) != len(ratings):
        raise SystemExit(f"{what}: {len(scores)} scores for {len(ratings)} rows")
    squares = [(s - label) ** 2 for s, (label, _, _) in zip(scores, ratings, strict=True)]
    rmse = (sum(squares) / len(squares)) ** 0.5
    print(f"{what}: {len(scores)} scores, rmse {rmse:.3f}")
    if rmse > 0.3:
        raise SystemExit(f"{what}: the model has not learned; always saying 3 has an rmse of 1")
