"""The passes of the GPU kernel, in Triton, over the parameter rows (see `parameters`).

A pass is one launch. No sum uses atomic operations: each has one order, so a card gives the same
bits again. Arrays of shape (ENTRIES,) hold entries or pairs, those of shape (FACTORS,) a slice of
the factors. Both sizes are powers of two, as Triton wants them.
"""

from typing import Any, NamedTuple

import triton
import triton.language as tl
from triton.language import constexpr

from fm_algo.training.gradient.gpu_updates import (
    ADAGRAD,
    ADAM,
    FTRL,
    ROWWISE_ADAGRAD,
    apply_rule,
    clipped,
    load_number,
    rate_correction,
    update_number,
)

NO_FEATURE = 2**31 - 1
"""Stands behind a mini-batch's entries in place of features; greater than any feature."""

TILE = 128
"""Sorted pairs per tile. A tile with pairs of one feature only is summed up ahead, so that no
program has to go through all pairs of a frequent feature."""

_NO_FEATURE = constexpr(NO_FEATURE)


@triton.jit
def forward_rows(
    chosen,  # int64 (num_rows,): rows of the data; -1 pads the mini-batch
    starts,  # int64 (num_rows + 1,): where each row's entries go
    indptr, indices, values, labels, row_weights,  # the data, CSR
    bias, parameters, stride, w_at, width,
    margin, residual, factor_sums, row_labels,  # out, by row
    keys, rows, weights,  # out, by entry: feature, row, value
    IS_CLASSIFIER: constexpr, HAS_VALUES: constexpr, HAS_WEIGHTS: constexpr,
    IS_TRAINING: constexpr, ENTRIES: constexpr, FACTORS: constexpr,
):  # fmt: skip
    """Pass 1, one program per row. Pairwise part: ½ Σ_f (S_f² − Σ_i v_if² x_i²), Rendle, lemma 3.1.

    In training it also lays out the entries for the sort, because it reads them anyway.
    """
    row = tl.program_id(0)
    source = tl.load(chosen + row)
    if source < 0:
        if IS_TRAINING:
            tl.store(residual + row, 0.0)
        return
    start = tl.load(starts + row)
    num_entries = (tl.load(starts + row + 1) - start).to(tl.int32)
    first = tl.load(indptr + source)
    indices, values = indices + first, values + first
    width = tl.multiple_of(width, 8)
    linear = tl.zeros((32,), tl.float32)
    for begin in range(0, num_entries, 32):
        at = begin + tl.arange(0, 32)
        is_entry = at < num_entries
        i = tl.load(indices + at, is_entry, other=0)
        w = tl.load(parameters + i.to(tl.int64) * stride + w_at, is_entry, other=0.0)
        if HAS_VALUES:
            x = tl.load(values + at, is_entry, other=0.0)
            w *= x
            if IS_TRAINING:
                tl.store(weights + start + at, x, is_entry)
        linear += w
        if IS_TRAINING:
            tl.store(keys + start + at, i, is_entry)
            tl.store(rows + start + at, i * 0 + row, is_entry)
    pairwise = 0.0
    for factor in range(0, width, FACTORS):
        factors = factor + tl.arange(0, FACTORS)
        is_factor = factors < width
        total, squares = _sums_of_row(
            indices, values, num_entries, parameters, stride, factors, is_factor,
            HAS_VALUES=HAS_VALUES, ENTRIES=ENTRIES, FACTORS=FACTORS,
        )  # fmt: skip
        pairwise += tl.sum(total * total - squares, axis=0)
        if IS_TRAINING:
            tl.store(factor_sums + row.to(tl.int64) * width + factors, total, is_factor)

    m = tl.load(bias) + tl.sum(linear, axis=0) + 0.5 * pairwise
    tl.store(margin + row, m)
    if IS_TRAINING:
        store_residual(
            m, row, source, labels, row_weights, residual, row_labels, IS_CLASSIFIER, HAS_WEIGHTS
        )


