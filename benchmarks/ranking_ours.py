"""Train our ranking losses, for `bench_ranking.py`, as `ranking_peers.py` trains others.

    python benchmarks/ranking_ours.py FOLDER

A row has a feature of its user and one of its item, and those of their columns, if there are any.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ranking_peers import Clock

from fm_algo.answers.vectors import item_vectors
from fm_algo.errors import AlgorithmError
from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters
from fm_algo.model import FMModel
from fm_algo.runtime.threads import set_up
from fm_algo.sparse import CSRBatch, Float32Array, Int64Array
from fm_algo.training.initialization import draw_initial
from fm_algo.training.positives import Positives
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.trainer import train

Settings = dict[str, Any]


class Choices:
    """The choices, as positives, and the features of users."""

    def __init__(self, path: Path, item_identity: bool) -> None:
        with np.load(path) as split:
            self.users, self.items = split["users"], split["items"]
            sides = {
                name: (split[f"{name}_indptr"], split[f"{name}_indices"])
                for name in ("user", "item")
            }
        num_users, num_items = (len(indptr) - 1 for indptr, _ in sides.values())
        last = [int(indices.max(initial=-1)) for _, indices in sides.values()]
        self.feature_dim = num_users + num_items + max(last) + 1
        first_side = num_users + num_items
        self.user_rows = _rows(*sides["user"], 0, first_side, self.feature_dim)
        own = num_users if item_identity else None
        self.item_rows = _rows(*sides["item"], own, first_side, self.feature_dim)

    def positives(self) -> Positives:
        """Return what the learner takes."""
        contexts = self.user_rows.take(self.users)
        _, users = np.unique(self.users, return_inverse=True)
        return Positives(contexts, self.items.astype(np.int32), users, self.item_rows)

    def scores(self, model: FMModel) -> Float32Array:
        """Return how users rank items, shape (num_users, num_items)."""
        items = self.item_rows
        V, w = item_vectors(model, items.indptr, items.indices, items.values)
        users = self.user_rows
        own, _ = item_vectors(model, users.indptr, users.indices, users.values)
        scores: Float32Array = own @ V.T + w
        return scores


def _rows(
    indptr: Int64Array, indices: Int64Array, own: int | None, first_side: int, feature_dim: int
) -> CSRBatch:
    """Return a row for each; its own features begin at `own`, those of columns at `first_side`."""
    num_rows = len(indptr) - 1
    parts = [
        [
            *([] if own is None else [own + row]),
            *(indices[indptr[row] : indptr[row + 1]] + first_side),
        ]
        for row in range(num_rows)
    ]
    features = np.array([feature for part in parts for feature in part], np.int32)
    bounds = np.cumsum([0, *map(len, parts)]).astype(np.int64)
    return CSRBatch(bounds, features, np.ones(len(features), np.float32), None, feature_dim)


def fit(choices: Choices, hyperparameters: Hyperparameters) -> FMModel:
    """Train; all that happens with rows in memory counts."""
    learner = make_learner(hyperparameters)
    draw_initial(learner.writable_model(), hyperparameters)
    learner.take_rows(Rows(lambda _epoch: iter(()), positives=choices.positives()))
    for _report in train(learner, hyperparameters):
        pass
    return learner.model()


def hyperparameters_of(
    loss: str, settings: Settings, seed: int, feature_dim: int
) -> Hyperparameters:
    """Return the hyperparameters of a run; `linear_rate` is the share of factors_lr."""
    chosen = dict(settings)
    chosen["linear_lr"] = chosen["factors_lr"] * chosen.pop("linear_rate")
    return parse_hyperparameters(
        {
            "feature_dim": feature_dim,
            "predictor_type": "regressor",
            "loss": loss,
            "seed": seed,
            "device": "cpu",
            **chosen,
        }
    )


def main() -> None:
    """Make the runs that the folder asks for; one that diverges gives scores of 0."""
    folder = Path(sys.argv[1])
    asked = json.loads((folder / "runs.json").read_text())
    loss = asked["model"].partition("-")[2]
    is_warm = False
    for number, run in enumerate(asked["runs"]):
        settings = run["settings"] | {"num_threads": run["threads"]}
        choices = Choices(folder / "split.npz", bool(settings.pop("item_identity", 1)))
        chosen = hyperparameters_of(loss, settings, run["seed"], choices.feature_dim)
        set_up(run["threads"])
        if not is_warm:  # compile, or load what is compiled
            fit(
                choices, hyperparameters_of(loss, {**settings, "epochs": 1}, 0, choices.feature_dim)
            )
            is_warm = True
        clock = Clock()
        try:
            with clock:
                model = fit(choices, chosen)
            scores = choices.scores(model)
        except AlgorithmError:
            scores = np.zeros((choices.user_rows.num_rows, choices.item_rows.num_rows), np.float32)
        np.savez(
            folder / f"run-{number}.npz",
            scores=np.nan_to_num(scores),
            seconds=[clock.elapsed_s, clock.processors_s],
        )
    (folder / "version").write_text("fm_algo")


if __name__ == "__main__":
    main()
