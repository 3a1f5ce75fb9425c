"""The learner of ranking losses: it feeds a kernel comparisons of positives with negatives."""

import dataclasses
import functools
import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters
from fm_algo.sparse import CSRBatch, Int64Array
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.learner import GradientLearner
from fm_algo.training.gradient.mini_batches import draw_order
from fm_algo.training.learner import Step
from fm_algo.training.positives import Positives
from fm_algo.training.ranking.comparisons import compare
from fm_algo.training.ranking.negatives import Negatives
from fm_algo.training.ranking.warp import Search
from fm_algo.training.rows import Rows

_log = logging.getLogger(__name__)

_NEGATIVES, _TRIES = 1, 10
"""What num_negatives is by default, of bpr and of warp."""


class RankingLearner(GradientLearner):
    """Compares positives with negatives, items that their users do not have.

    bpr compares each positive with num_negatives of them. Which ones does not depend on the model,
    so a separate thread prepares mini-batches ahead.

    warp compares each with the first of at most num_negatives that violates the order (`warp`),
    which depends on the model.

    Parameters
    ----------
    kernel : Kernel
        Holds the parameters.
    hyperparameters : Hyperparameters
        loss, num_negatives, negative_sampling_power, mini_batch_size (in positives), shuffle, seed.
    """

    def __init__(self, kernel: Kernel[Any], hyperparameters: Hyperparameters) -> None:
        super().__init__(kernel, hyperparameters)
        self._is_warp = hyperparameters.loss == "warp"
        default = _TRIES if self._is_warp else _NEGATIVES
        self._num_negatives = hyperparameters.num_negatives or default

    def take_rows(self, rows: Rows) -> None:
        """Take the positives that all epochs train on.

        Raises
        ------
        UserError
            If rows are not in memory with their positives, or all users have all items.
        """
        loss = self._hyperparameters.loss
        if rows.positives is None:
            raise UserError(
                f"loss={loss} goes through all rows in memory, where they do not fit: raise "
                "memory_budget_mb, or take a larger instance"
            )
        self._comparisons = _Comparisons(rows.positives, self._hyperparameters, self._num_negatives)
        self._source = self._comparisons
        num_left_out = rows.positives.num_rows - len(self._comparisons.usable)
        if num_left_out == rows.positives.num_rows:
            raise UserError(f"loss={loss}: all users have all items, so there is nothing to rank")
        if num_left_out:
            _log.warning("%d rows are not learnt from: their users have all items", num_left_out)

    def steps(self, epoch: int, first: int, should_stop: Callable[[], bool]) -> Iterator[Step]:
        """Train on an epoch's mini-batches of positives, from number `first` on."""
        if self._is_warp:
            yield from self._warp_steps(epoch, first, should_stop)
            return
        for step in super().steps(epoch, first, should_stop):
            yield dataclasses.replace(step, num_rows=step.num_rows // (1 + self._num_negatives))

    def _warp_steps(
        self, epoch: int, first: int, should_stop: Callable[[], bool]
    ) -> Iterator[Step]:
        positives = self._comparisons.positives
        for chosen in itertools.islice(self._comparisons.chosen(epoch), first, None):
            if should_stop():
                return
            search = Search(epoch, chosen, self._num_negatives)
            found = search.find(self._kernel, positives, self._comparisons.negatives)
            factors = found.factors()
            of_step = np.flatnonzero(factors)
            if len(of_step):
                others = found.negatives[of_step, np.newaxis]
                batch = compare(positives, chosen[of_step], others, factors[of_step])
                self._kernel.step(self._kernel.prepare(batch))
            weights = positives.contexts.weights
            own = None if weights is None else weights[chosen]
            yield Step(len(chosen), functools.partial(found.add_to, factors=factors, weights=own))
            if should_stop():
                return


class _Comparisons:
    """The positives in the order of an epoch, cut into mini-batches, with negatives."""

    def __init__(
        self, positives: Positives, hyperparameters: Hyperparameters, num_negatives: int
    ) -> None:
        self.positives = positives
        self.negatives = Negatives(positives, hyperparameters)
        self.usable = self.negatives.usable
        self._hyperparameters, self._num_negatives = hyperparameters, num_negatives

    def chosen(self, epoch: int) -> Iterator[Int64Array]:
        """Yield the numbers of the positives of each mini-batch."""
        order = draw_order(len(self.usable), self._hyperparameters, epoch)
        in_order = self.usable if order is None else self.usable[order]
        size = self._hyperparameters.mini_batch_size
        for start in range(0, len(in_order), size):
            yield in_order[start : start + size]

    def mini_batches(self, epoch: int) -> Iterator[CSRBatch]:
        """Yield the mini-batches of an epoch of bpr."""
        for chosen in self.chosen(epoch):
            drawn = self.negatives.draw(epoch, chosen, 0, self._num_negatives)
            yield compare(self.positives, chosen, drawn)