@triton.jit
def _sums_of_row(
    indices, values, num_entries, parameters, stride, factors, is_factor,
    HAS_VALUES: constexpr, ENTRIES: constexpr, FACTORS: constexpr,
):  # fmt: skip
    """Return Σ v x and Σ v² x² over a row's entries for a slice of the factors, (FACTORS,) each."""
    sums = tl.zeros((ENTRIES, FACTORS), tl.float32)
    squares = tl.zeros((ENTRIES, FACTORS), tl.float32)
    for begin in range(0, num_entries, ENTRIES):
        at = begin + tl.arange(0, ENTRIES)
        is_entry = at < num_entries
        i = tl.load(indices + at, is_entry, other=0).to(tl.int64)
        term = tl.load(
            parameters + i[:, None] * stride + factors[None, :],
            is_entry[:, None] & is_factor[None, :],
            other=0.0,
        )
        if HAS_VALUES:
            term *= tl.load(values + at, is_entry, other=0.0)[:, None]
        sums += term
        squares += term * term
    return tl.sum(sums, axis=0), tl.sum(squares, axis=0)


@triton.jit
def store_residual(
    margin, row, source, labels, row_weights, residual, row_labels,
    IS_CLASSIFIER: constexpr, HAS_WEIGHTS: constexpr,
):  # fmt: skip
    """Store the label of a row, and its score minus the label, multiplied by its weight."""
    label = tl.load(labels + source)
    tl.store(row_labels + row, label)
    difference = _score_of(margin, IS_CLASSIFIER) - label
    if HAS_WEIGHTS:
        difference *= tl.load(row_weights + source)
    tl.store(residual + row, difference)


@triton.jit
def _score_of(margin, IS_CLASSIFIER: constexpr):
    """Return the score of a margin."""
    if not IS_CLASSIFIER:
        return margin
    small = tl.exp(-tl.abs(margin))  # never overflows
    return tl.where(margin >= 0, 1.0, small) / (1.0 + small)


@triton.jit
def begin_step(
    chosen, margin, row_labels, row_weights, residual, num_rows,
    metric_sums,  # out, float64 (5,): as `fm_algo.training.metrics` names them, without the rows
    bias,  # w0 and its states
    num_steps,  # int64 (1,), counted up
    rates,  # out, float32 (2,): of w and V, at this step
    bias_lr, bias_wd, linear_lr, factors_lr,
    rescale, clip, epsilon, l1,
    IS_CLASSIFIER: constexpr, HAS_WEIGHTS: constexpr, USE_BIAS: constexpr, OPTIMIZER: constexpr,
    ROWS: constexpr,
):  # fmt: skip
    """Compute the step's single numbers in one program: metrics, count of steps, rates, bias."""
    gradient = tl.zeros((ROWS,), tl.float64)
    total_weight = tl.zeros((ROWS,), tl.float64)
    first = tl.zeros((ROWS,), tl.float64)  # cross entropy, or squares of errors
    second = tl.zeros((ROWS,), tl.float64)  # true positives, or absolute errors
    predicted_positives = tl.zeros((ROWS,), tl.float64)
    positives = tl.zeros((ROWS,), tl.float64)
    for begin in range(0, num_rows, ROWS):
        at = begin + tl.arange(0, ROWS)
        is_place = at < num_rows
        source = tl.load(chosen + at, is_place, other=-1)
        is_row = source >= 0
        weight = is_row.to(tl.float64)
        if HAS_WEIGHTS:
            weight = tl.load(row_weights + source, is_row, other=0.0).to(tl.float64)
        total_weight += weight
        m = tl.load(margin + at, is_place, other=0.0)
        y = tl.load(row_labels + at, is_place, other=0.0)
        gradient += tl.load(residual + at, is_place, other=0.0).to(tl.float64)
        if IS_CLASSIFIER:
            loss = tl.maximum(m, 0.0) - m * y + tl.log(1.0 + tl.exp(-tl.abs(m)))
            first += tl.where(is_row, loss, 0.0).to(tl.float64) * weight
            second += tl.where((m >= 0) & (y == 1), weight, 0.0)
            predicted_positives += tl.where(m >= 0, weight, 0.0)
            positives += tl.where(y == 1, weight, 0.0)
        else:
            error = tl.where(is_row, m.to(tl.float64) - y.to(tl.float64), 0.0)
            first += error * error * weight
            second += tl.abs(error) * weight
    tl.store(metric_sums, tl.sum(total_weight, axis=0))
    tl.store(metric_sums + 1, tl.sum(first, axis=0))
    tl.store(metric_sums + 2, tl.sum(second, axis=0))
    if IS_CLASSIFIER:
        tl.store(metric_sums + 3, tl.sum(predicted_positives, axis=0))
        tl.store(metric_sums + 4, tl.sum(positives, axis=0))

    step = tl.load(num_steps) + 1
    tl.store(num_steps, step)
    if OPTIMIZER == ADAM:
        correction = rate_correction(step)
        bias_lr *= correction
        linear_lr *= correction
        factors_lr *= correction
    tl.store(rates, linear_lr)
    tl.store(rates + 1, factors_lr)
    if USE_BIAS:
        theta, a, b = load_number(bias, OPTIMIZER)
        g = clipped(rescale * tl.sum(gradient, axis=0).to(tl.float32) + bias_wd * theta, clip)
        update_number(bias, theta, a, b, g, bias_lr, epsilon, l1, OPTIMIZER)


