"""Recommend: find the features of a range whose presence gives a row the highest margin.

    margin(x with x_c = 1) = margin(x) + (1 - x_c) (w_c + <v_c, Σ_{i≠c} v_i x_i>)

The row is summed up once. Each candidate then costs one product of num_factors numbers (Rendle,
"Factorization Machines", ICDM 2010, lemma 3.1). Every candidate is scored: there is no index and
no approximation.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.sparse import Float32Array, Int32Array, to_float32

_Numbers = NDArray[np.float64]

_NUMBERS_AT_ONCE = 1 << 20
"""Number of factors held as float64 at a time: 8 MB."""


def top_features(
    w0: Float32Array,
    w: Float32Array,
    V: Float32Array,
    features: Int32Array,
    values: Float32Array,
    *,
    first: int,
    last: int,
    top_k: int,
) -> tuple[Int32Array, Float32Array]:
    """Find the best candidates for a row.

    Parameters
    ----------
    w0 : float32, shape (1,)
    w : float32, shape (feature_dim,)
    V : float32, shape (feature_dim, num_factors)
        The model.
    features : int32, shape (n,)
        The row's features, each once.
    values : float32, shape (n,)
        Their values.
    first, last : int
        The candidates: 0 <= first <= last < feature_dim, both included.
    top_k : int
        How many are wanted, 1 or more.

    Returns
    -------
    features : int32, shape (min(top_k, last - first + 1),)
        The best first; of equal ones, the lower feature first.
    margin : float32, same shape
        Margin of the row with the value of that feature set to 1, whatever it was before.
    """
    x = values.astype(np.float64)
    factors = V[features] * x[:, np.newaxis]  # (n, num_factors)
    total = factors.sum(axis=0)  # (num_factors,)
    pairwise = 0.5 * (total @ total - np.einsum("ef,ef->", factors, factors))
    margin = float(w0[0]) + (w[features] * x).sum() + pairwise
    best, best_margin = np.empty(0, np.int64), np.empty(0)
    step = max(1, _NUMBERS_AT_ONCE // V.shape[1])
    for start in range(first, last + 1, step):
        stop = min(start + step, last + 1)
        margins = margin + w[start:stop] + _products(V[start:stop], total)
        present = np.flatnonzero((features >= start) & (features < stop))
        chosen = features[present]
        # Already in the row: what it adds there, times how far its value is from 1.
        added = w[chosen] + _products(V[chosen], total - factors[present])
        margins[chosen - start] = margin + (1 - x[present]) * added
        best = np.concatenate([best, np.arange(start, stop)])
        best_margin = np.concatenate([best_margin, margins])
        kept = _highest(best_margin, top_k)
        best, best_margin = best[kept], best_margin[kept]
    order = np.lexsort((best, -best_margin))
    return best[order].astype(np.int32), to_float32(best_margin[order])


def _products(V: Float32Array, total: _Numbers) -> _Numbers:
    """Multiply each row (c, num_factors) with `total`, or with its own row of `total`.

    Equal candidates must get equal margins, so BLAS will not do: its last digits depend on a
    row's position.
    """
    rows = V.astype(np.float64)
    products: _Numbers = np.einsum("cf,cf->c", rows, np.broadcast_to(total, rows.shape))
    return products


def _highest(margins: _Numbers, top_k: int) -> NDArray[np.intp]:
    """Return the positions of the `top_k` highest; of equal ones, those that stand first."""
    if len(margins) <= top_k:
        return np.arange(len(margins))
    bound = np.partition(margins, len(margins) - top_k)[len(margins) - top_k]
    above = np.flatnonzero(margins > bound)
    return np.concatenate([above, np.flatnonzero(margins == bound)[: top_k - len(above)]])
