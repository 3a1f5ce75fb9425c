"""The protocol of a learner, which holds a model and improves it epoch by epoch.

All learners share the code around them: the epoch loop with reports and early stopping
(`trainer`), checkpoints and stops (`fit`), and scoring (`evaluation`). `select.make_learner`
chooses the learner of a job.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.metrics import MetricSums
from fm_algo.training.rows import Rows
from fm_algo.training.state import Forms, ParameterStore, State, write_model


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an epoch that has been trained on: a mini-batch, or all rows at once.

    Attributes
    ----------
    num_rows : int
        Rows of the step.
    add_to : callable
        Adds the predictions for its rows to the sums behind the metrics; waits for the step if it
        is still running. The learner decides what predicts: mostly the model before the step.
    """

    num_rows: int
    add_to: Callable[[MetricSums], None]

    @classmethod
    def of_margins(cls, margin: Float32Array, rows: CSRBatch) -> Self:
        """Return a step on `rows`, with labels, whose margins are known, float32, (num_rows,)."""
        labels, weights = rows.require_labels(), rows.weights
        return cls(len(margin), lambda sums: sums.update(margin, labels, weights))


class Learner(Protocol):
    """Holds a model and improves it epoch by epoch.

    Its parameters are 0 at first. The caller writes either initial parameters to
    `writable_model()` or a checkpoint's numbers to `writable_state()`. Then it calls `take_rows`
    once, and `steps` for each epoch.
    """

    needs_rows: ClassVar[bool] = False
    """Whether there is no model yet before `take_rows`, not even where a state was restored."""

    saves_another: ClassVar[bool] = False
    """Whether `model()` is another model than the one that `margin` scores by while it trains."""

    advice: ClassVar[str] = "try other hyperparameters"
    """What to try where training diverges."""

    @property
    def description(self) -> str:
        """What trains, for the log: "2 CPU threads"."""
        ...

    def take_rows(self, rows: Rows) -> None:
        """Take the rows that all epochs train on.

        Raises
        ------
        UserError
            If this learner cannot train on such rows.
        """
        ...

    def steps(self, epoch: int, first: int, should_stop: Callable[[], bool]) -> Iterator[Step]:
        """Train on the rest of an epoch, step by step.

        Parameters
        ----------
        epoch : int
            From 0.
        first : int
            Number of the first step to do; those before it are done.
        should_stop : callable
            Called before and after each step; once it returns True, no further step begins.
        """
        ...

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present model, float32, shape (num_rows,)."""
        ...

    def model(self) -> FMModel:
        """Return the present model, for reading only; later steps may change it in place."""
        ...

    def writable_model(self) -> ParameterStore:
        """Return the present parameters, for writing until the next call of a method."""
        ...

    def load(self, model: FMModel) -> None:
        """Take a model of the same shape in place of the present one."""
        write_model(model, self.writable_model())

    def state(self) -> State:
        """Return all arrays that later steps depend on, for reading only; they are not copies."""
        ...

    def writable_state(self, forms: Forms | None = None) -> State:
        """Return `state()`, for writing until the next call of another method.

        When it is filled with the state of another learner of the same hyperparameters, this
        learner continues where that one was.

        Parameters
        ----------
        forms : mapping of str to ArrayForm, optional
            Forms of the arrays that will fill it. Arrays that depend on the rows take theirs from
            here, because the rows may not be known yet.
        """
        ...
