"""What the GPU kernel does otherwise where pairs of fields have weights, in Triton.

The formulas are those of `field_passes`. A cell is a row and a field, whether the row has entries
of it or not. Cells stand in blocks of BLOCK_ROWS rows, and in a block field by field. So a block of
s is a matrix, (num_fields, BLOCK_ROWS * width), and t = R s is a product of matrices, as is the
gradient by R. `gpu_fields` leaves both to torch.

The entries of a row stand in the order of their fields. Arrays of shape (ENTRIES,) hold entries,
those of shape (FACTORS,) a slice of the factors.
"""

import triton
import triton.language as tl
from triton.language import constexpr

from fm_algo.training.gradient.gpu_passes import store_residual
from fm_algo.training.gradient.gpu_updates import (
    ADAM,
    clipped,
    load_number,
    rate_correction,
    store_number,
    updated_number,
)

BLOCK_ROWS = 32
"""Rows per block of cells."""

_BLOCK_ROWS = constexpr(BLOCK_ROWS)


@triton.jit
def sum_fields(
    chosen, indptr, indices, values,  # as `gpu_passes.forward_rows` takes them
    field_of,  # int32 (feature_dim,)
    num_fields, parameters, stride, width,
    first_row,  # of the piece, whose cells these are
    sums, within,  # out, by cell: s and h; 0 before
    HAS_VALUES: constexpr, ENTRIES: constexpr, FACTORS: constexpr,
):  # fmt: skip
    """Find s_f and h_f of each field of a row, one program per row of a piece of the mini-batch."""
    number = tl.program_id(0)
    source = tl.load(chosen + first_row + number)
    if source < 0:
        return
    first = tl.load(indptr + source)
    num_entries = (tl.load(indptr + source + 1) - first).to(tl.int32)
    indices, values = indices + first, values + first
    width = tl.multiple_of(width, 8)
    for begin in range(0, num_entries, ENTRIES):
        at = begin + tl.arange(0, ENTRIES)
        _i, field, is_first = _fields_of(at, at < num_entries, indices, field_of)
        cell = _cell_of(number, field, num_fields)
        pairs = tl.zeros((ENTRIES,), tl.float32)
        count = tl.zeros((ENTRIES,), tl.int32)
        for factor in range(0, width, FACTORS):
            factors = factor + tl.arange(0, FACTORS)
            is_factor = factors < width
            total, squares, count = _sums_of_fields(
                at, field, is_first, indices, values, num_entries, field_of,
                parameters, stride, factors, is_factor, HAS_VALUES, ENTRIES, FACTORS,
            )  # fmt: skip
            pairs += tl.sum(total * total - squares, axis=1)
            tl.store(
                sums + cell[:, None] * width + factors[None, :],
                total,
                is_first[:, None] & is_factor[None, :],
            )
        # Exactly 0 for a single entry, whatever the difference of squares is rounded to.
        tl.store(within + cell, tl.where(count > 1, 0.5 * pairs, 0.0), is_first)


@triton.jit
def _fields_of(at, is_entry, indices, field_of):
    """Return feature and field of a row's entries, and which of them begin a field."""
    i = tl.load(indices + at, is_entry, other=0)
    field = tl.load(field_of + i, is_entry, other=0)
    has_before = is_entry & (at > 0)
    before = tl.load(indices + at - 1, has_before, other=0)
    field_before = tl.load(field_of + before, has_before, other=-1)
    return i, field, is_entry & (field != field_before)


