"""`FMModel`: the parameters of a factorization machine, and how it scores a row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fm_algo.loss import LOSSES, PredictorType
from fm_algo.model.field_weights import FieldWeights
from fm_algo.sparse import CSRBatch, Float32Array, to_float32

_GATHERED_NUMBERS = 1 << 17
"""Factors gathered at once while scoring: 1 MB as float64, which fits in a cache."""

_COPIES_BY_FIELD = 4
"""How often weights of fields take them at the same time."""


@dataclass(frozen=True, slots=True, eq=False)
class FMModel:
    """A second-order factorization machine.

    Attributes
    ----------
    predictor_type : {"regressor", "binary_classifier"}
        What the score means.
    w0 : float32, shape (1,)
        Bias.
    w : float32, shape (feature_dim,)
        Linear weights.
    V : float32, shape (feature_dim, num_factors)
        Factors, one row per feature.
    samples : tuple of FMModel, optional
        Samples of the posterior, as Gibbs sampling draws them. Where there are any, margins and
        scores are theirs: a score is the mean of their scores. They have this model's
        predictor_type and feature_dim, one num_factors of their own, and no samples.
    field_weights : FieldWeights, optional
        How much each pair of fields counts; None if all pairs count alike. A model with samples has
        none.

    Notes
    -----
    Rendle, "Factorization Machines", ICDM 2010. w0, w and V stay one model of their own beside the
    samples: what explains, recommends and exports takes them alone.
    """

    predictor_type: PredictorType
    w0: Float32Array
    w: Float32Array
    V: Float32Array
    samples: tuple["FMModel", ...] = ()
    field_weights: FieldWeights | None = None

    @property
    def feature_dim(self) -> int:
        """Number of features."""
        return len(self.V)

    @property
    def num_factors(self) -> int:
        """Number of factors per feature."""
        return int(self.V.shape[1])

    def copy(self) -> Self:
        """Return the same model, samples included, with contiguous arrays of its own in memory."""
        w0, w, V = (np.array(numbers, order="C") for numbers in (self.w0, self.w, self.V))
        samples = tuple(sample.copy() for sample in self.samples)
        field_weights = None if self.field_weights is None else self.field_weights.copy()
        return type(self)(self.predictor_type, w0, w, V, samples, field_weights)

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Bias, linear and pairwise part of each row, before the link function.

        Parameters
        ----------
        batch : CSRBatch
            n rows; its feature_dim must be the model's.

        Returns
        -------
        float32, shape (n,)
            Log-odds for binary_classifier, target units for regressor. Sums are float64; a
            margin too large for float32 becomes infinite.

        Raises
        ------
        UserError
            If feature_dim differs.

        Notes
        -----
        Rendle 2010, lemma 3.1: O(num_entries * num_factors). With weights of fields, a row with
        entries in F of them takes O(F² * num_factors) more.
        """
        batch.check_feature_dim(self.feature_dim)
        return to_float32(self._mean_margins(batch) if self.samples else self._margins(batch))

    def sample_margins(self, batch: CSRBatch) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Margin of each row by each of the S samples, some rows at a time.

        Parameters
        ----------
        batch : CSRBatch
            n rows; its feature_dim must be the model's.

        Yields
        ------
        rows : slice
            Which rows of the batch; all of them come, in order.
        margins : float64, shape (num_rows, S)
            A mebibyte or less, or those of one row.

        Raises
        ------
        UserError
            If feature_dim differs.
        """
        batch.check_feature_dim(self.feature_dim)
        numbers_per_entry = len(self.samples) * self.samples[0].num_factors
        rows_at_once = max(1, _GATHERED_NUMBERS // len(self.samples))
        for start in range(0, batch.num_rows, rows_at_once):
            stop = min(start + rows_at_once, batch.num_rows)
            block = batch.rows(start, stop)
            if block.num_entries * numbers_per_entry <= _GATHERED_NUMBERS:
                margins = _margins_of_few(self.samples, block)
            else:
                margins = np.stack([sample._margins(block) for sample in self.samples], axis=1)
            yield slice(start, stop), margins

    def _mean_margins(self, batch: CSRBatch) -> NDArray[np.float64]:
        mean_margin = LOSSES[self.predictor_type].mean_margin
        mean = np.empty(batch.num_rows)
        for rows, margins in self.sample_margins(batch):
            mean[rows] = mean_margin(margins)
        return mean

    def _margins(self, batch: CSRBatch) -> NDArray[np.float64]:
        """Return the margin of each row by w0, w and V."""
        if batch.num_rows == 1:
            is_plain = self.field_weights is None
            return self._margin_of_row(batch) if is_plain else self._margin_of_block(batch)
        margins = np.empty(batch.num_rows)
        # Score rows in blocks, so that a large batch needs no more memory than a small one.
        entries_at_once = rows_at_once = max(1, _GATHERED_NUMBERS // self.num_factors)
        if self.field_weights is not None:
            entries_at_once = max(1, entries_at_once // _COPIES_BY_FIELD)
            rows_at_once = max(1, entries_at_once // len(self.field_weights.R))
        start = 0
        while start < batch.num_rows:
            limit = batch.indptr[start] + entries_at_once
            stop = int(np.searchsorted(batch.indptr, limit, side="right")) - 1
            stop = min(max(stop, start + 1), start + rows_at_once, batch.num_rows)
            margins[start:stop] = self._margin_of_block(batch.rows(start, stop))
            start = stop
        return margins

    def _margin_of_row(self, row: CSRBatch) -> NDArray[np.float64]:
        """Return what `_margin_of_block` does, faster because there is only one row."""
        x = row.values.astype(np.float64)
        linear = np.dot(self.w[row.indices], x)
        factors = self.V[row.indices] * x[:, np.newaxis]  # (num_entries, num_factors)
        total = factors.sum(axis=0)  # (num_factors,)
        pairwise = 0.5 * (np.dot(total, total) - np.vdot(factors, factors))
        return np.array([self.w0[0] + linear + pairwise])

    def _margin_of_block(self, batch: CSRBatch) -> NDArray[np.float64]:
        x = batch.values.astype(np.float64)
        linear = self.w[batch.indices] * x  # (num_entries,)
        factors = self.V[batch.indices] * x[:, np.newaxis]  # (num_entries, num_factors)
        if self.field_weights is None:
            return float(self.w0[0]) + _sum_up(linear, factors, batch)
        pairwise = self.field_weights.pairwise(factors, batch)
        return float(self.w0[0]) + sum_by_row(linear, batch) + pairwise

    def score(self, batch: CSRBatch) -> Float32Array:
        """Score each row: the margin for a regressor, its sigmoid for a classifier.

        Parameters
        ----------
        batch : CSRBatch
            n rows.

        Returns
        -------
        float32, shape (n,)

        Raises
        ------
        UserError
            If feature_dim differs.
        """
        return self.link(self.margin(batch))

    def link(self, margin: Float32Array) -> Float32Array:
        """Return the score of each margin: itself for a regressor, its sigmoid for a classifier."""
        return LOSSES[self.predictor_type].link(margin)

    def predicted_label(self, score: Float32Array) -> Float32Array | None:
        """Return the class of each score: 1.0 from 0.5 up, else 0.0; None for a regressor.

        The threshold is the built-in's (contract of its inference page, checked on its output).
        """
        if not LOSSES[self.predictor_type].is_classifier:
            return None
        return (score >= 0.5).astype(np.float32)


def _margins_of_few(models: Sequence[FMModel], batch: CSRBatch) -> NDArray[np.float64]:
    """Return the margins (n, S) of a few rows by S models, all of them at once."""
    x = batch.values.astype(np.float64)
    linear = np.empty((batch.num_entries, len(models)))
    factors = np.empty((batch.num_entries, len(models), models[0].num_factors))
    for place, model in enumerate(models):
        np.multiply(model.w[batch.indices], x, out=linear[:, place])
        np.multiply(model.V[batch.indices], x[:, np.newaxis], out=factors[:, place])
    bias = np.concatenate([model.w0 for model in models])  # (S,)
    return bias + _sum_up(linear, factors, batch)


def _sum_up(
    linear: NDArray[np.float64], factors: NDArray[np.float64], batch: CSRBatch
) -> NDArray[np.float64]:
    """Sum linear parts (num_entries, …) and factors (num_entries, …, num_factors) to (n, …)."""
    sums = sum_by_row(factors, batch)  # (n, …, num_factors)
    squares = sum_by_row(np.einsum("e...f,e...f->e...", factors, factors), batch)  # (n, …)
    pairwise = 0.5 * (np.einsum("n...f,n...f->n...", sums, sums) - squares)
    parts: NDArray[np.float64] = sum_by_row(linear, batch) + pairwise
    return parts


def sum_by_row(entries: NDArray[np.float64], batch: CSRBatch) -> NDArray[np.float64]:
    """Sum up what belongs to the entries of each row.

    Parameters
    ----------
    entries : float64, shape (num_entries, ...)
    batch : CSRBatch
        Which row each entry is in.

    Returns
    -------
    float64, shape (num_rows, ...)
        0 for an empty row.
    """
    if batch.num_rows == 1 and len(entries):
        return np.add.reduceat(entries, batch.indptr[:1], axis=0)  # the same, sooner
    sums = np.zeros((batch.num_rows, *entries.shape[1:]))
    filled = np.flatnonzero(np.diff(batch.indptr))
    if len(filled):
        # reduceat sums from each start to the next: empty rows must not be among the starts.
        sums[filled] = np.add.reduceat(entries, batch.indptr[filled], axis=0)
    return sums
