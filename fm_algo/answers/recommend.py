"""Recommend: find the features of a range whose presence gives a row the highest margin.

    margin(x with x_c = 1) = margin(x) + (1 - x_c) (w_c + <v_c, Σ_{i≠c} v_i x_i>)

Where pairs of fields have weights, Σ_{i≠c} r_{f(c) f(i)} v_i x_i stands in its place.

The row is summed up once. Each candidate then costs one product of num_factors numbers (Rendle,
"Factorization Machines", ICDM 2010, lemma 3.1), as for the items of a `Catalogue`.
"""

import numpy as np

from fm_algo.answers.catalogue import Catalogue
from fm_algo.answers.vectors import sum_row
from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array, Int32Array, to_float32


def top_features(
    model: FMModel,
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
    model : FMModel
        Its w0, w and V, whatever samples it has.
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
    margin, factors = sum_row(model, features, values)
    present = np.flatnonzero((features >= first) & (features <= last))
    chosen, candidates = features[present], slice(first, last + 1)
    items = Catalogue(model.V[candidates], model.w[candidates])
    weights = model.field_weights
    choice = None
    if weights is None:
        total = factors.sum(axis=0)  # (num_factors,)
        without = total - factors[present]
    else:
        of_candidates = weights.space.field_map()[candidates]
        total = weights.toward(np.arange(len(weights.R)), factors, features)
        own = of_candidates[chosen - first]
        within = weights.R[own, own].astype(np.float64)
        without = total[own] - within[:, np.newaxis] * factors[present]
        if (of_candidates == of_candidates[0]).all():
            total = total[of_candidates[0]]
        else:
            choice = of_candidates
    # Already in the row: what it adds there, times how far its value is from 1.
    added = model.w[chosen] + np.einsum("cf,cf->c", model.V[chosen].astype(np.float64), without)
    best, gain = items.highest(total, top_k, chosen - first, choice=choice)
    best = np.concatenate([best + np.int32(first), chosen])
    gain = np.concatenate([gain, (1 - values[present].astype(np.float64)) * added])
    order = np.lexsort((best, -gain))[:top_k]
    return best[order], to_float32(margin + gain[order])