@triton.jit
def arrange_pairs(
    keys, order,  # sorted keys; where each stood before
    rows, weights, own_values, residual, factor_sums, width,
    pair_rows, pair_gradients, pair_values,  # out, in the order of keys: row, g x and x
    tile_factors,  # out, float32 (num_tiles, width): Σ g x S
    tile_sums,  # out, float32 (num_tiles, 2): Σ g x and Σ g x²
    HAS_VALUES: constexpr, BY_FIELD: constexpr,
    PAIRS: constexpr, FACTORS: constexpr, TILE: constexpr,
):  # fmt: skip
    """Put the pairs in sorted order, one program per tile; sum up a tile that has one feature.

    With BY_FIELD, S and the row in `pair_rows` are those of the entry, and x in `pair_values` is
    multiplied by what its field counts with itself: entries of a row meet other sums.
    """
    tile = tl.program_id(0)
    width = tl.multiple_of(width, 8)
    pairs = tile * TILE + tl.arange(0, TILE)
    is_pair = tl.load(keys + pairs) != _NO_FEATURE
    entry = tl.load(order + pairs)
    row = tl.load(rows + entry, is_pair, other=0)
    gradient = tl.load(residual + row, is_pair, other=0.0)
    squared = gradient
    if HAS_VALUES:
        x = tl.load(weights + entry, is_pair, other=0.0)
        gradient *= x
        if BY_FIELD:
            x = tl.load(own_values + entry, is_pair, other=0.0)
        squared = gradient * x
        tl.store(pair_values + pairs, x, is_pair)
    tl.store(pair_rows + pairs, entry if BY_FIELD else row, is_pair)
    tl.store(pair_gradients + pairs, gradient, is_pair)

    key = tl.load(keys + tile * TILE)
    if (key == _NO_FEATURE) | (key != tl.load(keys + tile * TILE + TILE - 1)):
        return
    tl.store(tile_sums + 2 * tile, tl.sum(gradient, axis=0))
    tl.store(tile_sums + 2 * tile + 1, tl.sum(squared, axis=0))
    for factor in range(0, width, FACTORS):
        factors = factor + tl.arange(0, FACTORS)
        is_factor = factors < width
        sums = tl.zeros((PAIRS, FACTORS), tl.float32)
        for begin in range(0, TILE, PAIRS):  # read again: other lanes have them
            part = tl.load(order + tile * TILE + begin + tl.arange(0, PAIRS))
            part_row = tl.load(rows + part)
            part_gradient = tl.load(residual + part_row)
            if HAS_VALUES:
                part_gradient *= tl.load(weights + part)
            place = part if BY_FIELD else part_row
            sums += part_gradient[:, None] * tl.load(
                factor_sums + place.to(tl.int64)[:, None] * width + factors[None, :],
                is_factor[None, :],
                other=0.0,
            )
        tl.store(
            tile_factors + tile.to(tl.int64) * width + factors, tl.sum(sums, axis=0), is_factor
        )


