"""The CPU kernel: three passes over a mini-batch, compiled by Numba, parallel without locks.

1. By rows: S_r = Σ x_ri v_i, the margin and the residual.
2. Transpose: for each feature present, its (row, value) pairs. It depends on the data alone.
3. By columns: a feature's gradient and its optimiser update in one visit.

Each number is computed by one thread in one order, so that the result does not depend on how many
threads there are. What the passes wait for is memory. So all numbers of a feature stand side by
side in one row of `parameters`, on cache lines of its own::

    v (width) | first moments of v (width) | second moments of v (width) | w, its two moments | 0 …

and the passes ask for the rows of features that come soon while they work on the present one.
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
_RADIX_BITS = 11  # a digit's counts fit the first-level cache

# Pieces of work that threads take: small enough to share out, large enough to be worth taking.
_ROWS_A_PIECE = 32
_COLUMNS_A_PIECE = 128

# How far ahead parameters are fetched: about one memory access's time (measured, benchmarks/).
_ENTRIES_AHEAD = 16
_COLUMNS_AHEAD = 8

_Triples = tuple[Int32Array, Int32Array, Float32Array]  # feature, row, value

_MARGIN_ROWS = 4096
"""Rows scored at once by `margin`."""

_beta1, _beta2 = _float32(BETA1), _float32(BETA2)
_one_minus_beta1, _one_minus_beta2 = _float32(1 - BETA1), _float32(1 - BETA2)


class CPUKernel:
    """Mini-batch training with MXNet's lazy Adam; the formulas are `ReferenceKernel`'s.

    Parameters
    ----------
    model : FMModel
        Where training starts; copied.
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

        # Columns beyond num_factors stay 0: their gradient, and so their update, is 0.
        self._width = -(-model.num_factors // WIDTH) * WIDTH
        self._w0, self._w0_moments = model.w0.copy(), np.zeros(2, np.float32)
        self._parameters = _aligned_zeros(model.feature_dim, 3 * self._width + 3)
        self._parameters[:, : model.num_factors] = model.V
        self._parameters[:, 3 * self._width] = model.w

    def step(self, batch: CSRBatch) -> Float32Array:
        """Update the parameters once; return the margins from before, float32, (num_rows,)."""
        columns = _transpose(batch)
        margin, residual, factor_sums = self._forward(batch)
        self._num_steps += 1
        self._update_bias(residual)
        hyperparameters, constants = self._hyperparameters, self._constants
        correction = bias_correction(self._num_steps)
        _update_columns(
            columns.features, columns.starts, columns.rows, columns.values, residual, factor_sums,
            self._parameters, hyperparameters.use_linear,
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
        w, V = self._parameters[:, 3 * self._width], self._parameters[:, : self._num_factors]
        return FMModel(self._predictor_type, self._w0, w, V)

    def _forward(self, batch: CSRBatch) -> tuple[Float32Array, Float32Array, Float32Array]:
        """Margin (n,), residual (n,) and factor sums (n, width) of each row."""
        n = batch.num_rows
        margin, residual = np.empty(n, np.float32), np.empty(n, np.float32)
        factor_sums = np.empty((n, self._width), np.float32)
        labels = np.zeros(n, np.float32) if batch.labels is None else batch.labels
        _forward_rows(
            batch.indptr, batch.indices, batch.values, labels,
            self._w0[0], self._parameters, self._predictor_type == "binary_classifier",
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


def _aligned_zeros(num_rows: int, row_floats: int) -> Float32Array:
    """Rows of zeros, each on cache lines of its own."""
    stride = -(-row_floats // _CACHE_LINE) * _CACHE_LINE
    memory = np.zeros(num_rows * stride + _CACHE_LINE, np.float32)
    first = -(memory.ctypes.data // 4) % _CACHE_LINE
    return memory[first : first + num_rows * stride].reshape(num_rows, stride)


def _transpose(batch: CSRBatch) -> _Columns:
    """Group the entries by feature, features and each one's rows in ascending order."""
    entries = batch.num_entries
    features, starts = np.empty(entries, np.int32), np.empty(entries + 1, np.int32)
    source = (
        np.empty(entries, np.int32),
        np.empty(entries, np.int32),
        np.empty(entries, np.float32),
    )
    target = (
        np.empty(entries, np.int32),
        np.empty(entries, np.int32),
        np.empty(entries, np.float32),
    )
    num_columns, rows, values = _sort_by_feature(
        batch.indptr,
        batch.indices,
        batch.values,
        max(batch.feature_dim - 1, 1).bit_length(),
        source,
        target,
        features,
        starts,
    )
    return _Columns(features[:num_columns], starts[: num_columns + 1], rows, values)


@njit(nogil=True, cache=True)
def _digit_places(indices: Int32Array, feature_bits: int) -> tuple[Int32Array, int]:
    """Where the first feature of each digit's value goes, (num_digits, 2^bits); bits of a digit."""
    num_digits = (feature_bits + _RADIX_BITS - 1) // _RADIX_BITS
    digit_bits = (feature_bits + num_digits - 1) // num_digits
    mask = (1 << digit_bits) - 1
    places = np.zeros((num_digits, mask + 1), np.int32)
    for feature in indices:
        for digit in range(num_digits):
            places[digit, (feature >> (digit * digit_bits)) & mask] += 1
    for digit in range(num_digits):
        place = np.int32(0)
        for value in range(mask + 1):
            count = places[digit, value]
            places[digit, value] = place
            place += count
    return places, digit_bits


@njit(nogil=True, cache=True)
def _sort_by_feature(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    feature_bits: int,
    source: _Triples,
    target: _Triples,
    features: Int32Array,
    starts: Int32Array,
) -> tuple[int, Int32Array, Float32Array]:
    """Radix sort of (feature, row, value), lowest digit first: stable, so rows stay in order.

    Returns the number of columns, and rows and values by column.
    """
    places, digit_bits = _digit_places(indices, feature_bits)
    mask = (1 << digit_bits) - 1
    sorted_features, rows, sorted_values = source
    for r in range(len(indptr) - 1):
        for e in range(indptr[r], indptr[r + 1]):
            place = places[0, indices[e] & mask]
            places[0, indices[e] & mask] += 1
            sorted_features[place] = indices[e]
            rows[place] = r
            sorted_values[place] = values[e]
    for digit in range(1, len(places)):
        next_features, next_rows, next_values = target
        for e in range(len(indices)):
            value = (sorted_features[e] >> (digit * digit_bits)) & mask
            place = places[digit, value]
            places[digit, value] += 1
            next_features[place] = sorted_features[e]
            next_rows[place] = rows[e]
            next_values[place] = sorted_values[e]
        target = (sorted_features, rows, sorted_values)
        sorted_features, rows, sorted_values = next_features, next_rows, next_values

    num_columns = 0
    for e in range(len(indices)):
        if e == 0 or sorted_features[e] != sorted_features[e - 1]:
            features[num_columns] = sorted_features[e]
            starts[num_columns] = e
            num_columns += 1
    starts[num_columns] = len(indices)
    return num_columns, rows, sorted_values


@njit(parallel=True, nogil=True, fastmath=True, error_model="numpy", cache=True)
def _forward_rows(
    indptr: Int64Array,
    indices: Int32Array,
    values: Float32Array,
    labels: Float32Array,
    w0: np.float32,
    parameters: Float32Array,
    is_classifier: bool,
    margin: Float32Array,
    residual: Float32Array,
    factor_sums: Float32Array,
) -> None:
    """Pass 1. Pairwise part: ½ Σ_f (S_f² − Σ_i v_if² x_i²), Rendle 2010, lemma 3.1."""
    num_rows, width = factor_sums.shape
    w_at = 3 * width
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
                    for j in range(0, width, _CACHE_LINE):
                        prefetch(parameters, ahead, j)
                    prefetch(parameters, ahead, w_at)
                i = indices[e]
                linear += parameters[i, w_at] * values[e]
                x = splat(values[e])
                for j in range(0, width, WIDTH):
                    term = x * load(parameters, i, j)
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
    parameters: Float32Array,
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
    num_columns, width = len(features), factor_sums.shape[1]
    first_at, second_at, w_at = width, 2 * width, 3 * width
    zero = splat(_float32(0))
    for piece in prange((num_columns + _COLUMNS_A_PIECE - 1) // _COLUMNS_A_PIECE):
        last_column = min(num_columns, (piece + 1) * _COLUMNS_A_PIECE)
        for c in range(piece * _COLUMNS_A_PIECE, last_column):
            if c + _COLUMNS_AHEAD < last_column:
                ahead = features[c + _COLUMNS_AHEAD]
                for j in range(0, w_at + 3, _CACHE_LINE):
                    prefetch(parameters, ahead, j)
            i = features[c]
            first_pair, last_pair = starts[c], starts[c + 1]

            linear = _float32(0)
            squares = _float32(0)
            for p in range(first_pair, last_pair):
                weighted = residual[rows[p]] * values[p]
                linear += weighted
                squares += weighted * values[p]
            if use_linear:
                value = parameters[i, w_at]
                g = rescale * linear + linear_wd * value
                g = min(max(g, -clip_limit), clip_limit)
                m = _beta1 * parameters[i, w_at + 1] + _one_minus_beta1 * g
                s = _beta2 * parameters[i, w_at + 2] + _one_minus_beta2 * g * g
                parameters[i, w_at] = value - linear_lr * m / (np.sqrt(s) + epsilon)
                parameters[i, w_at + 1] = m
                parameters[i, w_at + 2] = s

            for j in range(0, width, WIDTH):
                gradient = zero
                for p in range(first_pair, last_pair):
                    r = rows[p]
                    weighted = splat(residual[r] * values[p])
                    gradient = gradient + weighted * load(factor_sums, r, j)
                v = load(parameters, i, j)
                gradient = splat(rescale) * (gradient - v * splat(squares)) + splat(factors_wd) * v
                gradient = clip(gradient, splat(clip_limit))
                first = splat(_beta1) * load(parameters, i, first_at + j)
                first = first + splat(_one_minus_beta1) * gradient
                second = splat(_beta2) * load(parameters, i, second_at + j)
                second = second + splat(_one_minus_beta2) * gradient * gradient
                store(parameters, i, first_at + j, first)
                store(parameters, i, second_at + j, second)
                change = first / (square_root(second) + splat(epsilon))
                store(parameters, i, j, v - splat(factors_lr) * change)
