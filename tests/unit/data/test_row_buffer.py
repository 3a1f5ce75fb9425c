import numpy as np
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