class _Column(NamedTuple):
    """The sorted pairs of a feature, which begin at `at`, and the arrays that they refer to."""

    at: Any
    key: Any
    keys: Any
    num_keys: Any
    pair_rows: Any
    pair_gradients: Any
    pair_values: Any
    factor_sums: Any
    tile_factors: Any
    tile_sums: Any
    width: Any


@triton.jit
def update_columns(
    keys, num_keys, pair_rows, pair_gradients, pair_values, factor_sums, tile_factors, tile_sums,
    parameters, stride, w_at, states_at, width, num_factors,
    rates, linear_wd, factors_wd, rescale, clip, epsilon, l1,
    OPTIMIZER: constexpr, USE_LINEAR: constexpr, HAS_VALUES: constexpr,
    KEYS: constexpr, PAIRS: constexpr, FACTORS: constexpr, TILE: constexpr,
):  # fmt: skip
    """Pass 3: a program updates the features whose pairs begin among its KEYS sorted pairs.

    Gradient by v_if: Σ_r g_r x_ri S_rf − v_if Σ_r g_r x_ri². Numbers that do not depend on the
    pairs are read ahead of them.
    """
    HAS_A: constexpr = (OPTIMIZER == ADAM) | (OPTIMIZER == ADAGRAD) | (OPTIMIZER == FTRL)
    HAS_B: constexpr = (OPTIMIZER == ADAM) | (OPTIMIZER == FTRL)
    width = tl.multiple_of(width, 8)
    begin = tl.program_id(0) * KEYS
    if tl.load(keys + begin) == _NO_FEATURE:
        return
    for at in range(begin, begin + KEYS):
        key = tl.load(keys + at, at < num_keys, other=_NO_FEATURE)
        before = tl.load(keys + at - 1, (at > 0) & (at < num_keys), other=-1)
        if (key != before) & (key != _NO_FEATURE):
            column = _Column(
                at, key, keys, num_keys, pair_rows, pair_gradients, pair_values,
                factor_sums, tile_factors, tile_sums, width,
            )  # fmt: skip
            own = parameters + key.to(tl.int64) * stride
            w, w_a, w_b = load_number(own + w_at, OPTIMIZER)
            row_state = 0.0
            if OPTIMIZER == ROWWISE_ADAGRAD:  # all factors share this state
                squares = _gradient_squares(
                    own, column, factors_wd, rescale, clip, HAS_VALUES, PAIRS, FACTORS, TILE
                )
                row_state = tl.load(own + w_at + 2) + squares / num_factors
                tl.store(own + w_at + 2, row_state)
            linear = 0.0
            for factor in range(0, width, FACTORS):
                factors = factor + tl.arange(0, FACTORS)
                is_factor = factors < width
                v = tl.load(own + factors, is_factor, other=0.0)
                a = tl.zeros((FACTORS,), tl.float32) + row_state
                b = tl.zeros((FACTORS,), tl.float32)
                if HAS_A:
                    a = tl.load(own + states_at + factors, is_factor, other=0.0)
                if HAS_B:
                    b = tl.load(own + states_at + width + factors, is_factor, other=0.0)
                sums, squares, linear = _sums_of_column(
                    column, factors, HAS_VALUES, PAIRS, FACTORS, TILE
                )
                g = clipped(rescale * (sums - v * squares) + factors_wd * v, clip)
                v, a, b = apply_rule(v, a, b, g, tl.load(rates + 1), epsilon, l1, OPTIMIZER)
                tl.store(own + factors, v, is_factor)
                if HAS_A:
                    tl.store(own + states_at + factors, a, is_factor)
                if HAS_B:
                    tl.store(own + states_at + width + factors, b, is_factor)
            if USE_LINEAR:
                g = clipped(rescale * linear + linear_wd * w, clip)
                update_number(own + w_at, w, w_a, w_b, g, tl.load(rates), epsilon, l1, OPTIMIZER)


