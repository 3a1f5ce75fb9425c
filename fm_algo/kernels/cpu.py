"""The CPU kernel: three passes over a mini-batch, compiled by Numba, parallel without locks.

1. By rows: S_r = Σ x_ri v_i, the margin and the residual.
2. Transpose: for each feature present, its (row, value) pairs. It depends on the data alone.
3. By columns: a feature's gradient and its optimiser update in one visit.

Each number is computed by one thread in one order, so that the result does not depend on how many
threads there are. What the passes wait for is memory: they fetch the parameters of features that
come soon while they work on the present one.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from fm_algo.hyperparameters import Hyperparameters
from fm_algo.kernels import threads
from fm_algo.kernels.adam import BETA1, BETA2, AdamConstants, bias_correction
from fm_algo.kernels.simd import (
    WIDTH,
    clip,
    load,
    prefetch,
    splat,
    square_root,
    store,
    total,
)
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array

_float32 = np.float32
_CACHE_LINE = 16  # in floats

# Pieces of work that threads take: small enough to share out, large enough to be worth taking.
_ROWS_A_PIECE = 32
_COLUMNS_A_PIECE = 128

# How far ahead parameters are fetched: about one memory access's time (measured, benchmarks/).
_ENTRIES_AHEAD = 16
_COLUMNS_AHEAD = 4

_MARGIN_ROWS = 4096
"""Rows scored at once by `margin`."""

_beta1, _beta2 = _float32(BETA1), _float32(BETA2)
_one_minus_beta1, _one_minus_beta2 = _float32(1 - BETA1), _float32(1 - BETA2)


class CPUKernel:
    """Mini-batch training with MXNet's lazy Adam; the formulas are `ReferenceKernel`'s.

    Parameters
    ----------
    model : FMModel
        Where training starts. Its arrays become the kernel's own and change with each step,
        save for V where num_factors is no multiple of the vector width.
    hyperparameters : Hyperparameters
        Rates, decay, clipping, threads and which parameter groups exist.

    Attributes
    ----------
    num_threads : int
        Threads in use.
    """

    def __init__(self, model: FMModel, hyperparameters: Hyperparameters) -> None:
        self.num_threads = threads.set_up(hyperparameters.num_threads)
        self._hyperparameters = hyperparameters
        self._constants = AdamConstants.of(hyperparameters)
        self._predictor_type = model.predictor_type
        self._num_factors = model.num_factors
        self._num_steps = 0

        feature_dim, width = model.feature_dim, -(-model.num_factors // WIDTH) * WIDTH
        self._w0, self._w, self._V = model.w0, model.w, model.V
        if width != model.num_factors:
            # The columns added stay 0: their gradient, and so their update, is 0.
            self._V = np.zeros((feature_dim, width), np.float32)
            self._V[:, : model.num_factors] = model.V
        # First and second moments of a feature side by side.
        self._w0_moments = np.zeros(2, np.float32)
        self._w_moments = np.zeros((feature_dim, 2), np.float32)
        self._V_moments = np.zeros((feature_dim, 2 * width), np.float32)
        self._slot_of_feature = np.full(feature_dim, -1, np.int32)

    def step(self, batch: CSRBatch) -> Float32Array:
        """Update the parameters once; return the margins from before, float32, (num_rows,)."""
        columns = _transpose(batch, self._slot_of_feature)
        margin, residual, factor_sums = self._forward(batch)
        self._num_steps += 1
        self._update_bias(residual)
        hyperparameters, constants = self._hyperparameters, self._constants
        correction = bias_correction(self._num_steps)
        _update_columns(
            columns.features, columns.starts, columns.rows, columns.values, residual, factor_sums,
            self._w, self._w_moments, self._V, self._V_moments,
            hyperparameters.use_linear,
            _float32(hyperparameters.linear_lr * correction), _float32(hyperparameters.linear_wd),
            _float32(hyperparameters.factors_lr * correction), _float32(hyperparameters.factors_wd),
            _float32(constants.rescale), _float32(constants.clip), _float32(constants.epsilon),
        )  # fmt: skip
        return margin

    def margin(self, batch: CSRBatch) -> Float32Array:
        """Margin of each row under the present parameters, float32, (num_rows,)."""
        starts = range(0, batch.num_rows, _MARGIN_ROWS)
        blocks = (batch.rows(start, min(start + _MARGIN_ROWS, batch.num_rows)) for start in starts)
        return np.concatenate([np.empty(0, np.float32), *(self._forward(b)[0] for b in blocks)])

    def model(self) -> FMModel:
        """Return the present parameters, not copied."""
        return FMModel(self._predictor_type, self._w0, self._w, self._V[:, : self._num_factors])

    def _forward(self, batch: CSRBatch) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Margin (n,), residual (n,) and factor sums (n, width) of each row."""
        n = batch.num_rows
        margin, residual = np.empty(n, np.float32), np.empty(n, np.float32)
        factor_sums = np.empty((n, self._V.shape[1]), np.float32)
        labels = np.zeros(n, np.float32) if batch.labels is None else batch.labels
        _forward_rows(
            batch.indptr, batch.indices, batch.values, labels,
            self._w0[0], self._w, self._V, self._predictor_type == "binary_classifier",
            margin, residual, factor_sums,
        )  # fmt: skip
        return margin, residual, factor_sums

    def _update_bias(self, residual: Float32Array) -> None:
        """One Adam step of the bias, by NumPy: it is a single number."""
        if not self._hyperparameters.use_bias:
            return
        constants, moments = self._constants, self._w0_moments
        gradient = constants.rescale * residual.sum(dtype=np.float64)
        gradient += self._hyperparameters.bias_wd * self._w0[0]
        gradient = min(max(gradient, -constants.clip), constants.clip)
        moments[0] = BETA1 * moments[0] + (1 - BETA1) * gradient
        moments[1] = BETA2 * moments[1] + (1 - BETA2) * gradient**2
        rate = self._hyperparameters.bias_lr * bias_correction(self._num_steps)
        self._w0[0] -= rate * moments[0] / (np.sqrt(moments[1]) + constants.epsilon)