@triton.jit
def _cell_of(number, field, num_fields):
    """Return the number of a cell, int64, of a row of a piece."""
    block = (number // _BLOCK_ROWS).to(tl.int64)
    return (block * num_fields + field) * _BLOCK_ROWS + number % _BLOCK_ROWS


@triton.jit
def _sums_of_fields(
    at, field, is_first, indices, values, num_entries, field_of,
    parameters, stride, factors, is_factor,
    HAS_VALUES: constexpr, ENTRIES: constexpr, FACTORS: constexpr,
):  # fmt: skip
    """Return Σ v x and Σ v² x² (ENTRIES, FACTORS) of the fields that begin here, and how many."""
    sums = tl.zeros((ENTRIES, FACTORS), tl.float32)
    squares = tl.zeros((ENTRIES, FACTORS), tl.float32)
    count = tl.zeros((ENTRIES,), tl.int32)
    is_of = is_first
    is_more = True
    while is_more:  # the first entries of all fields, then the second ones, …
        i = tl.load(indices + at, is_of, other=0).to(tl.int64)
        term = tl.load(
            parameters + i[:, None] * stride + factors[None, :],
            is_of[:, None] & is_factor[None, :],
            other=0.0,
        )
        if HAS_VALUES:
            term *= tl.load(values + at, is_of, other=0.0)[:, None]
        sums += term
        squares += term * term
        count += is_of.to(tl.int32)
        at += 1
        is_of = is_of & (at < num_entries)
        following = tl.load(indices + at, is_of, other=0)
        is_of = is_of & (tl.load(field_of + following, is_of, other=-1) == field)
        is_more = tl.max(is_of.to(tl.int32), axis=0) > 0
    return sums, squares, count


@triton.jit
def weigh_fields(
    chosen, starts, indptr, indices, values, labels, row_weights, field_of, num_fields,
    bias, parameters, stride, w_at, width, first_row,
    weights_of_pairs,  # R, float32 (num_fields, num_fields)
    sums, weighted_sums, within,  # by cell: s, t and h
    margin, residual, row_labels,  # out, by row
    keys, rows, entry_values, own_values, entry_sums,  # out, by entry: feature, row, x, r_ff x, t
    IS_CLASSIFIER: constexpr, HAS_VALUES: constexpr, HAS_WEIGHTS: constexpr,
    IS_TRAINING: constexpr, ENTRIES: constexpr, FACTORS: constexpr,
):  # fmt: skip
    """Find the margin of each row of a piece, whose t are known now.

    Pairwise part: ½ Σ_f <s_f, t_f - r_ff s_f> + Σ_f r_ff h_f. In training it also lays out the
    entries for the sort. They take t along, so that the next piece may have the cells.
    """
    number = tl.program_id(0)
    row = first_row + number
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
    terms = tl.zeros((ENTRIES,), tl.float32)
    for begin in range(0, num_entries, ENTRIES):
        at = begin + tl.arange(0, ENTRIES)
        is_entry = at < num_entries
        i, field, is_first = _fields_of(at, is_entry, indices, field_of)
        cell = _cell_of(number, field, num_fields)
        r = tl.load(weights_of_pairs + field * (num_fields + 1), is_entry, other=0.0)
        x = tl.zeros((ENTRIES,), tl.float32) + 1.0
        if HAS_VALUES:
            x = tl.load(values + at, is_entry, other=0.0)
        terms += x * tl.load(parameters + i.to(tl.int64) * stride + w_at, is_entry, other=0.0)
        terms += r * tl.load(within + cell, is_first, other=0.0)
        if IS_TRAINING:
            tl.store(keys + start + at, i, is_entry)
            tl.store(rows + start + at, i * 0 + row, is_entry)
            tl.store(entry_values + start + at, x, is_entry)
            tl.store(own_values + start + at, r * x, is_entry)
        for factor in range(0, width, FACTORS):
            factors = factor + tl.arange(0, FACTORS)
            is_factor = factors < width
            is_read = is_entry[:, None] & is_factor[None, :]
            is_new = is_first[:, None] & is_factor[None, :]
            of_cell = cell[:, None] * width + factors[None, :]
            t = tl.load(weighted_sums + of_cell, is_read, other=0.0)
            s = tl.load(sums + of_cell, is_new, other=0.0)
            terms += 0.5 * tl.sum(s * (t - r[:, None] * s), axis=1)
            if IS_TRAINING:
                entry = (start + at).to(tl.int64)
                tl.store(entry_sums + entry[:, None] * width + factors[None, :], t, is_read)
    m = tl.load(bias) + tl.sum(terms, axis=0)
    tl.store(margin + row, m)
    if IS_TRAINING:
        store_residual(
            m, row, source, labels, row_weights, residual, row_labels, IS_CLASSIFIER, HAS_WEIGHTS
        )


@triton.jit
def update_pairs(
    by_pair,  # float32 (num_fields, num_fields): the gradient by R, of which f <= g is read
    pairs,  # the weights of the pairs and their states, of which both (f, g) and (g, f) stand there
    num_steps, num_fields, lr, wd, rescale, clip, epsilon, l1,
    OPTIMIZER: constexpr, PAIRS: constexpr,
):  # fmt: skip
    """Update the weights of those pairs of fields that have a gradient, PAIRS per program."""
    pair = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS)
    f = pair // num_fields
    g = pair % num_fields
    gradient = tl.load(by_pair + pair, (f < num_fields) & (f <= g), other=0.0)
    is_told = gradient != 0
    if OPTIMIZER == ADAM:
        lr *= rate_correction(tl.load(num_steps))
    theta, a, b = load_number(pairs + 3 * pair, OPTIMIZER, is_told)
    gradient = clipped(rescale * gradient + wd * theta, clip)
    theta, a, b = updated_number(theta, a, b, gradient, lr, epsilon, l1, OPTIMIZER)
    store_number(pairs + 3 * pair, theta, a, b, OPTIMIZER, is_told)
    store_number(pairs + 3 * (g * num_fields + f), theta, a, b, OPTIMIZER, is_told)
