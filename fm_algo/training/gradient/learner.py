"""The learner that trains by gradients: it feeds mini-batches to a kernel."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.training.gradient import Kernel, LateSums, Prepared
from fm_algo.training.gradient.mini_batches import CachedRows, RowSource, StreamedRows
from fm_algo.training.gradient.read_ahead import ReadAhead
from fm_algo.training.learner import Learner, Step
from fm_algo.training.metrics import MetricSums
from fm_algo.training.rows import Rows
from fm_algo.training.state import Forms, ParameterStore, State

_BATCHES_AHEAD = 4
"""Mini-batches prepared while one is trained on."""


class GradientLearner(Learner):
    """Feeds mini-batches to a kernel; a separate thread takes and prepares them ahead.

    Parameters
    ----------
    kernel : Kernel
        Holds the parameters.
    hyperparameters : Hyperparameters
        mini_batch_size, shuffle, seed and positive_weight.
    source : RowSource, optional
        The mini-batches, if `take_rows` will not be called.
    """

    advice: ClassVar[str] = (
        "try lower bias_lr, linear_lr and factors_lr, scale the feature values to about 1, or set "
        "clip_gradient"
    )

    def __init__(
        self, kernel: Kernel[Any], hyperparameters: Hyperparameters, source: RowSource | None = None
    ) -> None:
        self._kernel = kernel
        self._hyperparameters = hyperparameters
        self._source = source

    @property
    def description(self) -> str:
        """What trains, for the log."""
        return self._kernel.description

    def take_rows(self, rows: Rows) -> None:
        """Take the rows that all epochs train on."""
        rows = rows.weighing_positives(self._hyperparameters.positive_weight)
        if rows.cached is None:
            self._source = StreamedRows(rows.read, self._hyperparameters, rows.buffer_bytes)
        else:
            held = self._kernel.hold(rows.cached)
            self._source = CachedRows(rows.cached, self._hyperparameters, held)

    def steps(self, epoch: int, first: int, should_stop: Callable[[], bool]) -> Iterator[Step]:
        """Train on an epoch's mini-batches from number `first` on."""
        if self._source is None:
            raise RuntimeError("there are no rows to train on yet")
        left = itertools.islice(self._source.mini_batches(epoch), first, None)
        with ReadAhead(map(self._prepare, left), _BATCHES_AHEAD) as prepared_ahead:
            for prepared in self._kernel.in_step(prepared_ahead):
                if should_stop():
                    return  # a source that was told to stop may have cut this mini-batch short
                result = self._kernel.step(prepared)
                if callable(result):
                    yield Step(prepared.num_rows, functools.partial(_add_late, result))
                else:
                    yield Step.of_margins(result, prepared.batch)
                if should_stop():
                    return

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, shape (num_rows,)."""
        return self._kernel.margin(batch)

    def model(self) -> FMModel:
        """Return the kernel's parameters, for reading only."""
        return self._kernel.model()

    def writable_model(self) -> ParameterStore:
        """Return the kernel's parameters, for writing."""
        return self._kernel.writable_model()

    def state(self) -> State:
        """Return the kernel's parameters and optimiser states, for reading only."""
        return self._kernel.state()

    def writable_state(self, forms: Forms | None = None) -> State:
        """Return the kernel's parameters and optimiser states, for writing."""
        return self._kernel.writable_state()

    def _prepare(self, batch: CSRBatch | Prepared) -> Prepared:
        return self._kernel.prepare(batch) if isinstance(batch, CSRBatch) else batch


def _add_late(result: LateSums, sums: MetricSums) -> None:
    state = sums.state()
    sums.restore({name: state[name] + more for name, more in result().items()})
