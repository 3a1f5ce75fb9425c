import itertools
import threading
import time
from itertools import chain

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.sparse import CSRBatch
from fm_algo.training.gradient.mini_batches import CachedRows, StreamedRows


def numbered(first, count):
    """Rows told apart by their label; row n has n % 3 entries of value n."""
    numbers = np.arange(first, first + count)
    lengths = numbers % 3
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    indices = np.concatenate([[*range(length)] for length in lengths] or [[]]).astype(np.int32)
    values = np.repeat(numbers, lengths).astype(np.float32)
    return CSRBatch(indptr, indices, values, numbers.astype(np.float32), 3)


def hyperparameters(size, *, shuffle, seed=0):
    return parse_hyperparameters(
        {
            "feature_dim": 3,
            "num_factors": 1,
            "predictor_type": "regressor",
            "mini_batch_size": size,
            "shuffle": shuffle,
            "seed": seed,
        }
    )


def labels_of(batches):
    return [batch.labels.astype(int).tolist() for batch in batches]


def flat(batches):
    return [label for labels in labels_of(batches) for label in labels]


def assert_whole(batches):
    """Each row still has its own entries."""
    for batch in batches:
        lengths = np.diff(batch.indptr)
        assert (lengths == batch.labels % 3).all()
        assert (batch.values == np.repeat(batch.labels, lengths)).all()


sources = st.tuples(
    st.lists(st.integers(0, 9), max_size=12),  # blocks as they come
    st.integers(1, 12),  # mini_batch_size
    st.sampled_from([0, 100, 400, 10**6]),  # buffer_bytes
)


def streamed(counts, size, buffer_bytes, **changes):
    starts = np.cumsum([0, *counts])[:-1]
    blocks = [numbered(start, count) for start, count in zip(starts, counts, strict=True)]
    chosen = hyperparameters(size, **changes)
    return StreamedRows(lambda _epoch: iter(blocks), chosen, buffer_bytes)


@settings(deadline=None)
@given(sources, st.booleans())
def test_a_stream_gives_each_row_once_in_full_mini_batches(described, shuffle):
    counts, size, buffer_bytes = described
    batches = list(streamed(counts, size, buffer_bytes, shuffle=shuffle).mini_batches(0))
    assert sorted(flat(batches)) == [*range(sum(counts))]
    assert_whole(batches)
    sizes = [batch.num_rows for batch in batches]
    assert all(count == size for count in sizes[:-1])
    if not shuffle:
        assert flat(batches) == [*range(sum(counts))]


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.booleans())
def test_cached_rows_give_each_row_once_in_full_mini_batches(count, size, shuffle):
    source = CachedRows(numbered(0, count), hyperparameters(size, shuffle=shuffle))
    batches = list(source.mini_batches(0))
    assert sorted(flat(batches)) == [*range(count)]
    assert_whole(batches)
    assert [batch.num_rows for batch in batches[:-1]] == [size] * (len(batches) - 1)


@pytest.mark.parametrize("make", ["cached", "streamed"])
def test_orders_repeat_by_seed_and_epoch_and_differ_otherwise(make):
    def order(seed, epoch):
        if make == "cached":
            chosen = hyperparameters(10, shuffle=True, seed=seed)
            return flat(CachedRows(numbered(0, 100), chosen).mini_batches(epoch))
        return flat(streamed([50, 50], 10, 10**6, shuffle=True, seed=seed).mini_batches(epoch))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_without_shuffling_a_stream_needs_no_buffer():
    taken = []

    def read(_epoch):
        for start in range(0, 100, 10):
            taken.append(start)
            yield numbered(start, 10)

    batches = StreamedRows(read, hyperparameters(10, shuffle=False), 10**9).mini_batches(0)
    next(batches)
    time.sleep(0.3)
    assert len(taken) <= 1 + 1 + 1  # taken, ready, and one in hand
    batches.close()


def test_closing_a_stream_early_ends_its_thread():
    def read(_epoch):
        for start in itertools.count(0, 10):
            yield numbered(start, 10)

    before = set(threading.enumerate())  # of other tests, some may be about to end
    batches = StreamedRows(read, hyperparameters(10, shuffle=True), 10**4).mini_batches(0)
    next(batches)
    batches.close()
    assert set(threading.enumerate()) <= before


def test_epochs_may_come_in_any_order_where_the_next_one_is_drawn_ahead():
    chosen = msgspec.structs.replace(hyperparameters(4, shuffle=True), epochs=3)

    def orders(epochs):
        source = CachedRows(numbered(0, 9), chosen, np.ndarray.tolist)
        return {epoch: [*source.mini_batches(epoch)] for epoch in epochs}

    assert orders([0, 1, 2]) == orders([2, 0, 1]) == orders([1, 1, 2, 0])
    assert sorted(chain(*orders([1])[1])) == list(range(9))
