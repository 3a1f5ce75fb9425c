"""Rows that compare: the context of a positive with its item, and with others."""

import dataclasses

import numpy as np

from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.positives import Positives

RowArrays = tuple[Int64Array, Int32Array, Float32Array]
"""indptr, indices and values of rows."""


def compare(
    positives: Positives, chosen: Int64Array, others: Int32Array, factor: Float32Array | None = None
) -> CSRBatch:
    """Return groups of rows as `fm_algo.loss.RankingLoss` has them.

    Parameters
    ----------
    positives : Positives
    chosen : int64, shape (n,)
        Numbers of positives.
    others : int32, shape (n, num_negatives)
        The items that each is compared with.
    factor : float32, shape (n,), optional
        Of the groups' weights.

    Returns
    -------
    CSRBatch
        n · (1 + num_negatives) rows, with labels.
    """
    items = np.concatenate([positives.items[chosen, np.newaxis], others], axis=1)
    rows = with_items(positives, chosen, items)
    labels = np.zeros(items.shape, np.float32)
    labels[:, 0] = 1
    weights = None if positives.contexts.weights is None else positives.contexts.weights[chosen]
    if factor is not None:
        weights = factor if weights is None else factor * weights
    of_rows = None if weights is None else np.repeat(weights, items.shape[1])
    return dataclasses.replace(rows, labels=labels.reshape(-1), weights=of_rows)


def with_items(positives: Positives, chosen: Int64Array, items: Int32Array) -> CSRBatch:
    """Return the contexts of some positives with items.

    Parameters
    ----------
    positives : Positives
    chosen : int64, shape (n,)
    items : int32, shape (n, m)

    Returns
    -------
    CSRBatch
        n · m rows, without labels: those of a positive stand together.
    """
    contexts, of_items = positives.contexts, positives.item_rows
    lengths = np.diff(contexts.indptr)[chosen, np.newaxis] + np.diff(of_items.indptr)[items]
    indptr = np.zeros(items.size + 1, np.int64)
    np.cumsum(lengths.reshape(-1), out=indptr[1:])
    indices, values = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    _put(arrays_of(contexts), arrays_of(of_items), chosen, items, indices, values)
    return CSRBatch(indptr, indices, values, None, contexts.feature_dim)


def arrays_of(rows: CSRBatch) -> RowArrays:
    """Return the arrays of rows for compiled code."""
    return rows.indptr, rows.indices, rows.values


@njit(nogil=True, cache=True)
def _put(
    contexts: RowArrays,
    of_items: RowArrays,
    chosen: Int64Array,
    items: Int32Array,
    indices: Int32Array,
    values: Float32Array,
) -> None:
    """Copy the entries of each context and of its items, one after another."""
    indptr, features, numbers = contexts
    item_indptr, item_features, item_numbers = of_items
    place = 0
    for n in range(len(chosen)):
        for m in range(items.shape[1]):
            for e in range(indptr[chosen[n]], indptr[chosen[n] + 1]):
                indices[place], values[place] = features[e], numbers[e]
                place += 1
            for e in range(item_indptr[items[n, m]], item_indptr[items[n, m] + 1]):
                indices[place], values[place] = item_features[e], item_numbers[e]
                place += 1
