"""One training, from rows in memory to a model: the course of a job without its files."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from fm_algo.data.tables.moves import Move
from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch
from fm_algo.sparse.feature_space import FeatureSpace
from fm_algo.training.early_stopping import judged_metric
from fm_algo.training.evaluation import evaluate
from fm_algo.training.fit import fit
from fm_algo.training.initialization import draw_initial, start_at_mean
from fm_algo.training.learner import Learner
from fm_algo.training.metrics import Metric
from fm_algo.training.peers import Alone
from fm_algo.training.positives import Positives
from fm_algo.training.progress import Progress
from fm_algo.training.progress_bar import with_progress_bar
from fm_algo.training.ranking.queries import Queries, evaluate_ranking
from fm_algo.training.report import EpochReport
from fm_algo.training.rows import Rows
from fm_algo.training.select import make_learner
from fm_algo.training.state import ArrayForm
from fm_algo.training.store import MemoryStore
from fm_algo.training.validation_split import split_rows
from fm_algo.training.warm_start import start_from

History = list[dict[str, float]]
"""What each epoch reached: epoch, elapsed_s, and each metric by channel and name."""


class Learning:
    """A model in training, which can go on with other rows.

    A copy by pickle holds plain arrays, and goes on where this one is.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    earlier : FMModel, optional
        The model to start from.
    moves : sequence of Move, optional
        Where its features are now, if not where they were.
    space : FeatureSpace, optional
        The features by the column that they come from.

    Attributes
    ----------
    hyperparameters : Hyperparameters
    """

    def __init__(
        self,
        hyperparameters: Hyperparameters,
        earlier: FMModel | None = None,
        moves: Sequence[Move] | None = None,
        space: FeatureSpace | None = None,
    ) -> None:
        self.hyperparameters = hyperparameters
        self._space = space
        learner = make_learner(hyperparameters, space=space)
        draw_initial(learner.writable_model(), hyperparameters)
        if earlier is not None:
            start_from(earlier, learner.writable_model(), hyperparameters, moves)
        self._is_to_start_at_mean = earlier is None
        self._learner: Learner | None = learner
        self._state: dict[str, np.ndarray[Any, Any]] = {}

    def __getstate__(self) -> dict[str, object]:
        state = {name: np.array(array) for name, array in self._resumed().state().items()}
        return self.__dict__ | {"_state": state, "_learner": None}

    def _resumed(self) -> Learner:
        """Return the learner; of a copy, make it only now: who predicts does not need it."""
        if self._learner is None:
            self._learner = make_learner(self.hyperparameters, space=self._space)
            forms = {name: ArrayForm(a.shape, a.dtype.str) for name, a in self._state.items()}
            for name, array in self._learner.writable_state(forms).items():
                array[...] = self._state[name]
            self._state = {}
        return self._learner

    def model(self) -> FMModel:
        """Return the present model, for reading only; training may change it in place."""
        return self._resumed().model()

    def train(
        self,
        rows: CSRBatch | Positives,
        validation: CSRBatch | Queries | None = None,
        *,
        epochs: range | None = None,
        is_shown: bool = False,
    ) -> list[EpochReport]:
        """Train on rows that are all in memory.

        Parameters
        ----------
        rows : CSRBatch or Positives
            With labels; or, for a ranking loss, what users want.
        validation : CSRBatch or Queries, optional
            With labels; or what users should be recommended.
        epochs : range, optional
            Their numbers, which the order of the rows depends on; by default all that the
            hyperparameters want.
        is_shown : bool, optional
            Whether to show a progress bar.

        Returns
        -------
        list of EpochReport

        Raises
        ------
        AlgorithmError, UserError
            See `fm_algo.training.trainer.train`.
        """
        chosen, learner = self.hyperparameters, self._resumed()
        if epochs is not None:
            chosen = msgspec.structs.replace(chosen, epochs=epochs.stop)
        start = Progress(epoch=0 if epochs is None else epochs.start)
        training_rows = dataclasses.replace(_in_memory(rows), space=self._space)
        if self._is_to_start_at_mean:
            start_at_mean(learner.writable_model(), chosen, training_rows)
            self._is_to_start_at_mean = False
        learner.take_rows(training_rows)

        def validate(_epoch: int) -> list[Metric]:
            if validation is None:
                return []
            if isinstance(validation, Queries):
                return evaluate_ranking(learner.model(), validation)
            return evaluate(learner, chosen.predictor_type, [validation])

        reports = fit(learner, chosen, MemoryStore(learner, start), Alone(), validate)
        num_rows = (chosen.epochs - start.epoch) * rows.num_rows
        shown = with_progress_bar(reports, num_rows, is_hidden=not is_shown)
        return [report for report in shown if isinstance(report, EpochReport)]


def _in_memory(rows: CSRBatch | Positives) -> Rows:
    if isinstance(rows, Positives):
        return Rows(lambda _epoch: iter(()), positives=rows)
    return Rows.in_memory(rows)


def history_of(reports: Sequence[EpochReport]) -> History:
    """Return what each epoch reached, as plain numbers."""
    return [_describe(report) for report in reports]


def _describe(report: EpochReport) -> dict[str, float]:
    channels = (("train", report.metrics), ("validation", report.validation))
    return {"epoch": report.epoch, "elapsed_s": report.elapsed_s} | {
        f"{channel}_{metric.name}": metric.value for channel, found in channels for metric in found
    }


def split_off(
    rows: CSRBatch, validation: CSRBatch | None, hyperparameters: Hyperparameters
) -> tuple[CSRBatch, CSRBatch | None]:
    """Return the training and validation rows, split as `validation_split` says.

    Raises
    ------
    UserError
        If validation rows are needed and there are none, or they come from two sources.
    """
    judged_metric(hyperparameters)
    fraction, patience = (
        hyperparameters.validation_split,
        hyperparameters.early_stopping_patience,
    )
    if fraction is not None and validation is not None:
        raise UserError(
            f"there is an eval_set, and validation_split={fraction} asks for rows of X: give one "
            "of the two"
        )
    if fraction is not None:
        return split_rows(rows, fraction, hyperparameters.seed)
    if patience is not None and validation is None:
        raise UserError(f"early_stopping_patience={patience} needs an eval_set or validation_split")
    return rows, validation
