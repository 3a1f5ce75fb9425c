import numpy as np
import pytest
from test_libsvm import rows

from fm_algo.data.fields import KnownFields, LearntFields
from fm_algo.data.formats.libffm import LibFFMDecoder
from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.errors import UserError
from fm_algo.sparse.feature_space import FeatureSpace


def decode(data, *, feature_dim=5, labelled=True, index_base=0, fields=None):
    decoder = LibFFMDecoder(
        feature_dim=feature_dim, labelled=labelled, index_base=index_base, fields=fields
    )
    first, last = decoder.feed(data), decoder.close()
    return type(first).join([first, last])


def test_a_line_is_a_label_and_entries_with_their_fields():
    batch = decode(b"5 7:0:1 65535:4:0.5\n1 0:2:-2\n")
    assert rows(batch) == [[(0, 1.0), (4, 0.5)], [(2, -2.0)]]
    assert batch.labels.tolist() == [5, 1]
    dtypes = [batch.labels.dtype, batch.indptr.dtype, batch.indices.dtype, batch.values.dtype]
    assert dtypes == [np.float32, np.int64, np.int32, np.float32]
    assert batch.feature_dim == 5


@pytest.mark.parametrize(
    "text",
    [
        b"1 9:0:2 1:3:4\r\n",
        b"1 9:0:2 1:3:4 \n",
        b"1\t9:0:2\t1:3:4",
        b"  1   9:0:2\t 1:3:4  ",
        b"+1 09:00:2. 1e0:3:.4e1",
        b"1 9:0:2 1:3:4 # 4:5",
        b"# made by a tool\n#\n1 9:0:2 1:3:4",
        b"\xef\xbb\xbf1 9:0:2 1:3:4",
    ],
)
def test_a_row_may_be_written_in_many_ways(text):
    for labelled in (True, False):
        fields = LearntFields(5)
        assert rows(decode(text, labelled=labelled, fields=fields)) == [[(0, 2.0), (3, 4.0)]]
        assert fields.table.tolist() == [9, -1, -1, 1, -1]


def test_duplicates_are_added_up():
    assert rows(decode(b"1 7:3:1 8:0:1 7:3:0.5\n")) == [[(3, 1.5), (0, 1.0)]]


def test_features_may_be_counted_from_1_and_fields_are_named_as_they_are():
    fields = LearntFields(5)
    batch = decode(b"1 0:1:2 1:5:3\n", index_base=1, fields=fields)
    assert rows(batch) == [[(0, 2.0), (4, 3.0)]]
    assert fields.table.tolist() == [0, -1, -1, -1, 1]


def test_rows_without_labels_and_empty_ones_are_as_in_libsvm():
    batch = decode(b"1 0:0:1\n\n0:3:1\n7\n", labelled=False)
    assert batch.labels is None
    assert rows(batch) == [[(0, 1.0)], [], [(3, 1.0)], []]
    with pytest.raises(UserError, match=r"^line 2: blank"):
        decode(b"1 0:0:1\n\n1 0:0:1\n")


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1 1:2", "1:2 has one colon, expected field:feature:value; this looks like libsvm, "
         "feature:value: the content type is text/libsvm"),
        (b"1 1:5:1", "feature 5 is outside [0, 5), the range feature_dim allows; if 1 is the first "
         "feature, the content type is text/libffm;index_base=1"),
        (b"1 1:6:1", "feature 6 is outside [0, 5), the range feature_dim allows"),
        (b"1 65536:1:1", "field 65536 is outside [0, 65536), the range of fields"),
        (b"1 -1:1:1", "field -1 is outside [0, 65536), the range of fields"),
        (b"1 1e30:1:1", "field 1e30 is outside [0, 65536), the range of fields"),
        (b"1 0.5:1:1", "field 0.5 is not a whole number"),
        (b"1 user:1:1", "field user is not a number"),
        (b"1 :1:1", "field '' is not a number"),
        (b"1 nan:1:1", "field nan is not a finite number"),
        (b"1 1::1", "feature '' is not a number"),
        (b"1 1:1.5:1", "feature 1.5 is not a whole number"),
        (b"1 1:1:", "value '' of feature 1 is not a number"),
        (b"1 1:2:3:4", "value 3:4 of feature 2 is not a number"),
        (b"1 1:2:nan", "value nan of feature 2 is not a finite number"),
        (b"1 0:1:3e38 0:1:3e38", "the values of feature 1, which stands more than once in a row, "
         "add up to more than a float32 holds"),
        (b"1 2 1:3:4", "2 has no colon, expected field:feature:value"),
        (b"1 qid:7 1:3:4", "qid:7 is for ranking, expected field:feature:value"),
        (b"yes 1:3:4", "label yes is not a number"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(line, message, labelled):
    for end in (b"", b"\n", b"\n1 0:0:1\n", b"\n1 0:77:1\n"):
        with pytest.raises(UserError) as raised:
            decode(b"1 0:0:1\n" + line + end, labelled=labelled)
        assert raised.value.message == f"line 2: {message}"


def test_a_row_to_train_on_needs_a_label():
    with pytest.raises(UserError) as raised:
        decode(b"1 0:0:1\n0:0:1\n")
    assert raised.value.message == (
        "line 2: no label, expected label field:feature:value field:feature:value …"
    )


def test_libffm_under_the_name_of_libsvm_is_noticed():
    with pytest.raises(UserError, match=r"^line 1: value 3:1 of feature 0 .* looks like libffm, "):
        LibSVMDecoder(feature_dim=5, labelled=True).feed(b"1 0:3:1 1:4:1\n")


ADVICE = (
    "a feature has one field: number the features of each field apart, or train with "
    "interaction=all, which ignores fields"
)


@pytest.mark.parametrize("line", [b"1 3:2:1 9:1:1", b"1 9:1:1 x"])
@pytest.mark.parametrize("base", [0, 1])
def test_a_feature_in_two_fields_is_told_with_its_line_and_both_fields(line, base):
    for start in (b"1 7:1:1\n# x\n1 7:1:2\n", b"1 7:1:1\n" * 2 + b"1 # x\n"):
        with pytest.raises(UserError) as raised:
            decode(start + line + b"\n", index_base=base, fields=LearntFields(5))
        assert raised.value.message == (
            f"line 4: feature 1 is in field 9; before, it was in field 7; {ADVICE}"
        )


def test_a_feature_in_two_fields_of_a_row_is_refused_too():
    with pytest.raises(
        UserError, match=r"^line 1: feature 1 is in field 9; before, it was in field 7;"
    ):
        decode(b"1 7:1:1 9:1:1\n", fields=LearntFields(5))


def test_fields_are_compared_with_those_of_a_model():
    space = FeatureSpace(("3", "7", "unseen"), np.array([0, 2, 4]), np.array([0, 1, 2]), 5)
    fields = KnownFields(space)
    batch = decode(b"3:0:1 7:2:1 9:4:1\n", labelled=False, fields=fields)
    assert rows(batch) == [[(0, 1.0), (2, 1.0), (4, 1.0)]]
    for end in (b"", b" # x"):
        with pytest.raises(UserError) as raised:
            decode(b"3:0:1\n7:1:1" + end, labelled=False, fields=fields)
        assert raised.value.http_status == 400
        assert raised.value.message == (
            "line 2: feature 1 is in field 7; in the model, it is in field 3"
        )


def test_without_fields_to_compare_a_feature_may_be_in_two():
    assert rows(decode(b"1 7:1:1\n1 9:1:2\n")) == [[(1, 1.0)], [(1, 2.0)]]
