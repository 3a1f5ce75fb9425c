"""Compile everything into the cache: run `python -m fm_algo.warm_up` once per installation."""

import importlib.util

import numpy as np

from fm_algo.answers.report.plots import label_distribution
from fm_algo.answers.report.theme import draw
from fm_algo.data.bulk import warm_up as bulk
from fm_algo.data.tables.arrow import warm_up as tables
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.bayes import warm_up as bayes
from fm_algo.training.census import Census
from fm_algo.training.initialization import draw_initial
from fm_algo.training.ranking import warm_up as ranking
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.trainer import train


def main() -> None:
    """Run each compiled function once, as a training job does."""
    given: dict[str, object] = {
        "feature_dim": 2, "num_factors": 1, "predictor_type": "regressor", "mini_batch_size": 1,
        "device": "cpu",
    }  # fmt: skip
    hyperparameters = parse_hyperparameters(given)
    fields = {"interaction": "field_weighted", "feature_fields": [0, 1]}
    rows = CSRBatch(
        np.array([0, 1, 2], np.int64),
        np.array([1, 1], np.int32),
        np.array([1, 2], np.float32),  # mini-batches of values that are all 1, and others
        np.ones(2, np.float32),
        2,
    )
    for chosen in (hyperparameters, parse_hyperparameters(given | fields)):
        learner = make_learner(chosen)
        draw_initial(learner.writable_model(), chosen)
        learner.take_rows(Census(2, 0).watch(Rows.in_memory(rows)))
        for _report in train(learner, chosen):
            pass
    bulk.main()
    tables.main()
    bayes.main()
    ranking.main()
    if importlib.util.find_spec("matplotlib") is not None:
        draw(lambda: label_distribution(rows.require_labels()))  # matplotlib lists its fonts
    if importlib.util.find_spec("torch") is not None:
        # Imported here, because it imports torch, which is not installed everywhere.
        from fm_algo.training.distributed import warm_up as distributed  # noqa: PLC0415

        distributed.main(rows, hyperparameters)


if __name__ == "__main__":
    main()
