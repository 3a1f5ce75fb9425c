import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.data.row_buffer import RowBuffer
from fm_algo.sparse import CSRBatch


def numbered(first, count):
    """Rows told apart by their label; row n has n % 3 entries of value n."""
    numbers = np.arange(first, first + count)
    lengths = numbers % 3
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = np.concatenate([[*range(length)] for length in lengths] or [[]]).astype(np.int32)
    values = np.repeat(numbers, lengths).astype(np.float32)
    return CSRBatch(indptr, indices, values, numbers.astype(np.float32), 3)


def flat(batches):
    return [int(label) for batch in batches for label in batch.labels]


def test_what_is_left_of_a_buffer_stays():
    buffer = RowBuffer(3)
    buffer.append(numbered(0, 10))
    assert flat([buffer.take(7)]) == [*range(7)]
    buffer.append(numbered(10, 3))
    rest = buffer.take(buffer.num_rows)
    assert flat([rest]) == [*range(7, 13)]
    lengths = np.diff(rest.indptr)
    assert (lengths == rest.labels % 3).all()
    assert (rest.values == np.repeat(rest.labels, lengths)).all()
    assert buffer.num_rows == 0


@given(st.lists(st.integers(0, 9), max_size=12))
def test_a_buffer_holds_what_was_put_in(counts):
    buffer = RowBuffer(3)
    start = 0
    for count in counts:
        buffer.append(numbered(start, count))
        start += count
    rows, expected = buffer.take(buffer.num_rows), numbered(0, start)
    for name in ("indptr", "indices", "values", "labels"):
        assert getattr(rows, name).tolist() == getattr(expected, name).tolist()
        assert getattr(rows, name).dtype == getattr(expected, name).dtype


def weighted(first, count):
    """As `numbered`; row n weighs n / 2."""
    rows = numbered(first, count)
    return dataclasses.replace(rows, weights=rows.labels / np.float32(2))


def test_a_buffer_keeps_weights():
    buffer = RowBuffer(3)
    buffer.append(weighted(0, 5))
    buffer.append(weighted(5, 5))
    assert buffer.num_bytes == weighted(0, 10).num_bytes - 8
    assert buffer.take(4).weights.tolist() == [0, 0.5, 1, 1.5]
    buffer.append(weighted(10, 2))
    assert buffer.take(8).weights.tolist() == [2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5]


@pytest.mark.parametrize("is_first", [True, False])
def test_beside_weighted_rows_others_weigh_1(is_first):
    buffer = RowBuffer(3)
    batches = [numbered(0, 3), weighted(4, 2)]
    for batch in batches if is_first else batches[::-1]:
        buffer.append(batch)
    expected = [1, 1, 1, 2, 2.5] if is_first else [2, 2.5, 1, 1, 1]
    assert buffer.take(5).weights.tolist() == expected


def test_a_buffer_of_rows_without_weights_has_none():
    buffer = RowBuffer(3)
    buffer.append(numbered(0, 3))
    assert buffer.take(2).weights is None
