"""A way of learning, as all that surrounds it knows it.

What surrounds it is written once: epochs and reports (`trainer`), the course of a training with its
early stopping, checkpoints and stops (`fit`), scoring (`evaluation`). A learner says how an epoch
makes a model better. `select.make_learner` chooses one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.metrics import MetricSums
from fm_algo.training.rows import Rows
from fm_algo.training.state import Forms, ParameterStore, State, write_model


@dataclass(frozen=True, slots=True)
class Step:
    """A part of an epoch that has been trained: a mini-batch, or all rows at once.

    Attributes
    ----------
    num_rows : int
        Rows trained on in it.
    add_to : callable
        Adds its rows, as predicted by a model that did not know them yet or as the learner means
        it, to the sums that metrics come from. Waits for the step where that is still under way.
    """

    num_rows: int
    add_to: Callable[[MetricSums], None]


class Learner(Protocol):
    """Holds a model, and makes it better epoch by epoch.

    Its parameters are 0 at first. Then either the initial ones are written to `writable_model()`,
    or a checkpoint's numbers to `writable_state()`; `take_rows` is called; epochs follow.
    """

    needs_rows: ClassVar[bool] = False
    """Whether there is no model yet before `take_rows`, not even where a state was restored."""

    @property
    def description(self) -> str:
        """What trains, for the log: "2 CPU threads"."""
        ...

    def take_rows(self, rows: Rows) -> None:
        """Take the rows that all epochs train on.

        Raises
        ------
        UserError
            If this way of learning cannot train on such rows.
        """
        ...

    def steps(self, epoch: int, first: int, should_stop: Callable[[], bool]) -> Iterator[Step]:
        """Train on what is left of an epoch, a step after the other.

        Parameters
        ----------
        epoch : int
            From 0.
        first : int
            Number of the first step that is left: those before it are done.
        should_stop : callable
            Asked before and after each step; once it says True, no further step is begun.
        """
        ...

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present model, float32, shape (num_rows,)."""
        ...

    def model(self) -> FMModel:
        """Return the present model, to be read; later steps may change it in place."""
        ...

    def writable_model(self) -> ParameterStore:
        """Return the present parameters, to be written to until the next call of a method."""
        ...

    def load(self, model: FMModel) -> None:
        """Take a model of the same shape in place of the present one."""
        write_model(model, self.writable_model())

    def state(self) -> State:
        """Return all that later steps depend on, to be read: the learner's own arrays."""
        ...

    def writable_state(self, forms: Forms | None = None) -> State:
        """Return `state()`, to be filled until the next call of another method.

        Filled with what another learner of the same hyperparameters has said, it makes this one go
        on where that one was.

        Parameters
        ----------
        forms : mapping of str to ArrayForm, optional
            Of the arrays it is to be filled with: those that depend on the rows, which may not be
            there yet, take theirs from it.
        """
        ...
