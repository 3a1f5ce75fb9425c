"""Recommend: find the features of a range whose presence gives a row the highest margin.

    margin(x with x_c = 1) = margin(x) + (1 - x_c) (w_c + <v_c, Σ_{i≠c} v_i x_i>)

The row is summed up once. Each candidate then costs one product of num_factors numbers (Rendle,
"Factorization Machines", ICDM 2010, lemma 3.1), as for the items of a `Catalogue`.
"""

import numpy as np

from fm_algo.answers.catalogue import Catalogue, sum_row
from fm_algo.sparse import Float32Array, Int32Array, to_float32


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
    margin, factors = sum_row(w0, w, V, features, x)
    total = factors.sum(axis=0)  # (num_factors,)
    present = np.flatnonzero((features >= first) & (features <= last))
    chosen = features[present]
    # Already in the row: what it adds there, times how far its value is from 1.
    without = total - factors[present]
    added = w[chosen] + np.einsum("cf,cf->c", V[chosen].astype(np.float64), without)
    candidates = slice(first, last + 1)
    best, gain = Catalogue(V[candidates], w[candidates]).highest(total, top_k, chosen - first)
    best = np.concatenate([best + np.int32(first), chosen])
    gain = np.concatenate([gain, (1 - x[present]) * added])
    order = np.lexsort((best, -gain))[:top_k]
    return best[order], to_float32(margin + gain[order])
