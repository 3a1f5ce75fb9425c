import numpy as np
import pytest

from fm_algo.data.fields import MAX_FIELD, UNSEEN, KnownFields, LearntFields
from fm_algo.model import FMModel
from fm_algo.model.field_weights import FieldWeights
from fm_algo.sparse.feature_space import FeatureSpace


def int32(*numbers):
    return np.array(numbers, np.int32)


def learnt(*pairs, feature_dim=6):
    fields = LearntFields(feature_dim)
    for feature, field in pairs:
        assert fields.agree(int32(feature), int32(field))
    return fields


def test_nothing_is_known_before_the_first_row():
    fields = LearntFields(3)
    assert fields.table.tolist() == [-1, -1, -1]
    assert fields.table.dtype == np.int32
    assert fields.num_features == 0


def test_each_feature_gets_the_field_it_is_found_in():
    fields = LearntFields(6)
    assert fields.agree(int32(5, 0, 5, 2), int32(7, MAX_FIELD, 7, 0))
    assert fields.agree(int32(1, 5), int32(7, 7))
    assert fields.table.tolist() == [MAX_FIELD, 7, 0, -1, -1, 7]
    assert fields.num_features == 4


@pytest.mark.parametrize(
    ("features", "numbers"),
    [([5], [8]), ([1, 5], [3, 8]), ([1, 1], [3, 4]), ([1, 2, 1], [3, 3, 4])],
)
def test_what_does_not_agree_changes_nothing(features, numbers):
    fields = learnt((5, 7))
    assert not fields.agree(int32(*features), int32(*numbers))
    assert fields.table.tolist() == [-1, -1, -1, -1, -1, 7]


def test_no_entries_agree_with_anything():
    assert LearntFields(1).agree(int32(), int32())


def test_the_fields_found_are_named_by_their_numbers():
    space = learnt((0, 30), (1, 30), (2, 4), (3, 30), (4, 9), (5, 9)).finish()
    assert space.fields == ("4", "9", "30")
    assert space.firsts.tolist() == [0, 2, 3, 4]
    assert space.numbers.tolist() == [2, 0, 2, 1]
    assert space.feature_dim == 6
    assert (space.firsts.dtype, space.numbers.dtype) == (np.int64, np.int32)


def test_features_that_no_row_has_are_in_a_field_of_their_own():
    space = learnt((1, 0), (2, 3), (4, 0)).finish()
    assert space.fields == ("0", "3", UNSEEN)
    assert space.field_map().tolist() == [2, 0, 1, 2, 0, 2]
    assert LearntFields(2).finish().fields == (UNSEEN,)


def test_what_was_learnt_is_known_and_a_feature_never_seen_agrees_with_any_field():
    fields = KnownFields(learnt((1, 300), (2, 7), (4, 300)).finish())
    assert fields.table.tolist() == [-1, 300, 7, -1, 300, -1]
    assert fields.table.dtype == np.int32
    assert fields.agree(int32(1, 2, 0, 4, 0), int32(300, 7, 5, 300, 6))
    assert not fields.agree(int32(1, 2), int32(300, 300))
    assert fields.table.tolist() == [-1, 300, 7, -1, 300, -1]
    assert (fields.learns, LearntFields(1).learns) == (False, True)


@pytest.mark.parametrize(
    ("names", "table"),
    [
        (("user", "item"), [0, 0, 1]),
        (("5", "item"), [0, 0, 1]),
        (("5", "2"), [5, 5, 2]),
        (("5", str(MAX_FIELD + 1)), [0, 0, 1]),
    ],
)
def test_fields_with_other_names_are_known_by_their_place(names, table):
    fields = KnownFields(FeatureSpace.of_columns(names, np.array([0, 2]), 3))
    assert fields.table.tolist() == table
    assert fields.agree(int32(0, 1, 2), int32(*table))
    assert not fields.agree(int32(2), int32(table[0]))


def test_an_error_says_which_field_it_is_and_what_to_do():
    fields = learnt((1, 300), (2, 7))
    assert fields.describe(1).startswith("before, it was in field 300; a feature has one field: ")
    assert "interaction=all" in fields.describe(1)
    assert KnownFields(fields.finish()).describe(2) == "in the model, it is in field 7"


def test_a_model_has_fields_if_it_has_weights_of_them():
    arrays = np.zeros(1, np.float32), np.zeros(3, np.float32), np.zeros((3, 2), np.float32)
    assert KnownFields.of_model(FMModel("regressor", *arrays)) is None
    space = FeatureSpace.of_columns(("7", "9"), np.array([0, 1]), 3)
    weights = FieldWeights.of_ones(space)
    fields = KnownFields.of_model(FMModel("regressor", *arrays, field_weights=weights))
    assert fields.table.tolist() == [7, 9, 9]
