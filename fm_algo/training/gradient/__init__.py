"""The training step on arrays: a slow reference, and fast kernels that must agree with it.

A kernel is made from an initial model and the hyperparameters, and holds parameters and optimiser
state in whatever layout suits it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.state import ParameterStore, State

LateSums = Callable[[], dict[str, float]]
"""Waits for a step, and returns what `MetricSums.state` would say after its margins alone."""


class Prepared(Protocol):
    """What a kernel makes of a mini-batch ahead of its step: each kernel has its own type."""

    @property
    def num_rows(self) -> int:
        """Rows of the mini-batch."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """A mini-batch by columns.

    Column c is feature `features[c]`; its pairs are `starts[c]:starts[c + 1]` of rows and values.

    Attributes
    ----------
    features : int32, shape (num_columns,)
        Ascending.
    starts : int32, shape (num_columns + 1,)
    rows : int32, shape (num_entries,)
        Ascending within a column.
    values : float32, shape (num_entries,)
    """

    features: Int32Array
    starts: Int32Array
    rows: Int32Array
    values: Float32Array


@dataclass(frozen=True, slots=True, eq=False)
class PreparedBatch:
    """A mini-batch and what a kernel worked out of it ahead of its step.

    Attributes
    ----------
    batch : CSRBatch
    columns : Columns or None
        None where the kernel wants none.
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
    """What `learner.GradientLearner` asks of a kernel."""

    @property
    def description(self) -> str:
        """What trains, for the log: "2 CPU threads"."""
        ...

    def hold(self, rows: CSRBatch) -> Callable[[Int64Array], _P] | None:
        """Take rows that each epoch draws from into memory of the kernel's own, if that serves.

        Returns
        -------
        callable or None
            Prepares the mini-batch of the rows with these numbers, int64, shape (num_rows,).
        """
        ...

    def prepare(self, batch: CSRBatch) -> _P:
        """Do the part of a step that needs the data alone; may run beside another batch's step."""
        ...

    def in_step(self, prepared: Iterator[_P]) -> Iterator[_P]:
        """Pass on an epoch's mini-batches, as many as there are steps to be done."""
        return prepared

    def step(self, prepared: _P) -> Float32Array | LateSums:
        """Update the parameters once from a mini-batch with labels.

        Returns
        -------
        float32, shape (num_rows,), or LateSums
            Each row's margin before the update; or, where the kernel is still at it, what will come
            of the margins.
        """
        ...

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, shape (num_rows,)."""
        ...

    def model(self) -> FMModel:
        """Return the present parameters, to be read; later steps may change them in place."""
        ...

    def writable_model(self) -> ParameterStore:
        """Return the present parameters, to be written to until the next call of a method."""
        return self.model()

    def state(self) -> State:
        """Return all that later steps depend on, to be read: the kernel's own arrays."""
        ...

    def writable_state(self) -> State:
        """Return `state()`, to be written to until the next call of another method.

        Filled with the numbers of another kernel of the same hyperparameters, it makes this one go
        on where that one was.
        """
        return self.state()
