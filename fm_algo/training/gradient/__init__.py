"""Training by gradients: kernels, each of which does the training step on arrays.

The fast kernels must agree with a slow one (`reference`). A kernel holds parameters and optimiser
states in whatever layout suits it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.state import ParameterStore, State

LateSums = Callable[[], dict[str, float]]
"""Waits for a step, and returns what `MetricSums.state` would return for its rows alone."""


class Prepared(Protocol):
    """A mini-batch that a kernel has prepared for its step; each kernel has its own type."""

    @property
    def num_rows(self) -> int:
        """Rows of the mini-batch."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A mini-batch by columns, one per feature present.

    Column c is feature `features[c]`. Its (row, value) pairs stand at `starts[c]:starts[c + 1]` of
    `rows` and `values`.

    Attributes
    ----------
    features : int32, shape (num_columns,)
        In ascending order.
    starts : int32, shape (num_columns + 1,)
    rows : int32, shape (num_entries,)
        In ascending order within a column.
    values : float32, shape (num_entries,)
    """

    features: Int32Array
    starts: Int32Array
    rows: Int32Array
    values: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class PreparedBatch:
    """A mini-batch, and what a kernel has computed from it ahead of its step.

    Attributes
    ----------
    batch : CSRBatch
    columns : Columns or None
        None if the kernel does not need them.
    """

    batch: CSRBatch
    columns: Columns | None = None

    @property
    def num_rows(self) -> int:
        """Rows of the mini-batch."""
        return self.batch.num_rows

    @property
    def labels(self) -> Float32Array:
        """The mini-batch's labels, float32, shape (num_rows,)."""
        return self.batch.require_labels()


_P = TypeVar("_P", bound=Prepared)


class Kernel(Protocol[_P]):
    """Holds the parameters and does the training steps of a `learner.GradientLearner`."""

    @property
    def description(self) -> str:
        """What trains, for the log: "2 CPU threads"."""
        ...

    def hold(self, rows: CSRBatch) -> Callable[[Int64Array], _P] | None:
        """Copy the training rows to the kernel's own memory, if that helps to take from it.

        Returns
        -------
        callable or None
            Prepares the mini-batch of the rows with these numbers, int64, shape (num_rows,).
        """
        ...

    def prepare(self, batch: CSRBatch) -> _P:
        """Do the part of a step that needs only the data; may run during another batch's step."""
        ...

    def in_step(self, prepared: Iterator[_P]) -> Iterator[_P]:
        """Yield an epoch's mini-batches, one per step to be done."""
        return prepared

    def step(self, prepared: _P) -> Float32Array | LateSums:
        """Update the parameters once from a mini-batch with labels.

        Returns
        -------
        float32, shape (num_rows,), or LateSums
            Each row's margin before the update; or, if the step is still running, a function that
            waits for the sums of the margins.
        """
        ...

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, shape (num_rows,)."""
        ...

    def model(self) -> FMModel:
        """Return the present parameters, for reading only; later steps may change them in place."""
        ...

    def writable_model(self) -> ParameterStore:
        """Return the present parameters, for writing until the next call of a method."""
        return self.model()

    def state(self) -> State:
        """Return all arrays that later steps depend on, for reading only; they are not copies."""
        ...

    def writable_state(self) -> State:
        """Return `state()`, for writing until the next call of another method.

        When it is filled with the state of another kernel of the same hyperparameters, this kernel
        continues where that one was.
        """
        return self.state()
