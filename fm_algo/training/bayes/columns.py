"""The training rows by feature, in an order in which features can be updated side by side.

Features that share no row are independent given the rest. They are put into classes, one after
another, each updated in parallel. A frequent feature's rows are cut into pieces, and its sums are
those of the pieces in their order: nothing depends on the number of threads.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fm_algo.runtime.jit import njit
from fm_algo.sparse import CSRBatch, Float32Array, Int32Array, Int64Array
from fm_algo.training.gradient.transpose import transpose

NUM_CLASSES = 64
"""Bits of a mask. What shares rows with all of them is updated in one more class, serially."""

PIECE_ROWS = 4096
"""Rows of a frequent feature summed at once."""

WIDE_ROWS = 2 * PIECE_ROWS
"""A feature with more rows than that is cut into pieces."""

_TASK_ROWS = 1024
_COLUMN_COST = 16  # what a feature costs beside its rows, in rows


class Columns(NamedTuple):
    """The features that have rows, class after class; in each the frequent ones first.

    Attributes
    ----------
    features : int32, shape (num_columns,)
        Feature of each column, ascending among a class's frequent ones and among its others.
    starts : int64, shape (num_columns + 1,)
        Where its rows begin.
    rows : int32, shape (num_entries,)
    values : float32, shape (num_entries,)
    """

    features: Int32Array
    starts: Int64Array
    rows: Int32Array
    values: Float32Array


class Schedule(NamedTuple):
    """What is done in which order; class c has the items `c`: `c + 1` of each list of starts.

    Attributes
    ----------
    class_tasks : int64, shape (num_classes + 1,)
    task_columns : int64, shape (num_tasks, 2)
        First and last column of what a thread does at once.
    class_wides : int64, shape (num_classes + 1,)
    wide_columns : int64, shape (num_wides,)
        Columns cut into pieces.
    wide_pieces : int64, shape (num_wides + 1,)
        Where a wide column's pieces start.
    piece_entries : int64, shape (num_pieces, 3)
        First and last entry of a piece, and its column.
    """

    class_tasks: Int64Array
    task_columns: Int64Array
    class_wides: Int64Array
    wide_columns: Int64Array
    wide_pieces: Int64Array
    piece_entries: Int64Array


def arrange(rows: CSRBatch, runs: Int64Array) -> tuple[Columns, Schedule]:
    """Find classes, and put the entries in their order.

    `runs` are the first features of runs of which no two features share a row: where 64 classes do
    for whole runs, there are no more of them than need be.
    """
    found = transpose(rows)
    counts = np.diff(found.starts).astype(np.int64)
    starts = found.starts.astype(np.int64)
    classes = _classes_of_runs(found.features, starts, found.rows, runs, rows.num_rows)
    if classes.max(initial=0) == NUM_CLASSES:
        classes = find_classes(starts, found.rows, _by_count(counts), rows.num_rows)
    is_small = counts <= WIDE_ROWS
    # What found no class is updated one after another: frequent ones in classes of their own.
    left = classes == NUM_CLASSES
    left_wide = left & ~is_small
    classes[left_wide] += np.arange(left_wide.sum())
    classes[left & is_small] += left_wide.sum()
    order = np.lexsort((found.features, is_small, classes))  # the last key is the first to sort by
    columns = _take(Columns(found.features, starts, found.rows, found.values), order)
    return columns, _schedule(classes[order], counts[order], left_wide.sum() + NUM_CLASSES)


def _by_count(counts: Int64Array) -> Int64Array:
    return np.argsort(-counts, kind="stable")


def _classes_of_runs(
    features: Int32Array, starts: Int64Array, rows: Int32Array, runs: Int64Array, num_rows: int
) -> Int64Array:
    """Give all columns of a run the same class; starts and rows are those of `features`."""
    firsts = np.append(np.searchsorted(features, runs), len(features))
    run_starts = starts[firsts]
    by_count = _by_count(np.diff(run_starts))
    return np.repeat(find_classes(run_starts, rows, by_count, num_rows), np.diff(firsts))


@njit(nogil=True, cache=True)
def find_classes(
    starts: Int64Array, rows: Int32Array, by_count: Int64Array, num_rows: int
) -> Int64Array:
    """Give each column, the most frequent first, the lowest class that is free in all its rows.

    Returns
    -------
    int64, shape (num_columns,)
        Its class; NUM_CLASSES where none was free.
    """
    taken = np.zeros(num_rows, np.uint64)
    classes = np.empty(len(by_count), np.int64)
    for column in by_count:
        mask = np.uint64(0)
        for p in range(starts[column], starts[column + 1]):
            mask |= taken[np.uint32(rows[p])]
        free, bit = 0, np.uint64(1)
        while free < NUM_CLASSES and mask & bit:
            free += 1
            bit = bit << np.uint64(1)
        classes[column] = free
        if free < NUM_CLASSES:
            for p in range(starts[column], starts[column + 1]):
                taken[np.uint32(rows[p])] |= bit
    return classes


def _take(columns: Columns, order: Int64Array) -> Columns:
    """Return the columns in another order."""
    lengths = np.diff(columns.starts)[order]
    starts = np.zeros(len(order) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    rows, values = np.empty_like(columns.rows), np.empty_like(columns.values)
    _copy_columns(columns, order, starts, rows, values)
    return Columns(columns.features[order], starts, rows, values)


@njit(nogil=True, cache=True)
def _copy_columns(
    columns: Columns,
    order: Int64Array,
    starts: Int64Array,
    rows: Int32Array,
    values: Float32Array,
) -> None:
    for place, column in enumerate(order):
        source = columns.starts[column]
        for p in range(starts[place], starts[place + 1]):
            rows[p] = columns.rows[source]
            values[p] = columns.values[source]
            source += 1


def _schedule(classes: Int64Array, counts: Int64Array, serial: int) -> Schedule:
    """Cut sorted columns into tasks and pieces; the class `serial` has no two tasks."""
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    tasks: list[NDArray[np.int64]] = []
    pieces: list[NDArray[np.int64]] = []
    wides: list[int] = []
    class_tasks, class_wides, wide_pieces = [0], [0], [0]
    num_tasks = num_pieces = 0
    bounds = np.searchsorted(classes, np.arange(int(classes.max(initial=-1)) + 2))
    for number, (first, last) in enumerate(
        zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ):
        for column in range(first, last):
            if counts[column] <= WIDE_ROWS:
                break
            cuts = np.arange(starts[column], starts[column + 1], PIECE_ROWS)
            ends = np.append(cuts[1:], starts[column + 1])
            pieces.append(np.stack([cuts, ends, np.full(len(cuts), column)], axis=1))
            num_pieces += len(cuts)
            wides.append(column)
            wide_pieces.append(num_pieces)
        class_wides.append(len(wides))
        narrow = first + class_wides[-1] - class_wides[-2]
        found = _tasks(counts, narrow, last, whole=number == serial)
        tasks.append(found)
        num_tasks += len(found)
        class_tasks.append(num_tasks)
    return Schedule(
        np.array(class_tasks, np.int64),
        np.concatenate([np.empty((0, 2), np.int64), *tasks]),
        np.array(class_wides, np.int64),
        np.array(wides, np.int64),
        np.array(wide_pieces, np.int64),
        np.concatenate([np.empty((0, 3), np.int64), *pieces]),
    )


def _tasks(counts: Int64Array, first: int, last: int, *, whole: bool) -> Int64Array:
    """Cut the columns first:last into tasks of about the same work, or leave them whole."""
    if first == last:
        return np.empty((0, 2), np.int64)
    work = np.cumsum(counts[first:last] + _COLUMN_COST)
    share = np.zeros(last - first, np.int64) if whole else work // _TASK_ROWS
    cuts = first + np.concatenate([[0], np.flatnonzero(np.diff(share)) + 1, [last - first]])
    return np.stack([cuts[:-1], cuts[1:]], axis=1).astype(np.int64)
