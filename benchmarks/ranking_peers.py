"""Train rankers of other libraries, for `bench_ranking.py`, in the interpreter that has them.

    python benchmarks/ranking_peers.py FOLDER

FOLDER has `split.npz` and `runs.json`: a model and its runs, each with settings, seed and threads.
Each run leaves `run-N.npz`: scores, float32, shape (num_users, num_items), and the seconds of
training, from a matrix in memory, by the clock and of processors. Nothing here needs fm_algo.
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


class Clock:
    """Takes the time of a block: seconds of the clock, and of all processors together."""

    def __enter__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __exit__(self, *failure: object) -> None:
        self.elapsed_s = time.perf_counter() - self._started[0]
        self.processors_s = time.process_time() - self._started[1]


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
    loss: str, matrices: Matrices, clock: Clock, settings: Settings, seed: int, threads: int
) -> Scores:
    """Train LightFM, with features of users and items if there are any columns."""
    from lightfm import LightFM

    chosen = dict(settings)
    epochs = int(chosen.pop("epochs"))
    item_features = matrices.item_features
    if not chosen.pop("item_identity", 1):
        item_features = matrices.item_columns
    model = LightFM(loss=loss, random_state=seed, **chosen)
    with clock:
        model.fit(
            matrices.choices.tocoo(),
            user_features=matrices.user_features,
            item_features=item_features,
            epochs=epochs,
            num_threads=threads,
        )
    _, users = model.get_user_representations(matrices.user_features)
    item_biases, items = model.get_item_representations(item_features)
    scores: Scores = users @ items.T + item_biases
    return scores


def run_implicit(
    kind: str, matrices: Matrices, clock: Clock, settings: Settings, seed: int, threads: int
) -> Scores:
    """Train implicit's BPR or ALS; BLAS keeps to one thread, as it asks."""
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    maker = {"bpr": BayesianPersonalizedRanking, "als": AlternatingLeastSquares}[kind]
    model = maker(num_threads=threads, random_state=seed, **settings)
    with clock:
        model.fit(matrices.choices, show_progress=False)
    scores: Scores = model.user_factors @ model.item_factors.T
    return scores


def main() -> None:
    """Make the runs that the folder asks for; one that diverges gives scores of 0."""
    folder = Path(sys.argv[1])
    matrices = Matrices(folder / "split.npz")
    asked = json.loads((folder / "runs.json").read_text())
    library, _, kind = asked["model"].partition("-")
    trainer = {"lightfm": run_lightfm, "implicit": run_implicit}[library]
    for number, chosen in enumerate(asked["runs"]):
        clock = Clock()
        try:
            scores = trainer(kind, matrices, clock, **chosen)
        except ValueError as error:  # LightFM's
            if "finite" not in str(error):
                raise
            scores = np.zeros(matrices.choices.shape, np.float32)
        np.savez(
            folder / f"run-{number}.npz",
            scores=np.nan_to_num(scores).astype(np.float32),
            seconds=[clock.elapsed_s, clock.processors_s],
        )
    name = {"lightfm": "lightfm-next"}.get(library, library)
    (folder / "version").write_text(f"{name} {importlib.metadata.version(name)}")


if __name__ == "__main__":
    main()
