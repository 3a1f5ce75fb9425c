"""Every number of a model, and every state, has one host that keeps it."""

import numpy as np
import pytest

from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.training.distributed.ownership import Ownership
from fm_algo.training.distributed.placement import FactorPlacement, RowPlacement, WritableColumns
from fm_algo.training.gradient.parameters import Layout

FEATURE_DIM = 101


def layout_of(num_factors, optimizer):
    chosen = {"feature_dim": FEATURE_DIM, "predictor_type": "regressor"}
    chosen |= {"num_factors": num_factors, "optimizer": optimizer}
    return Layout.of(parse_hyperparameters(chosen))


def by_feature(layout, num_hosts):
    return RowPlacement(layout, Ownership(FEATURE_DIM, num_hosts))


def by_factor(layout, num_hosts):
    return FactorPlacement(FEATURE_DIM, num_hosts, layout)


def numbers_kept(layout):
    """Columns of a row that are no padding."""
    k, w_at = layout.num_factors, layout.w_at
    states = [layout.states_at + n * layout.width + f for n in range(layout.num_v_states)
              for f in range(k)]  # fmt: skip
    return [*range(k), *range(w_at, layout.states_at), *states]


@pytest.mark.parametrize("place", [by_feature, by_factor])
@pytest.mark.parametrize(
    ("num_factors", "optimizer", "num_hosts"),
    [
        (16, "adam", 2),
        (27, "ftrl", 3),
        (64, "adam", 8),
        (30, "sgd", 3),
        (24, "adagrad", 1),
        (5, "adam", 2),
        (20, "ftrl", 7),
        (3, "sgd", 3),
    ],
)
def test_each_number_is_kept_once_and_found_again(place, num_factors, optimizer, num_hosts):
    layout = layout_of(num_factors, optimizer)
    placement = place(layout, num_hosts)
    whole = np.zeros((FEATURE_DIM, layout.stride), np.int64)
    for host in range(num_hosts):
        part = placement.part(host, 0, FEATURE_DIM, 0, layout.stride)
        whole[part.block] += 1
        # Of a smaller block the same numbers are found at the same places.
        own = np.full((FEATURE_DIM, layout.stride), -1)
        own[part.own] = np.arange(part.size).reshape(part.shape)
        expected = np.full((FEATURE_DIM, layout.stride), -1)
        expected[part.block] = np.arange(part.size).reshape(part.shape)
        smaller = placement.part(host, 20, 60, 3, layout.stride - 2)
        found = np.full((40, layout.stride - 5), -1)
        found[smaller.block] = own[smaller.own]
        np.testing.assert_array_equal(found, expected[20:60, 3:-2])
    assert (whole <= 1).all()
    assert (whole[:, numbers_kept(layout)] == 1).all()


@pytest.mark.parametrize("num_hosts", [1, 2, 3, 5, 8])
def test_factors_are_shared_out_in_whole_vectors(num_hosts):
    placement = by_factor(layout_of(61, "adam"), num_hosts)
    slices = [placement.factors(host) for host in range(num_hosts)]
    assert slices[0][0] == 0
    assert slices[-1][1] == 61
    assert [last for _, last in slices[:-1]] == [first for first, _ in slices[1:]]
    assert all(first % 8 == 0 and first < last for first, last in slices)


@pytest.mark.parametrize(("num_factors", "num_hosts"), [(5, 2), (9, 3), (61, 9), (3, 3)])
def test_fewer_vectors_than_hosts_are_cut(num_factors, num_hosts):
    placement = by_factor(layout_of(num_factors, "adam"), num_hosts)
    slices = [placement.factors(host) for host in range(num_hosts)]
    assert [last for _, last in slices] == [*(first for first, _ in slices[1:]), num_factors]
    lengths = {last - first for first, last in slices}
    assert lengths <= {num_factors // num_hosts, num_factors // num_hosts + 1}


@pytest.mark.parametrize("place", [by_feature, by_factor])
def test_what_is_written_to_all_rows_is_kept_by_its_host(place):
    layout = layout_of(24, "sgd")
    placement = place(layout, 3)
    features = np.arange(FEATURE_DIM, dtype=np.float32)
    w, V = np.zeros(FEATURE_DIM), np.zeros((FEATURE_DIM, 24))
    for host in range(3):
        own = np.zeros((FEATURE_DIM, layout.stride), np.float32)
        of_w = WritableColumns(own, placement, host, layout.w_at, layout.w_at + 1, is_flat=True)
        of_V = WritableColumns(own, placement, host, 0, 24)
        assert (of_w.shape, of_V.shape) == ((FEATURE_DIM,), (FEATURE_DIM, 24))
        of_w[10:90] = features[10:90]
        of_w[90:] = 7
        of_V[:] = features[:, np.newaxis] + np.arange(24, dtype=np.float32)
        part = placement.part(host, 0, FEATURE_DIM, 0, layout.stride)
        whole = np.zeros((FEATURE_DIM, layout.stride))
        whole[part.block] = own[part.own]
        w += whole[:, layout.w_at]
        V += whole[:, :24]
    np.testing.assert_array_equal(
        w, np.where(features < 10, 0, np.where(features < 90, features, 7))
    )
    np.testing.assert_array_equal(V, features[:, np.newaxis] + np.arange(24))
