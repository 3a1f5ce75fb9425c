"""A catalogue: every item of a table as one vector and one weight.

What the features of item c add to a margin together is w_c, and with the rest of a row they
interact through v_c (Rendle, "Factorization Machines", ICDM 2010, lemma 3.1):

    v_c = Σ_f v_f x_f
    w_c = Σ_f w_f x_f + ½ (‖v_c‖² - Σ_f ‖v_f x_f‖²)
"""

import numpy as np

from fm_algo.model import FMModel
from fm_algo.sparse import Float32Array, Int32Array, Int64Array, to_float32


def item_vectors(
    model: FMModel, indptr: Int64Array, indices: Int32Array, values: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """Sum up the features of each item.

    Parameters
    ----------
    model : FMModel
    indptr : int64, shape (n + 1,)
    indices : int32, shape (num_entries,)
    values : float32, shape (num_entries,)
        The features of n items, as in `CSRBatch`.

    Returns
    -------
    V : float32, shape (n, num_factors)
        The vectors v_c.
    w : float32, shape (n,)
        The weights w_c.
    """
    x = values.astype(np.float64)
    factors = model.V[indices] * x[:, np.newaxis]  # (num_entries, num_factors)
    squares = np.einsum("ef,ef->e", factors, factors)
    own = model.w[indices] * x - 0.5 * squares
    V = np.zeros((len(indptr) - 1, model.num_factors))
    w = np.zeros(len(V))
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        # reduceat sums from each start to the next: empty items must not be among the starts.
        V[filled] = np.add.reduceat(factors, indptr[filled], axis=0)
        w[filled] = np.add.reduceat(own, indptr[filled])
    w += 0.5 * np.einsum("cf,cf->c", V, V)
    return to_float32(V), to_float32(w)
