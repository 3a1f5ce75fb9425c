"""Every feature has one owner, and each owner its share of the rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fm_algo.training.distributed.ownership import Ownership


@given(feature_dim=st.integers(1, 3000), num_hosts=st.integers(1, 17))
def test_rows_and_features_match_one_to_one(feature_dim, num_hosts):
    ownership = Ownership(feature_dim, num_hosts)
    owners, rows = ownership.find(np.arange(feature_dim, dtype=np.int32))

    found = set(zip(owners.tolist(), rows.tolist(), strict=True))
    expected = {(host, row) for host in range(num_hosts) for row in range(ownership.num_rows(host))}
    assert found == expected


@pytest.mark.parametrize("stride", [1, 2, 3, 16, 1000])
def test_features_at_regular_distances_are_spread(stride):
    """Such as blocks of hashed columns of which few are ever used."""
    ownership = Ownership(10_000_000, 8)
    owners, _ = ownership.find(np.arange(0, 8000 * stride, stride, dtype=np.int32))
    counts = np.bincount(owners, minlength=8)
    assert counts.min() > 800
    assert counts.max() < 1200


def test_the_highest_feature_number_has_a_row():
    ownership = Ownership(2**31 - 1, 3)
    owners, rows = ownership.find(np.array([0, 2**31 - 2], np.int32))
    assert all(
        row < ownership.num_rows(owner)
        for owner, row in zip(owners.tolist(), rows.tolist(), strict=True)
    )
