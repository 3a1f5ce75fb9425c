"""The search of warp: for each positive the first negative drawn that violates the order.

A negative violates it if its margin is above the positive's less 1. The violator at draw t weighs
L = ln(max(1, ⌊(number of items − 1) / t⌋)): so many items are likely to violate it, and this is
what such a rank costs. Weston, Bengio, Usunier, "WSABIE: Scaling Up To Large Vocabulary Image
Annotation", IJCAI 2011, section 3, with the logarithm in place of Σ 1/i, as in LightFM (Kula,
"Metadata Embeddings for User and Item Cold-start Recommendations", 2015). A positive without a
violator among the draws allowed does not step.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fm_algo.loss import RANKING_LOSSES
from fm_algo.sparse import Float32Array, Int32Array, Int64Array
from fm_algo.training.gradient import Kernel
from fm_algo.training.gradient.cpu import CPUKernel
from fm_algo.training.metrics import MetricSums, RankingSums
from fm_algo.training.positives import Positives
from fm_algo.training.ranking.comparisons import arrays_of, with_items
from fm_algo.training.ranking.negatives import Negatives
from fm_algo.training.ranking.violators import find_violators

_LOSS = RANKING_LOSSES["warp"]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What was found for n positives.

    Attributes
    ----------
    negatives : int32, shape (n,)
        The last item drawn for each.
    tries : int32, shape (n,)
        How many were drawn.
    above : float32, shape (n, 2)
        How far the positive is above the last one, and above the first.
    num_items : int
    """

    negatives: Int32Array
    tries: Int32Array
    above: Float32Array
    num_items: int

    def factors(self) -> Float32Array:
        """Return L of each, float32, shape (n,); 0 if no violator was found."""
        likely = np.log(np.maximum((self.num_items - 1) // np.maximum(self.tries, 1), 1))
        return np.where(self.above[:, 0] < 1, likely, 0).astype(np.float32)

    def add_to(self, sums: MetricSums, factors: Float32Array, weights: Float32Array | None) -> None:
        """Add the positives, of these L and weights, float32 (n,), to the sums behind metrics."""
        if not isinstance(sums, RankingSums):
            raise TypeError("warp needs the sums of a ranking loss")
        losses = factors * _LOSS.of_difference(self.above[:, 0])
        sums.add(losses, self.above[:, 1] > 0, weights)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A search for violators.

    Attributes
    ----------
    epoch : int
    chosen : int64, shape (n,)
        Numbers of positives.
    most_tries : int
        How many items are drawn at most for each.
    """

    epoch: int
    chosen: Int64Array
    most_tries: int

    def find(self, kernel: Kernel[Any], positives: Positives, negatives: Negatives) -> Found:
        """Search by the present parameters of a kernel."""
        num_items, n = positives.item_rows.num_rows, len(self.chosen)
        found = Found(
            np.full(n, -1, np.int32),
            np.full(n, self.most_tries, np.int32),
            np.zeros((n, 2), np.float32),
            num_items,
        )
        if type(kernel) is CPUKernel:  # one of weights of fields has other margins
            self._find_compiled(kernel, positives, negatives, found)
        else:
            self._find_by_margins(kernel, positives, negatives, found)
        return found

    def _find_compiled(
        self, kernel: CPUKernel, positives: Positives, negatives: Negatives, found: Found
    ) -> None:
        find_violators(
            negatives.whose(self.epoch),
            self.chosen,
            positives.items,
            arrays_of(positives.contexts),
            arrays_of(positives.item_rows),
            negatives.drawing,
            kernel.parameter_rows,
            (found.negatives, found.tries, found.above),
        )

    def _find_by_margins(
        self, kernel: Kernel[Any], positives: Positives, negatives: Negatives, found: Found
    ) -> None:
        """Search as any kernel can; this says what is right."""
        items = positives.items[self.chosen, np.newaxis]
        own = kernel.margin(with_items(positives, self.chosen, items))
        left, num_tried = np.arange(len(self.chosen)), 0
        while len(left) and num_tried < self.most_tries:
            # As many draws as before, all at once: few calls, and hardly a draw too many.
            stop = min(2 * num_tried or 1, self.most_tries)
            drawn = negatives.draw(self.epoch, self.chosen[left], num_tried, stop)
            margin = kernel.margin(with_items(positives, self.chosen[left], drawn))
            above = own[left, np.newaxis] - margin.reshape(drawn.shape)
            if not num_tried:
                found.above[:, 1] = above[:, 0]
            violates = above < 1
            has_one = violates.any(axis=1)
            last = np.where(has_one, violates.argmax(axis=1), drawn.shape[1] - 1)
            rows = np.arange(len(left))
            found.negatives[left] = drawn[rows, last]
            found.above[left, 0] = above[rows, last]
            found.tries[left] = num_tried + 1 + last
            left, num_tried = left[~has_one], stop