@triton.jit
def _gradient_squares(
    own, column, factors_wd, rescale, clip,
    HAS_VALUES: constexpr, PAIRS: constexpr, FACTORS: constexpr, TILE: constexpr,
):  # fmt: skip
    """Return Σ_f g_f² of the factors that stand at `own`."""
    total = 0.0
    for factor in range(0, column.width, FACTORS):
        factors = factor + tl.arange(0, FACTORS)
        v = tl.load(own + factors, factors < column.width, other=0.0)
        sums, squares, _linear = _sums_of_column(column, factors, HAS_VALUES, PAIRS, FACTORS, TILE)
        g = clipped(rescale * (sums - v * squares) + factors_wd * v, clip)
        total += tl.sum(g * g, axis=0)
    return total


@triton.jit
def _sums_of_column(
    column, factors,
    HAS_VALUES: constexpr, PAIRS: constexpr, FACTORS: constexpr, TILE: constexpr,
):  # fmt: skip
    """Return Σ g x S (FACTORS,), Σ g x² and Σ g x of a column, for a slice of the factors."""
    key, keys, num_keys, width = column.key, column.keys, column.num_keys, column.width
    is_factor = factors < width
    sums = tl.zeros((PAIRS, FACTORS), tl.float32)
    linear = tl.zeros((PAIRS,), tl.float32)
    squares = tl.zeros((PAIRS,), tl.float32)
    place = column.at
    is_more = True
    while is_more:
        # First the whole tiles of this feature that come next, at most PAIRS of them.
        num_tiles = 0
        if place % TILE == 0:
            tiles = place // TILE + tl.arange(0, PAIRS)
            last = tiles * TILE + TILE - 1
            is_tile = tl.load(keys + last, last < num_keys, other=_NO_FEATURE) == key
            num_tiles = tl.sum(is_tile.to(tl.int32), axis=0)
            sums += tl.load(
                column.tile_factors + tiles.to(tl.int64)[:, None] * width + factors[None, :],
                is_tile[:, None] & is_factor[None, :],
                other=0.0,
            )
            linear += tl.load(column.tile_sums + 2 * tiles, is_tile, other=0.0)
            squares += tl.load(column.tile_sums + 2 * tiles + 1, is_tile, other=0.0)
        if num_tiles > 0:
            place += num_tiles * TILE
        else:  # single pairs, up to the next tile
            pairs = place + tl.arange(0, PAIRS)
            stop = (place // TILE + 1) * TILE
            is_pair = pairs < tl.minimum(stop, num_keys)
            is_pair = is_pair & (tl.load(keys + pairs, is_pair, other=_NO_FEATURE) == key)
            row = tl.load(column.pair_rows + pairs, is_pair, other=0).to(tl.int64)
            gradient = tl.load(column.pair_gradients + pairs, is_pair, other=0.0)
            sums += gradient[:, None] * tl.load(
                column.factor_sums + row[:, None] * width + factors[None, :],
                is_pair[:, None] & is_factor[None, :],
                other=0.0,
            )
            linear += gradient
            if HAS_VALUES:
                gradient *= tl.load(column.pair_values + pairs, is_pair, other=0.0)
            squares += gradient
            place = tl.minimum(place + PAIRS, stop)
        is_more = tl.load(keys + place, place < num_keys, other=_NO_FEATURE) == key
    return tl.sum(sums, axis=0), tl.sum(squares, axis=0), tl.sum(linear, axis=0)
