"""Choices of MovieLens-100k to learn from and to rank, for `bench_ranking.py`.

A rating of 4 or 5 is a choice. `split_by_time` holds the last ones of each user out, `split_items`
all of some films. Both have two stages: what is held out for the validation is learned from when it
comes to the test.
"""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import movielens
import numpy as np
from bench_quality import side_features
from numpy.typing import NDArray

from fm_algo.sparse import Int64Array
from fm_algo.training.metrics import CUTOFF
from fm_algo.training.ranking.metrics import ranking_metrics

LEAST_RATING = 4
NUM_TEST, NUM_VALIDATION, LEAST_CHOICES = 10, 5, 20
"""Who has fewer choices is learned from, but not asked."""
ITEMS_HELD_OUT = 0.1


@dataclass(frozen=True, eq=False)
class Split:
    """Whom to learn from, and what to rank.

    Attributes
    ----------
    users, items : int64, shape (n,)
        The choices to learn from, both numbered from 0.
    relevant : tuple of int64 arrays
        Per user of MovieLens what should be found; empty for those who are not asked.
    candidates : bool, shape (num_items,)
        What is ranked. Of that, a user's own choices among those to learn from are left out.
    has_columns : bool
        Whether users have an age group, a gender and an occupation, and films genres.
    """

    users: Int64Array
    items: Int64Array
    relevant: tuple[Int64Array, ...]
    candidates: NDArray[np.bool_]
    has_columns: bool

    def seen(self) -> NDArray[np.bool_]:
        """Return which choices of users are learned from, shape (num_users, num_items)."""
        seen = np.zeros((movielens.NUM_USERS, movielens.NUM_ITEMS), np.bool_)
        seen[self.users, self.items] = True
        return seen


def split_by_time(stage: str) -> Split:
    """Hold the last choices of each user out: for the test 10, for the validation 5 before them."""
    choices = _choices()
    number = np.arange(len(choices)) - np.searchsorted(choices[:, 0], choices[:, 0])
    num_choices = np.bincount(choices[:, 0], minlength=movielens.NUM_USERS)[choices[:, 0]]
    from_last = np.where(num_choices >= LEAST_CHOICES, num_choices - number, np.inf)
    is_test = from_last <= NUM_TEST
    is_validation = ~is_test & (from_last <= NUM_TEST + NUM_VALIDATION)
    held_out, unknown = (is_test, is_test) if stage == "test" else (is_validation, is_test)
    everything = np.ones(movielens.NUM_ITEMS, np.bool_)
    return _split(choices[~held_out & ~unknown], choices[held_out], everything, columns=False)


def split_items(stage: str, seed: int) -> Split:
    """Hold all choices of a random tenth of the films out; only these are ranked."""
    choices = _choices()
    order = np.random.default_rng(seed).permutation(movielens.NUM_ITEMS)
    num_cold = int(movielens.NUM_ITEMS * ITEMS_HELD_OUT)
    test, validation = order[:num_cold], order[num_cold : 2 * num_cold]
    cold, unknown = (test, test) if stage == "test" else (validation, test)
    candidates = np.zeros(movielens.NUM_ITEMS, np.bool_)
    candidates[cold] = True
    is_cold = candidates[choices[:, 1]]
    is_known = ~is_cold & ~np.isin(choices[:, 1], unknown)
    asked = choices[is_cold & np.isin(choices[:, 0], choices[is_known, 0])]
    return _split(choices[is_known], asked, candidates, columns=True)


def judge(scores: NDArray[np.floating], split: Split) -> dict[str, float]:
    """Return the ndcg@10 and recall@10 of scores, shape (num_users, num_items); as users' means.

    Items of equal scores, such as films of the same genres, come in a random order: their numbers
    tell how popular they are.
    """
    order = np.random.default_rng(0).permutation(scores.shape[1])
    is_left_out = split.seen() | ~split.candidates
    in_order = np.where(is_left_out, -np.inf, scores)[:, order]
    best = order[np.argsort(-in_order, axis=1, kind="stable")[:, :CUTOFF]].astype(np.int32)
    answers = [
        (best[user], own.astype(np.int32)) for user, own in enumerate(split.relevant) if len(own)
    ]
    return {metric.name: metric.value for metric in ranking_metrics(answers)[:2]}


def save_split(path: Path, split: Split) -> None:
    """Write what a peer learns from: the choices, and the features of users and items as CSR."""
    arrays: dict[str, Any] = {"users": split.users, "items": split.items}
    sides = _sides() if split.has_columns else {}
    first_side = movielens.FEATURE_DIM
    parts = {"user": (0, movielens.NUM_USERS), "item": (movielens.NUM_USERS, first_side)}
    for name, (first, last) in parts.items():
        own = [sides.get(feature, []) for feature in range(first, last)]
        arrays[f"{name}_indptr"] = np.cumsum([0, *map(len, own)])
        arrays[f"{name}_indices"] = np.array([*chain(*own)], np.int64) - first_side
    np.savez(path, **arrays)


def _sides() -> dict[int, list[int]]:
    sides, _ = side_features()
    return sides


def _split(
    known: Int64Array, held_out: Int64Array, candidates: NDArray[np.bool_], columns: bool
) -> Split:
    users = range(movielens.NUM_USERS)
    relevant = tuple(held_out[held_out[:, 0] == user, 1] for user in users)
    return Split(known[:, 0], known[:, 1], relevant, candidates, columns)


def _choices() -> Int64Array:
    """Return user and item of all choices, from 0, by user and time; ties in a random order."""
    ratings = movielens.load_ratings()
    is_choice = ratings[:, 2] >= LEAST_RATING
    ties = np.random.default_rng(0).permutation(len(ratings))
    order = np.lexsort((ties, movielens.load_times(), ratings[:, 0]))
    chosen: Int64Array = ratings[order][is_choice[order], :2] - 1
    return chosen
