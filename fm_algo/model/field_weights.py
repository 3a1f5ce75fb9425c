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
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array
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
        fields = self.space.field_of(batch.indices)
        if batch.num_rows == 1 and (fields[1:] > fields[:-1]).all():
            return 0.5 * self._across(fields[np.newaxis], factors[np.newaxis])
        lengths = np.diff(batch.indptr)
        keys = np.repeat(np.arange(batch.num_rows) * len(self.R), lengths) + fields
        doubled = np.zeros(batch.num_rows)
        if not (keys[1:] > keys[:-1]).all():
            # Sum up each field of a row, which makes one entry of several.
            order = np.argsort(keys, kind="stable")
            starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
            rows, fields = np.divmod(keys[order[starts]], len(self.R))
            ordered = factors[order]
            factors = np.add.reduceat(ordered, starts)
            squares = np.add.reduceat(np.einsum("ek,ek->e", ordered, ordered), starts)
            within = np.einsum("ek,ek->e", factors, factors) - squares
            within[np.diff(starts, append=len(order)) == 1] = 0
            doubled += np.bincount(rows, self.R[fields, fields] * within, batch.num_rows)
            lengths = np.bincount(rows, minlength=batch.num_rows)
        firsts = np.cumsum(lengths) - lengths
        for length in {*lengths.tolist()}:
            rows = np.flatnonzero(lengths == length)
            entries = firsts[rows, np.newaxis] + np.arange(length)  # (num_rows, length)
            doubled[rows] += self._across(fields[entries], factors[entries])
        return 0.5 * doubled

    def toward(
        self, fields: NDArray[np.integer], factors: _Numbers, features: Int32Array
    ) -> _Numbers:
        """Return what a further feature of each of some fields is multiplied with by a row.

        Parameters
        ----------
        fields : int, shape (B,)
        factors : float64, shape (n, num_factors)
            v_i x_i of each entry of the row.
        features : int32, shape (n,)
            Its features.

        Returns
        -------
        float64, shape (B, num_factors)
            t_f = Σ_i r_{f f(i)} v_i x_i of each field f.
        """
        present, places = np.unique(self.space.field_of(features), return_inverse=True)
        sums = np.zeros((len(present), factors.shape[1]))
        np.add.at(sums, places, factors)
        return np.asarray(self.R[np.ix_(fields, present)].astype(np.float64) @ sums)

    def _across(self, fields: NDArray[np.integer], sums: _Numbers) -> _Numbers:
        """Return twice the part of pairs of fields (n, m), each once a row, with s (n, m, k)."""
        num_rows, num_present = fields.shape
        places = fields[:, :, np.newaxis] * len(self.R) + fields[:, np.newaxis]
        R = self.R.take(places).astype(np.float64)
        R.reshape(num_rows, -1)[:, :: num_present + 1] = 0
        # One product per row: its digits do not depend on what other rows there are.
        return np.asarray(np.einsum("nfk,nfk->n", sums, R @ sums))


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
