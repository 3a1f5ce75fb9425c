"""`FieldWeights`: how much each pair of fields counts in a field-weighted factorization machine.

    pairwise part = Σ_{i<j} r_{f(i) f(j)} <v_i, v_j> x_i x_j

Pan et al., "Field-weighted Factorization Machines for Click-Through Rate Prediction in Display
Advertising", WWW 2018, equation 5. With s_f = Σ_{i in f} v_i x_i it is

    Σ_{f<g} r_fg <s_f, s_g> + Σ_f r_ff ½ (|s_f|² - Σ_{i in f} |v_i x_i|²)

The second sum is of pairs within a field, as sets have them. Where a field has one feature per row,
its r_ff says nothing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, Float32Array
from fm_algo.sparse.feature_space import FeatureSpace

MAX_FIELDS = 512
"""The most fields: a step updates the weight of each pair of them."""

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FieldWeights:
    """How much each pair of fields counts.

    Attributes
    ----------
    R : float32, shape (F, F)
        Symmetric. All 1 makes an ordinary factorization machine, which is where training starts.
    space : FeatureSpace
        The F fields and their features.
    """

    R: Float32Array
    space: FeatureSpace

    @classmethod
    def of_ones(cls, space: FeatureSpace) -> Self:
        """Return the weights of an ordinary factorization machine.

        Raises
        ------
        UserError
            If there are too many fields.
        """
        num_fields = len(space.fields)
        check_num_fields(num_fields)
        return cls(np.ones((num_fields, num_fields), np.float32), space)

    def copy(self) -> Self:
        """Return the same weights in contiguous memory of their own."""
        return type(self)(np.array(self.R, order="C"), self.space)

    def pairwise(self, factors: _Numbers, batch: CSRBatch) -> _Numbers:
        """Return the pairwise part of each row.

        Parameters
        ----------
        factors : float64, shape (num_entries, num_factors)
            v_i x_i of each entry.
        batch : CSRBatch
            Which row and feature each entry is of.

        Returns
        -------
        float64, shape (num_rows,)
        """
        # Only the fields that occur: a row has few of many.
        present, places = np.unique(self.space.field_of(batch.indices), return_inverse=True)
        R = self.R[np.ix_(present, present)].astype(np.float64)
        rows = np.repeat(np.arange(batch.num_rows), np.diff(batch.indptr))
        keys = rows * len(present) + places
        order = np.argsort(keys, kind="stable")
        of_pair, starts = np.unique(keys[order], return_index=True)
        shape = batch.num_rows, len(present), factors.shape[1]
        sums, squares = np.zeros(shape), np.zeros(shape[:2])
        if len(keys):
            ordered = factors[order]
            sums.reshape(-1, shape[2])[of_pair] = np.add.reduceat(ordered, starts)
            of_entries = np.einsum("ek,ek->e", ordered, ordered)
            squares.reshape(-1)[of_pair] = np.add.reduceat(of_entries, starts)
        within = np.einsum("nfk,nfk->nf", sums, sums) - squares
        across = np.einsum("fg,ngk->nfk", R - np.diag(R.diagonal()), sums)
        doubled = np.einsum("nfk,nfk->n", sums, across) + within @ R.diagonal()
        return np.asarray(0.5 * doubled)


def check_num_fields(num_fields: int) -> None:
    """Check that there is room for a weight per pair of fields.

    Raises
    ------
    UserError
        If there are too many fields.
    """
    if num_fields > MAX_FIELDS:
        raise UserError(
            f"interaction=field_weighted: {num_fields} fields, allowed are up to {MAX_FIELDS}: "
            "ignore some columns, or join fields"
        )
