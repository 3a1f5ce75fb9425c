"""`Catalogue`: the best of many items for a row, and the items most like one.

Each item is a vector and a weight, as `fm_algo.answers.vectors` sums them up. Every item is scored:
there is no index and no approximation. A pass in float32 leaves those that can be among the best,
whatever its rounding errors; they are scored again in float64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.answers.vectors import fields_of, item_vectors, sum_row
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array, to_float32

Numbers = NDArray[np.float64]

_NUMBERS_AT_ONCE = 1 << 20
"""Number of factors looked at in one go: 4 MB, or 8 as float64."""

_UNDERFLOW = 2.0**-100
"""More than a float32 can lose by becoming zero, even in a sum of millions."""

_SAFE = 2.0**60
"""Between this and its inverse are the lengths of vectors whose products are normal float32."""

_NONE = np.empty(0, np.int32)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Items as vectors and weights: as `item_vectors` makes them, or a range of a model's own.

    Attributes
    ----------
    V : float32, shape (n, num_factors), or (n, B num_factors) with B fields
    w : float32, shape (n,)
    fields : int32, shape (B,), or None
        The fields that the vectors have a block of; None if all pairs count alike.
    """

    V: Float32Array
    w: Float32Array
    fields: Int32Array | None = None

    @classmethod
    def of_items(cls, model: FMModel, items: CSRBatch) -> Self:
        """Return the items that these rows of features are."""
        fields = fields_of(model, items.indices)
        V, w = item_vectors(model, items.indptr, items.indices, items.values, fields)
        return cls(V, w, fields)

    @classmethod
    def of_features(cls, model: FMModel, features: slice) -> Self:
        """Return features of one field, such as the values of a column, as items."""
        fields = fields_of(model, np.array([features.start], np.int32))
        return cls(model.V[features], model.w[features], fields)

    def top(
        self,
        model: FMModel,
        features: Int32Array,
        values: Float32Array,
        *,
        top_k: int,
        exclude: Int32Array = _NONE,
    ) -> tuple[Int32Array, Float32Array]:
        """Find the best items for a row.

        Parameters
        ----------
        model : FMModel
            Its w0, w and V, whatever samples it has.
        features : int32, shape (m,)
        values : float32, shape (m,)
            The row without any feature of an item.
        top_k : int
            How many are wanted, 1 or more.
        exclude : int32, shape (e,), optional
            Items to leave out, in any order.

        Returns
        -------
        items : int32, shape (min(top_k, n - number of excluded ones),)
            Their numbers; the best first; of equal ones, the lower number first.
        margin : float32, same shape
            Margin of the row with the features of that item.
        """
        margin, factors = sum_row(model, features, values)
        if model.field_weights is None or self.fields is None:
            total = factors.sum(axis=0)
        else:
            total = model.field_weights.toward(self.fields, factors, features).reshape(-1)
        items, gain = self.highest(total, top_k, exclude)
        return items, to_float32(margin + gain)

    def highest(
        self,
        total: Numbers,
        top_k: int,
        exclude: Int32Array = _NONE,
        *,
        choice: NDArray[np.integer] | None = None,
    ) -> tuple[Int32Array, Numbers]:
        """Find the items with the highest w_c + <v_c, total>.

        Parameters
        ----------
        total : float64, shape (width of V,), or (m, width of V) with a choice
        top_k, exclude
            As for `top`.
        choice : int, shape (n,), optional
            Which of m totals each item is multiplied with.

        Returns
        -------
        items : int32
            As of `top`.
        gain : float64, same shape
            w_c + <v_c, total>. Equal items have equal ones.
        """
        narrow = to_float32(total)
        largest_V, largest_w = self._largest
        num_factors = self.V.shape[1]
        magnitude = largest_w + largest_V * (np.abs(total).sum(axis=-1).max() + _UNDERFLOW)
        error = _rounding(num_factors) * magnitude + _UNDERFLOW

        def rough(block: slice) -> Float32Array:
            products: Float32Array
            if choice is None:
                products = np.einsum("cf,f->c", self.V[block], narrow)
            else:
                products = np.einsum("cf,cf->c", self.V[block], narrow[choice[block]])
            return self.w[block] + products

        def exact(items: Int64Array) -> Numbers:
            chosen = total if choice is None else total[choice[items]]
            return self.w[items] + _products(self.V[items], chosen)

        return self._search(rough, error, exact, top_k, exclude)

    def similar(self, item: int, n: int) -> tuple[Int32Array, Float32Array]:
        """Find the items most like one: those whose vectors point where its vector does.

        Parameters
        ----------
        item : int
            Its number.
        n : int
            How many are wanted, 1 or more.

        Returns
        -------
        items : int32, shape (min(n, number of items - 1),)
            Without the item itself; the most similar first; of equal ones, the lower number first.
        cosine : float32, same shape
            Cosine of the angle between the vectors, in [-1, 1]; 0 if one of them is zero.

        Notes
        -----
        What a user adds to or takes from an item is <v_c, Σ v_i x_i>. So two items whose vectors
        have one direction order all users alike, however long the vectors are. A length says how
        strongly users differ about an item, and w_c how much all of them like it: neither makes two
        items alike. By inner products the longest vectors, those of popular items, would be near to
        everything.
        """
        vector = self.V[item].astype(np.float64)
        direction = vector * self._scale[item]
        narrow = to_float32(direction)

        def rough(block: slice) -> Numbers:
            scale = self._scale[block]
            cosines = np.einsum("cf,f->c", self.V[block], narrow) * scale
            # Products with longer or shorter vectors may be infinite, or lost to zero.
            is_safe = (scale == 0) | ((scale > 1 / _SAFE) & (scale < _SAFE))
            return np.where(is_safe, cosines, np.nan)

        def exact(items: Int64Array) -> Numbers:
            cosines = np.clip(_products(self.V[items], direction) * self._scale[items], -1, 1)
            # As they are told: vectors of one direction are equal, whatever their lengths.
            return to_float32(cosines).astype(np.float64)

        error = _rounding(self.V.shape[1])
        items, cosines = self._search(rough, error, exact, n, np.array([item], np.int32))
        return items, to_float32(cosines)

    @cached_property
    def _largest(self) -> tuple[float, float]:
        """The largest absolute values of V and w."""
        V, w = (
            max(float(array.max(initial=0)), -float(array.min(initial=0)))
            for array in (self.V, self.w)
        )
        return V, w

    @cached_property
    def _scale(self) -> Numbers:
        """One divided by the length of each vector, (n,); 0 for a vector of zeros."""
        scale = np.zeros(len(self.V))
        for block in self._blocks():
            rows = self.V[block].astype(np.float64)
            lengths = np.sqrt(np.einsum("cf,cf->c", rows, rows))
            np.divide(1, lengths, out=scale[block], where=lengths > 0)
        return scale

    def _blocks(self) -> Iterator[slice]:
        step = max(1, _NUMBERS_AT_ONCE // self.V.shape[1])
        for start in range(0, len(self.V), step):
            yield slice(start, min(start + step, len(self.V)))

    def _search(
        self,
        rough: Callable[[slice], NDArray[np.floating]],
        error: float,
        exact: Callable[[Int64Array], Numbers],
        top_k: int,
        exclude: Int32Array,
    ) -> tuple[Int32Array, Numbers]:
        """Find the items with the highest exact values.

        Rough ones are within `error` of them, or are not finite and say nothing.
        """
        excluded = np.unique(exclude)
        best, best_values = np.empty(0, np.int64), np.empty(0)
        with np.errstate(over="ignore", invalid="ignore"):
            for block in self._blocks():
                first, last = np.searchsorted(excluded, (block.start, block.stop))
                left_out = excluded[first:last] - block.start
                values = rough(block).astype(np.float64)
                values[left_out] = -np.inf
                # Of at least top_k items the exact value is no lower than this.
                bound = max(
                    best_values[-1] if len(best) == top_k else -np.inf,
                    _kth_highest(values, top_k) - error,
                )
                is_kept = ~(values < bound - error) | ~np.isfinite(values)
                is_kept[left_out] = False
                items = np.flatnonzero(is_kept) + block.start
                best = np.concatenate([best, items])
                best_values = np.concatenate([best_values, exact(items)])
                order = np.lexsort((best, -best_values))[:top_k]
                best, best_values = best[order], best_values[order]
        return best.astype(np.int32), best_values


def _kth_highest(values: Numbers, k: int) -> float:
    """Return the k-th highest of the finite values; -inf if they are fewer."""
    if len(values) < k:
        return -np.inf
    finite = np.where(np.isfinite(values), values, -np.inf)
    return float(np.partition(finite, len(finite) - k)[len(finite) - k])


def _rounding(num_factors: int) -> float:
    """Return how far rounding moves a float32 sum of products, as a part of its absolute terms.

    With n = num_factors + 3 roundings of half a unit in the last place, u = 2^-24, that is at most
    n u / (1 - n u): Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, 2002,
    section 3.1. It holds for any order of the sum. Taken twice, it has room for what rounds in
    float64.
    """
    return (num_factors + 3) * 2.0**-23


def _products(V: Float32Array, total: Numbers) -> Numbers:
    """Multiply each row (c, num_factors) with `total`, or with a row of its own.

    Equal items must get equal margins, so BLAS will not do: its last digits depend on a row's
    position.
    """
    products: Numbers = np.einsum("cf,cf->c", V.astype(np.float64), np.broadcast_to(total, V.shape))
    return products
