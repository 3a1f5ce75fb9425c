import numpy as np
import pytest

from fm_algo.data.formats.csv import CSVDecoder
from fm_algo.errors import UserError


def decode(data, *, feature_dim=3, labelled=True, label_size=1):
    decoder = CSVDecoder(feature_dim=feature_dim, labelled=labelled, label_size=label_size)
    first, last = decoder.feed(data), decoder.close()
    return type(first).join([first, last])


def test_the_label_is_the_first_column_and_zeros_are_not_stored():
    batch = decode(b"5,0.5,0,-2\n1,0,0,0.0\n")
    np.testing.assert_array_equal(batch.labels, np.array([5, 1], np.float32))
    np.testing.assert_array_equal(batch.indptr, [0, 2, 2])
    np.testing.assert_array_equal(batch.indices, [0, 2])
    np.testing.assert_array_equal(batch.values, [0.5, -2])
    dtypes = [batch.labels.dtype, batch.indptr.dtype, batch.indices.dtype, batch.values.dtype]
    assert dtypes == [np.float32, np.int64, np.int32, np.float32]
    assert batch.feature_dim == 3


def test_without_a_label_column_every_column_is_a_feature():
    batch = decode(b"5,0.5,0\n", labelled=False, label_size=0)
    assert batch.labels is None
    np.testing.assert_array_equal(batch.values, [5, 0.5])


def test_a_label_nobody_wants_is_dropped():
    batch = decode(b"5,0.5,0,1\n", labelled=False)
    assert batch.labels is None
    np.testing.assert_array_equal(batch.indices, [0, 2])


def test_labels_cannot_be_wanted_where_there_are_none():
    with pytest.raises(UserError, match=r"^text/csv;label_size=0 has no labels; training needs"):
        CSVDecoder(feature_dim=3, labelled=True, label_size=0)


@pytest.mark.parametrize(
    "text",
    [
        b"1,0.5,2,30\r\n",
        b" 1,\t0.5 , 2,30 \n",
        b'"1","0.5","2","30"\n',
        b'1,"0.5", "2" ," 30 "\n',
        b"+1,.5,2.,3e1",
        b"01,5E-1,2.0,3.0e+1",
        b"\xef\xbb\xbf1,0.5,2,30",
    ],
)
def test_numbers_may_be_written_in_many_ways(text):
    batch = decode(text)
    assert batch.labels.tolist() == [1]
    assert batch.values.tolist() == [0.5, 2, 30]


def test_numbers_are_rounded_once_to_float32():
    values = np.array([0.1, 1e-45, 3.4028234e38, 1 / 3], np.float32)
    text = ",".join(repr(float(value)) for value in values).encode()
    batch = decode(text, feature_dim=4, labelled=False, label_size=0)
    np.testing.assert_array_equal(batch.values, values)


def test_nothing_is_no_row():
    batch = decode(b"")
    assert (batch.num_rows, batch.num_entries, len(batch.labels)) == (0, 0, 0)


def test_one_feature_needs_its_number_on_every_line():
    assert decode(b"0\n7\n\n", feature_dim=1, labelled=False, label_size=0).num_rows == 2
    with pytest.raises(UserError, match=r"^line 2: blank"):
        decode(b"0\n\n7\n", feature_dim=1, labelled=False, label_size=0)


GOOD = b"1,2,3,4\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            b"1,2,3",
            "line 2: 3 columns, expected 4: 1 label (label_size) and 3 features (feature_dim)",
        ),
        (b"1,2,3,4,", "line 2: 5 columns, expected 4: 1 label"),
        (b"1;2;3;4", "line 2: 1 columns, expected 4"),
        (b"1,2,,4", "line 2: column 3: value '' of feature 1 is not a number"),
        (b",2,3,4", "line 2: column 1: label '' is not a number"),
        (b"yes,2,3,4", "line 2: column 1: label yes is not a number"),
        (b"1,2,3,a b", "line 2: column 4: value 'a b' of feature 2 is not a number"),
        (b"1,2,3,\xff\xfe", "line 2: column 4: value '��' of feature 2 is not a number"),
        (b"1,2,3," + b"x" * 99, f"line 2: column 4: value '{'x' * 40}…' of feature 2 is not"),
        (b"1,1_0,3,4", "line 2: column 2: value 1_0 of feature 0 is not a number"),
        (b"1,0x1,3,4", "line 2: column 2: value 0x1 of feature 0 is not a number"),
        (b'1,"2,3,4', "line 2: column 2: value '\"2' of feature 0 is not a number"),
        (b'1,2,3,"', "line 2: column 4: value '\"' of feature 2 is not a number"),
        (b"nan,2,3,4", "line 2: column 1: label nan is not a finite number"),
        (
            b"1,2,-Infinity,4",
            "line 2: column 3: value -Infinity of feature 1 is not a finite number",
        ),
        (b"1,2,1e999,4", "line 2: column 3: value 1e999 of feature 1 is not a finite number"),
        (b"1,2,1e39,4", "line 2: column 3: value 1e39 of feature 1 is too large for float32"),
    ],
)
def test_a_mistake_is_told_with_its_place(line, message):
    with pytest.raises(UserError) as raised:
        decode(GOOD + line + b"\n" + GOOD)
    assert message in raised.value.message
    assert "\n" not in raised.value.message


def test_a_header_is_told_how_to_be_dropped():
    with pytest.raises(UserError) as raised:
        decode(b"label,a,b,c\n" + GOOD)
    assert raised.value.message == (
        "line 1: column 1: label label is not a number; if line 1 is a header, drop it: "
        "tail -n +2 file.csv"
    )


@pytest.mark.parametrize("first", [b"", b"[1", b"?", b"nan", b"-inf", b'"0', b"\xff\xfe1"])
def test_what_is_no_name_is_not_taken_for_a_header(first):
    with pytest.raises(UserError) as raised:
        decode(first + b",2,3,4\n" + GOOD)
    assert "header" not in raised.value.message


@pytest.mark.parametrize("line", [1, 2])
def test_an_empty_field_is_told_what_to_write(line):
    with pytest.raises(UserError) as raised:
        decode(GOOD * (line - 1) + b"1,2,,4\n")
    assert raised.value.message == (
        f"line {line}: column 3: value '' of feature 1 is not a number; an empty field is not 0: "
        "write 0 if it is meant"
    )


def test_a_short_line_is_not_made_up_for_by_a_long_one():
    with pytest.raises(UserError, match=r"^line 1: 3 columns"):
        decode(b"1,2,3\n1,2,3,4,5\n")


def test_the_first_of_several_mistakes_is_reported():
    with pytest.raises(UserError, match=r"^line 2: 2 columns"):
        decode(GOOD + b"1,2\n\n1,2,3,x\n")
