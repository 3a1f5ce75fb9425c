"""Train rankers of other libraries, for `bench_ranking.py`, in the interpreter that has them.

    python benchmarks/ranking_peers.py FOLDER

FOLDER has `split.npz` and `runs.json`: a model and its runs, each with settings, seed and threads.
Each run leaves `run-N.npz`: scores, float32, shape (num_users, num_items), and the seconds of
training, from a matrix in memory. Nothing here needs fm_algo.
"""

import importlib.metadata
import json
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Settings = dict[str, float]


class Matrices:
    """The choices, one stored 1 each, and the features of users and items, an identity first."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as split:
            users, items = split["users"], split["items"]
            sides = {
                name: (split[f"{name}_indices"], split[f"{name}_indptr"])
                for name in ("user", "item")
            }
        shape = tuple(len(indptr) - 1 for _, indptr in sides.values())
        ones = np.ones(len(users), np.float32)
        self.choices = scipy.sparse.csr_matrix((ones, (users, items)), shape)
        self.user_features = _features(*sides["user"], identity=True)
        self.item_features = _features(*sides["item"], identity=True)
        self.item_columns = _features(*sides["item"], identity=False)


def _features(
    indices: NDArray[np.int64], indptr: NDArray[np.int64], identity: bool
) -> scipy.sparse.csr_matrix:
    used, columns = np.unique(indices, return_inverse=True)
    own = (np.ones(len(indices), np.float32), columns, indptr)
    sides = scipy.sparse.csr_matrix(own, (len(indptr) - 1, len(used)))
    parts = [scipy.sparse.identity(len(indptr) - 1, np.float32), sides] if identity else [sides]
    return scipy.sparse.hstack(parts, "csr", np.float32)


def run_lightfm(
    loss: str, matrices: Matrices, settings: Settings, seed: int, threads: int
) -> tuple[Scores, float]:
    """Train LightFM, with features of users and items if there are any columns."""
    from lightfm import LightFM

    chosen = dict(settings)
    epochs = int(chosen.pop("epochs"))
    item_features = matrices.item_features
    if not chosen.pop("item_identity", 1):
        item_features = matrices.item_columns
    model = LightFM(loss=loss, random_state=seed, **chosen)
    started = time.perf_counter()
    model.fit(
        matrices.choices.tocoo(),
        user_features=matrices.user_features,
        item_features=item_features,
        epochs=epochs,
        num_threads=threads,
    )
    elapsed_s = time.perf_counter() - started
    _, users = model.get_user_representations(matrices.user_features)
    item_biases, items = model.get_item_representations(item_features)
    return users @ items.T + item_biases, elapsed_s


def run_implicit(
    kind: str, matrices: Matrices, settings: Settings, seed: int, threads: int
) -> tuple[Scores, float]:
    """Train implicit's BPR or ALS; BLAS keeps to one thread, as it asks."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    maker = {"bpr": BayesianPersonalizedRanking, "als": AlternatingLeastSquares}[kind]
    model = maker(num_threads=threads, random_state=seed, **settings)
    started = time.perf_counter()
    model.fit(matrices.choices, show_progress=False)
    elapsed_s = time.perf_counter() - started
    return model.user_factors @ model.item_factors.T, elapsed_s


def run(
    model: str, matrices: Matrices, settings: Settings, seed: int, threads: int
) -> tuple[Scores, float]:
    """Train a model named LIBRARY-LOSS; one that diverges gives scores of 0."""
    library, _, loss = model.partition("-")
    trainer = {"lightfm": run_lightfm, "implicit": run_implicit}[library]
    try:
        scores, elapsed_s = trainer(loss, matrices, settings, seed, threads)
    except ValueError as error:  # LightFM's, of numbers that are not finite
        if "finite" not in str(error):
            raise
        scores, elapsed_s = np.zeros(matrices.choices.shape, np.float32), float("inf")
    return np.nan_to_num(scores).astype(np.float32), elapsed_s


def main() -> None:
    """Make the runs that the folder asks for."""
    folder = Path(sys.argv[1])
    matrices = Matrices(folder / "split.npz")
    asked = json.loads((folder / "runs.json").read_text())
    for number, chosen in enumerate(asked["runs"]):
        scores, elapsed_s = run(asked["model"], matrices, **chosen)
        np.savez(folder / f"run-{number}.npz", scores=scores, seconds=elapsed_s)
    distribution = {"lightfm": "lightfm-next", "implicit": "implicit"}
    name = distribution[asked["model"].partition("-")[0]]
    (folder / "version").write_text(f"{name} {importlib.metadata.version(name)}")


if __name__ == "__main__":
    main()
