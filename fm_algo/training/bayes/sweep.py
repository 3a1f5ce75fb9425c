"""All features once, class after class, each in parallel."""

import numpy as np

from fm_algo.runtime.jit import njit, prange
from fm_algo.runtime.simd import WIDTH
from fm_algo.sparse import Float32Array, Int32Array
from fm_algo.training.bayes.columns import Columns, Schedule
from fm_algo.training.bayes.feature_step import (
    Priors,
    RowState,
    Step,
    Work,
    add_change,
    apply_change,
    change_by_numbers,
    draw_noise,
    make_work,
    sum_rows,
)
from fm_algo.training.bayes.few_rows import change_by_rows


@njit(nogil=True, error_model="numpy", cache=True)
def _update_column(
    column: int,
    theta: Float32Array,
    columns: Columns,
    state: RowState,
    priors: Priors,
    groups: Int32Array,
    step: Step,
    work: Work,
) -> None:
    """Update one feature and its rows."""
    first, last = columns.starts[column], columns.starts[column + 1]
    feature = columns.features[column]
    own, group = theta[feature : feature + 1], groups[column]
    draw_noise(feature, last - first, step, work)
    if last - first <= step.num_factors:
        change_by_rows(first, last, own, columns, state, priors, group, step, work)
    else:
        sum_rows(first, last, own, columns, state, step.root_precision, work.panel, work.matrix)
        change_by_numbers(own, priors, group, step, work)
    apply_change(first, last, own, columns, state, work.change)
    add_change(own, work.change)


@njit(nogil=True, error_model="numpy", cache=True)
def _solve_wide(
    column: int,
    sums: Float32Array,
    theta: Float32Array,
    columns: Columns,
    priors: Priors,
    group: int,
    step: Step,
    work: Work,
) -> None:
    """Set work.change to a wide column's, of its pieces' sums, (n, width + 3, width)."""
    feature = columns.features[column]
    work.matrix[:] = sums[0]
    for piece in range(1, len(sums)):
        work.matrix[:] += sums[piece]
    draw_noise(feature, columns.starts[column + 1] - columns.starts[column], step, work)
    change_by_numbers(theta[feature : feature + 1], priors, group, step, work)


@njit(parallel=True, nogil=True, error_model="numpy", cache=True)
def update_features(
    theta: Float32Array,
    columns: Columns,
    schedule: Schedule,
    state: RowState,
    priors: Priors,
    groups: Int32Array,
    step: Step,
) -> None:
    """Update all features that have rows; theta is (feature_dim, stride), groups (num_columns,)."""
    width = state.factor_sums.shape[1]
    for number in range(len(schedule.class_tasks) - 1):
        first_wide, last_wide = schedule.class_wides[number], schedule.class_wides[number + 1]
        if first_wide < last_wide:
            first_piece = schedule.wide_pieces[first_wide]
            num_pieces = schedule.wide_pieces[last_wide] - first_piece
            sums = np.empty((num_pieces, width + 3, width), np.float32)
            changes = np.empty((last_wide - first_wide, width + WIDTH), np.float32)
            for piece in prange(num_pieces):
                work = make_work(width)
                first, last, column = schedule.piece_entries[first_piece + piece]
                feature = columns.features[column]
                sum_rows(
                    first, last, theta[feature : feature + 1], columns, state,
                    step.root_precision, work.panel, sums[piece],
                )  # fmt: skip
            for wide in prange(last_wide - first_wide):
                column = schedule.wide_columns[first_wide + wide]
                work = make_work(width)
                from_piece = schedule.wide_pieces[first_wide + wide] - first_piece
                to_piece = schedule.wide_pieces[first_wide + wide + 1] - first_piece
                _solve_wide(
                    column, sums[from_piece:to_piece], theta, columns,
                    priors, groups[column], step, work,
                )  # fmt: skip
                changes[wide] = work.change[0]
            for piece in prange(num_pieces):
                first, last, column = schedule.piece_entries[first_piece + piece]
                feature = columns.features[column]
                wide = np.searchsorted(schedule.wide_columns, column) - first_wide
                apply_change(
                    first, last, theta[feature : feature + 1], columns, state,
                    changes[wide : wide + 1],
                )  # fmt: skip
            for wide in range(last_wide - first_wide):
                feature = columns.features[schedule.wide_columns[first_wide + wide]]
                add_change(theta[feature : feature + 1], changes[wide : wide + 1])
        first_task = schedule.class_tasks[number]
        for task in prange(schedule.class_tasks[number + 1] - first_task):
            work = make_work(width)
            first_column, last_column = schedule.task_columns[first_task + task]
            for column in range(first_column, last_column):
                _update_column(column, theta, columns, state, priors, groups, step, work)
