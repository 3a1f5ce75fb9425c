"""Sum up what a row and an item have in common: vectors whose inner product joins them.

An item is a part of a row: its own feature and those of its side columns. Items never change
between requests, so each is summed up once, to a vector and a weight:

    v_c = Σ_f v_f x_f        w_c = Σ_f w_f x_f + ½ (‖v_c‖² - Σ_f ‖v_f x_f‖²)
    margin(row with item c) = margin(row) + w_c + <v_c, Σ_i v_i x_i>

over the item's features f and the row's others i (Rendle, "Factorization Machines", ICDM 2010,
lemma 3.1, split in two).

Where pairs of fields have weights, w_c is the same with the weighted pairs within the item. v_c has
a block per field of the items, the sum of its features in this field. It meets the block

    t_f = Σ_g r_fg Σ_{i in g} v_i x_i

of the row, so that <v_c, t> is again what all pairs of an item's feature and another one add.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.model import FMModel, sum_by_row
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array, to_float32

_NUMBERS_AT_ONCE = 1 << 20
"""Number of factors looked at in one go: 4 MB, or 8 as float64."""

_Numbers = NDArray[np.float64]


def fields_of(model: FMModel, features: Int32Array) -> Int32Array | None:
    """Return the numbers of the fields that features are in; None if all pairs count alike.

    Parameters
    ----------
    model : FMModel
    features : int32, shape (n,)
        Such as those of all items.

    Returns
    -------
    int32, shape (B,), or None
        Ascending, each once; the first field if there are no features.
    """
    if model.field_weights is None:
        return None
    if not len(features):
        return np.zeros(1, np.int32)
    return np.unique(model.field_weights.space.field_of(features))


def num_blocks(fields: Int32Array | None) -> int:
    """Return how many times num_factors the vectors of items in these fields are long."""
    return 1 if fields is None else len(fields)


def item_vectors(
    model: FMModel,
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    fields: Int32Array | None = None,
) -> tuple[Float32Array, Float32Array]:
    """Sum up items to a vector and a weight each.

    Parameters
    ----------
    model : FMModel
    indptr : int64, shape (n + 1,)
    indices : int32, shape (num_entries,)
    values : float32, shape (num_entries,)
        The features of the n items, item by item as in `CSRBatch`.
    fields : int32, shape (B,), optional
        Where pairs of fields have weights: the fields that get a block, ascending. The features are
        in no others. By default those that they are in.

    Returns
    -------
    V : float32, shape (n, num_factors), or (n, B num_factors) where pairs of fields have weights
        v_c of the module's formula, summed in float64.
    w : float32, shape (n,)
        w_c.
    """
    items = CSRBatch(indptr, indices, values, None, model.feature_dim)
    if fields is None:
        fields = fields_of(model, indices)
    width = model.num_factors * num_blocks(fields)
    V = np.empty((items.num_rows, width), np.float32)
    w = np.empty(items.num_rows, np.float32)
    entries_at_once = max(1, _NUMBERS_AT_ONCE // width)
    start = 0
    while start < items.num_rows:
        limit = indptr[start] + entries_at_once
        stop = int(np.searchsorted(indptr, limit, side="right")) - 1
        stop = min(max(stop, start + 1), start + entries_at_once, items.num_rows)
        block = items.rows(start, stop)
        x = block.values.astype(np.float64)
        factors = model.V[block.indices] * x[:, np.newaxis]  # (num_entries, num_factors)
        if model.field_weights is None or fields is None:
            sums = sum_by_row(factors, block)  # (stop - start, num_factors)
            squares = sum_by_row(np.einsum("ef,ef->e", factors, factors), block)
            pairwise = 0.5 * (np.einsum("cf,cf->c", sums, sums) - squares)
        else:
            places = np.searchsorted(fields, model.field_weights.space.field_of(block.indices))
            sums = _sums_by_field(factors, block, places, len(fields))
            pairwise = model.field_weights.pairwise(factors, block)
        V[start:stop] = to_float32(sums)
        w[start:stop] = to_float32(sum_by_row(model.w[block.indices] * x, block) + pairwise)
        start = stop
    return V, w


def sum_row(model: FMModel, features: Int32Array, values: Float32Array) -> tuple[float, _Numbers]:
    """Sum up a row.

    Parameters
    ----------
    model : FMModel
        Its w0, w and V, whatever samples it has.
    features : int32, shape (n,)
    values : float32, shape (n,)

    Returns
    -------
    margin : float
        Not yet rounded to float32.
    factors : float64, shape (n, num_factors)
        v_i x_i of each feature.
    """
    x = values.astype(np.float64)
    factors: _Numbers = model.V[features] * x[:, np.newaxis]
    if model.field_weights is None:
        total = factors.sum(axis=0)
        pairwise = 0.5 * (total @ total - np.einsum("ef,ef->", factors, factors))
    else:
        indptr = np.array([0, len(features)])
        row = CSRBatch(indptr, features, values, None, model.feature_dim)
        pairwise = model.field_weights.pairwise(factors, row)[0]
    return float(model.w0[0] + (model.w[features] * x).sum() + pairwise), factors


def _sums_by_field(
    factors: _Numbers, items: CSRBatch, places: NDArray[np.intp], num_fields: int
) -> _Numbers:
    """Return the sum of each field of each item, (num_items, num_fields num_factors)."""
    rows = np.repeat(np.arange(items.num_rows), np.diff(items.indptr))
    keys = rows * num_fields + places
    order = np.argsort(keys, kind="stable")
    found, starts = np.unique(keys[order], return_index=True)
    sums = np.zeros((items.num_rows * num_fields, factors.shape[1]))
    if len(found):
        sums[found] = np.add.reduceat(factors[order], starts)
    return sums.reshape(items.num_rows, -1)