@dataclass(frozen=True, slots=True)
class _Columns:
    """A mini-batch by columns.

    Column c is feature `features[c]`; its pairs are `starts[c]:starts[c + 1]` of rows and values.
    """

    features: Int32Array  # (num_columns,)
    starts: Int32Array  # (num_columns + 1,)
    rows: Int32Array  # (num_entries,)
    values: Float32Array  # (num_entries,)


def _transpose(batch: CSRBatch, slot_of_feature: Int32Array) -> _Columns:
    """Group the entries by feature, in order of first appearance; the scratch array is all −1."""
    entries = batch.num_entries
    features, starts = np.empty(entries, np.int32), np.empty(entries + 1, np.int32)
    rows, values = np.empty(entries, np.int32), np.empty(entries, np.float32)
    num_columns = _group_by_feature(
        batch.indptr, batch.indices, batch.values, slot_of_feature, features, starts, rows, values
    )
    return _Columns(features[:num_columns], starts[: num_columns + 1], rows, values)


@njit(nogil=True, cache=True)
def _group_by_feature(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    slot_of_feature: Int32Array,
    features: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    values_by_column: Float32Array,
) -> int:
    """Sort the entries by feature, by counting; return the number of columns."""
    num_columns = 0
    for e in range(len(indices)):
        feature = indices[e]
        slot = slot_of_feature[feature]
        if slot < 0:
            slot = num_columns
            slot_of_feature[feature] = slot
            features[slot] = feature
            starts[slot] = 0
            num_columns += 1
        starts[slot] += 1
    end = 0
    for c in range(num_columns):
        end += starts[c]
        starts[c] = end
    starts[num_columns] = end
    # Backwards, so that each column's pairs come out in the order of rows.
    for r in range(len(indptr) - 2, -1, -1):
        for e in range(indptr[r + 1] - 1, indptr[r] - 1, -1):
            slot = slot_of_feature[indices[e]]
            starts[slot] -= 1
            rows[starts[slot]] = r
            values_by_column[starts[slot]] = values[e]
    for c in range(num_columns):
        slot_of_feature[features[c]] = -1
    return num_columns


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def _forward_rows(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    labels: Float32Array,
    w0: np.float32,
    w: Float32Array,
    V: Float32Array,
    is_classifier: bool,
    margin: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
) -> None:
    """Pass 1. Pairwise part: ½ Σ_f (S_f² − Σ_i v_if² x_i²), Rendle 2010, lemma 3.1."""
    num_rows, width = factor_sums.shape
    w_column = w.reshape(-1, 1)
    zero = splat(_float32(0))
    for piece in prange((num_rows + _ROWS_A_PIECE - 1) // _ROWS_A_PIECE):
        last_row = min(num_rows, (piece + 1) * _ROWS_A_PIECE)
        last_entry = indptr[last_row]
        for r in range(piece * _ROWS_A_PIECE, last_row):
            linear = _float32(0)
            squares = zero
            for j in range(0, width, WIDTH):
                store(factor_sums, r, j, zero)
            for e in range(indptr[r], indptr[r + 1]):
                if e + _ENTRIES_AHEAD < last_entry:
                    ahead = indices[e + _ENTRIES_AHEAD]
                    prefetch(w_column, ahead, 0)
                    for j in range(0, width, _CACHE_LINE):
                        prefetch(V, ahead, j)
                i = indices[e]
                linear += w[i] * values[e]
                x = splat(values[e])
                for j in range(0, width, WIDTH):
                    term = x * load(V, i, j)
                    store(factor_sums, r, j, load(factor_sums, r, j) + term)
                    squares = squares + term * term
            pairwise = zero - squares
            for j in range(0, width, WIDTH):
                s = load(factor_sums, r, j)
                pairwise = pairwise + s * s
            m = w0 + linear + _float32(0.5) * total(pairwise)
            margin[r] = m
            if is_classifier:
                small = np.exp(-abs(m))  # never overflows
                score = (_float32(1) if m >= 0 else small) / (_float32(1) + small)
                residual[r] = score - labels[r]
            else:
                residual[r] = m - labels[r]


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def _update_columns(
    features: Int32Array,
    starts: Int32Array,
    rows: Int32Array,
    values: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
    w: Float32Array,
    w_moments: Float32Array,
    V: Float32Array,
    V_moments: Float32Array,
    use_linear: bool,
    linear_lr: np.float32,
    linear_wd: np.float32,
    factors_lr: np.float32,
    factors_wd: np.float32,
    rescale: np.float32,
    clip_limit: np.float32,
    epsilon: np.float32,
) -> None:
    """Pass 3. Gradient by v_if: Σ_r g_r x_ri S_rf − v_if Σ_r g_r x_ri²; then lazy Adam."""
    num_columns, width = len(features), V.shape[1]
    w_column = w.reshape(-1, 1)
    zero = splat(_float32(0))
    for piece in prange((num_columns + _COLUMNS_A_PIECE - 1) // _COLUMNS_A_PIECE):
        last_column = min(num_columns, (piece + 1) * _COLUMNS_A_PIECE)
        for c in range(piece * _COLUMNS_A_PIECE, last_column):
            if c + _COLUMNS_AHEAD < last_column:
                ahead = features[c + _COLUMNS_AHEAD]
                prefetch(w_column, ahead, 0)
                prefetch(w_moments, ahead, 0)
                for j in range(0, width, _CACHE_LINE):
                    prefetch(V, ahead, j)
                for j in range(0, 2 * width, _CACHE_LINE):
                    prefetch(V_moments, ahead, j)
            i = features[c]
            first_pair, last_pair = starts[c], starts[c + 1]

            linear = _float32(0)
            squares = _float32(0)
            for p in range(first_pair, last_pair):
                weighted = residual[rows[p]] * values[p]
                linear += weighted
                squares += weighted * values[p]
            if use_linear:
                g = rescale * linear + linear_wd * w[i]
                g = min(max(g, -clip_limit), clip_limit)
                m = _beta1 * w_moments[i, 0] + _one_minus_beta1 * g
                s = _beta2 * w_moments[i, 1] + _one_minus_beta2 * g * g
                w_moments[i, 0] = m
                w_moments[i, 1] = s
                w[i] -= linear_lr * m / (np.sqrt(s) + epsilon)

            for j in range(0, width, WIDTH):
                gradient = zero
                for p in range(first_pair, last_pair):
                    r = rows[p]
                    weighted = splat(residual[r] * values[p])
                    gradient = gradient + weighted * load(factor_sums, r, j)
                v = load(V, i, j)
                gradient = splat(rescale) * (gradient - v * splat(squares)) + splat(factors_wd) * v
                gradient = clip(gradient, splat(clip_limit))
                first = splat(_beta1) * load(V_moments, i, j)
                first = first + splat(_one_minus_beta1) * gradient
                second = splat(_beta2) * load(V_moments, i, width + j)
                second = second + splat(_one_minus_beta2) * gradient * gradient
                store(V_moments, i, j, first)
                store(V_moments, i, width + j, second)
                change = first / (square_root(second) + splat(epsilon))
                store(V, i, j, v - splat(factors_lr) * change)
