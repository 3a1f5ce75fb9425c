import numpy as np

from fm_algo.sparse.feature_space import FeatureSpace


def test_a_column_is_one_run():
    space = FeatureSpace.of_columns(("user", "item"), np.array([0, 3]), 5)

    assert space.field_of(np.array([0, 2, 3, 4], np.int32)).tolist() == [0, 0, 1, 1]
    assert space.field_map().tolist() == [0, 0, 0, 1, 1]


def test_a_field_may_lie_in_many_runs():
    space = FeatureSpace.of_map(("0", "1", "2"), np.array([1, 1, 0, 1, 2, 2], np.int32))

    assert space.firsts.tolist() == [0, 2, 3, 4]
    assert space.numbers.tolist() == [1, 0, 1, 2]
    assert space.field_map().tolist() == [1, 1, 0, 1, 2, 2]
    assert space.field_of(np.array([5, 3, 0], np.int32)).tolist() == [2, 1, 1]
