import numpy as np
import pytest

from fm_algo.sparse import CSRBatch
from fm_algo.training import row_sample
from fm_algo.training.row_sample import RowSample


def numbered(start, stop, width=1):
    """Rows whose labels are their numbers."""
    labels = np.arange(start, stop, dtype=np.float32)
    return CSRBatch.of(np.ones((stop - start, width), np.float32), labels)


def sample_of(blocks, seed=0):
    sample = RowSample(seed)
    for block in blocks:
        sample.add(block)
    return sample.rows()


def test_few_rows_are_all_kept_in_order():
    rows = sample_of([numbered(0, 10), numbered(10, 10), numbered(10, 30)])

    np.testing.assert_array_equal(rows.labels, np.arange(30))


def test_no_rows_are_no_sample():
    assert RowSample(0).rows() is None


@pytest.mark.parametrize("step", [7, 5000, 100_000])
def test_many_rows_are_sampled_evenly(monkeypatch, step):
    monkeypatch.setattr(row_sample, "MOST_ROWS", 1000)
    monkeypatch.setattr(row_sample, "_ROWS_AT_ONCE", 4096)

    rows = sample_of(numbered(at, min(at + step, 20_000)) for at in range(0, 20_000, step))

    assert rows.num_rows == 1000
    assert (np.diff(rows.labels) > 0).all()
    for quarter in np.split(np.arange(20_000), 4):
        assert np.isin(rows.labels, quarter).mean() == pytest.approx(0.25, abs=0.05)


def test_the_seed_decides(monkeypatch):
    monkeypatch.setattr(row_sample, "MOST_ROWS", 10)
    one, same, other = (sample_of([numbered(0, 999)], seed) for seed in (1, 1, 2))

    np.testing.assert_array_equal(one.labels, same.labels)
    assert not np.array_equal(one.labels, other.labels)


def test_wide_rows_make_a_smaller_sample(monkeypatch):
    monkeypatch.setattr(row_sample, "_MOST_ENTRIES", 50_000)

    assert sample_of([numbered(0, 2000, width=100)]).num_rows == 500
