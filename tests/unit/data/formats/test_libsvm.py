import numpy as np
import pytest

from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.errors import UserError


def decode(data, *, feature_dim=5, labelled=True, index_base=0):
    decoder = LibSVMDecoder(feature_dim=feature_dim, labelled=labelled, index_base=index_base)
    first, last = decoder.feed(data), decoder.close()
    return type(first).join([first, last])


def rows(batch):
    return [
        list(
            zip(
                batch.rows(row, row + 1).indices.tolist(),
                batch.rows(row, row + 1).values.tolist(),
                strict=True,
            )
        )
        for row in range(batch.num_rows)
    ]


def test_a_line_is_a_label_and_entries():
    batch = decode(b"5 0:1 4:0.5\n1 2:-2\n")
    assert rows(batch) == [[(0, 1.0), (4, 0.5)], [(2, -2.0)]]
    assert batch.labels.tolist() == [5, 1]
    dtypes = [batch.labels.dtype, batch.indptr.dtype, batch.indices.dtype, batch.values.dtype]
    assert dtypes == [np.float32, np.int64, np.int32, np.float32]
    assert batch.feature_dim == 5


@pytest.mark.parametrize(
    "text",
    [
        b"1 0:2 3:4\r\n",
        b"1 0:2 3:4 \n",
        b"1 0:2 3:4 \r\n",
        b"1\t0:2\t3:4",
        b"  1   0:2\t 3:4  ",
        b"+1 00:2. 3:.4e1",
        b"1 0:2 3:4 # 4:5",
        b"1 0:2 3:4#",
        b"# made by a tool\n#\n1 0:2 3:4",
        b"\xef\xbb\xbf1 0:2 3:4",
    ],
)
def test_a_row_may_be_written_in_many_ways(text):
    for labelled in (True, False):
        assert rows(decode(text, labelled=labelled)) == [[(0, 2.0), (3, 4.0)]]


def test_a_zero_is_stored_and_duplicates_are_added_up():
    assert rows(decode(b"1 3:0\n")) == [[(3, 0.0)]]
    assert rows(decode(b"1 3:1 0:1 3:0.5\n")) == [[(3, 1.5), (0, 1.0)]]


def test_features_need_no_order():
    assert rows(decode(b"1 3:1 0:2\n")) == [[(3, 1.0), (0, 2.0)]]


def test_a_label_alone_is_an_empty_row():
    batch = decode(b"1\n2 0:1\n3\n")
    assert rows(batch) == [[], [(0, 1.0)], []]
    assert batch.labels.tolist() == [1, 2, 3]


def test_blank_lines_may_only_follow_labelled_rows():
    assert decode(b"1 0:1\n\n\n").num_rows == 1
    with pytest.raises(UserError, match=r"^line 2: blank"):
        decode(b"1 0:1\n\n1 0:1\n")


def test_without_labels_every_line_is_a_row():
    assert rows(decode(b"\n0:1\n\n3:1\n  \n", labelled=False)) == [[], [(0, 1)], [], [(3, 1)], []]
    assert decode(b"\n", labelled=False).num_rows == 1
    assert decode(b"0:1\n", labelled=False).num_rows == 1
    assert decode(b"", labelled=False).num_rows == 0


def test_labels_nobody_wants_are_dropped_and_may_come_and_go():
    batch = decode(b"1 0:1\n3:1\n7\n", labelled=False)
    assert batch.labels is None
    assert rows(batch) == [[(0, 1.0)], [(3, 1.0)], []]


def test_a_comment_line_is_no_row_but_an_indented_comment_stands_in_an_empty_one():
    assert rows(decode(b"# x\n0:1\n # y\n", labelled=False)) == [[(0, 1.0)], []]


def test_features_may_be_counted_from_1():
    assert rows(decode(b"1 1:2 5:3\n", index_base=1)) == [[(0, 2.0), (4, 3.0)]]


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"1 5:1", "feature 5 is outside [0, 5), the range feature_dim allows; if 1 is the first "
         "feature, the content type is text/libsvm;index_base=1"),
        (b"1 6:1", "feature 6 is outside [0, 5), the range feature_dim allows"),
        (b"1 -1:1", "feature -1 is outside [0, 5), the range feature_dim allows"),
        (b"1 99999999999999999999:1", "feature 99999999999999999999 is outside [0, 5), the range "
         "feature_dim allows"),
        (b"1 1.5:1", "feature 1.5 is not a whole number"),
        (b"1 a:1", "feature a is not a number"),
        (b"1 :1", "feature '' is not a number"),
        (b"1 1:", "value '' of feature 1 is not a number"),
        (b"1 1: 2", "value '' of feature 1 is not a number"),
        (b"1 1:2:3", "value 2:3 of feature 1 is not a number; this looks like libffm, "
         "field:feature:value: the content type is text/libffm"),
        (b"1 7:2:3", "feature 7 is outside [0, 5), the range feature_dim allows; this looks like "
         "libffm, field:feature:value: the content type is text/libffm"),
        (b"1 1:2:3:4", "value 2:3:4 of feature 1 is not a number"),
        (b"1 1:x", "value x of feature 1 is not a number"),
        (b"1 1:nan", "value nan of feature 1 is not a finite number"),
        (b"1 1:1e39", "value 1e39 of feature 1 is too large for float32"),
        (b"1 1:3e38 1:3e38", "the values of feature 1, which stands more than once in a row, add "
         "up to more than a float32 holds"),
        (b"1 2 3:4", "2 has no colon, expected feature:value"),
        (b"1 3:4 2", "2 has no colon, expected feature:value"),
        (b"1 qid:7 3:4", "qid:7 is for ranking, expected feature:value"),
        (b"yes 3:4", "label yes is not a number"),
        (b"1,2 3:4", "label '1,2' is not a number"),
        (b"inf 3:4", "label inf is not a finite number"),
        (b"-4e38 3:4", "label -4e38 is too large for float32"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(line, message, labelled):
    for end in (b"", b"\n", b"\n1 0:1\n", b"\n1 77:1\n"):
        with pytest.raises(UserError) as raised:
            decode(b"1 0:1\n" + line + end, labelled=labelled)
        assert raised.value.message == f"line 2: {message}"


def test_under_index_base_1_there_is_no_feature_0_and_the_message_says_why():
    for name in (b"0", b"6"):
        with pytest.raises(UserError) as raised:
            decode(b"1 1:1\n1 " + name + b":1\n", index_base=1)
        assert raised.value.message == (
            f"line 2: feature {name.decode()} is outside [1, 6), the range feature_dim allows "
            "under index_base=1"
        )


def test_a_row_to_train_on_needs_a_label():
    with pytest.raises(UserError) as raised:
        decode(b"1 0:1\n0:1\n")
    assert raised.value.message == "line 2: no label, expected label feature:value feature:value …"
    with pytest.raises(UserError, match=r"^line 2: no label"):
        decode(b"1 0:1\n # a comment only\n1 0:1\n")
