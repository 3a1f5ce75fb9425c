import numpy as np
import pytest

from fm_algo.data.formats.number import parse_number, parse_numbers, shown
from fm_algo.sparse import to_float32

LARGEST = float(np.finfo(np.float32).max)
ROUNDS_TO_LARGEST = np.nextafter(2.0**128 - 2.0**103, 0)


def test_numbers_are_read_all_at_once():
    numbers = parse_numbers(b" 1,-2.5\t,3e2\r,0")
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, [1, -2.5, 300, 0])


@pytest.mark.parametrize(
    "text",
    [b"1,", b",", b"1,,2", b"x", b"+1", b".5", b"1.", b"01", b"nan", b"1e999", b'"1"', b"[1]"],
)
def test_what_json_does_not_know_is_left_to_the_careful_way(text):
    assert parse_numbers(text) is None


def test_both_ways_read_the_same_number():
    for text in (b"0.1", b"-1e-320", b"9007199254740993", b"2.2250738585072011e-308"):
        (number,) = parse_numbers(text)
        assert number == parse_number(text)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"", "is not a number"),
        (b"1_000", "is not a number"),
        (b"0x1p3", "is not a number"),
        (b"1\0", "is not a number"),
        ("١".encode(), "is not a number"),  # a digit, but not of ASCII
        (b"nan", "is not a finite number"),
        (b"-INF", "is not a finite number"),
        (b"1e400", "is not a finite number"),
        (repr(2.0**128 - 2.0**103).encode(), "is too large for float32"),
    ],
)
def test_what_is_no_float32_is_an_error(text, cause):
    with pytest.raises(ValueError, match=f"^{cause}$"):
        parse_number(text)


@pytest.mark.parametrize("number", [LARGEST, -LARGEST, ROUNDS_TO_LARGEST])
def test_what_rounds_to_a_float32_is_one(number):
    assert parse_number(repr(float(number)).encode()) == number
    assert np.isfinite(to_float32(np.array([number]))).all()


def test_rounding_to_infinity_gives_no_warning():
    assert to_float32(np.array([2.0**128 - 2.0**103])).tolist() == [np.inf]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1e5", "1e5"),
        (b"", "''"),
        (b"a b", "'a b'"),
        (b"a\nb\r\0", r"'a\nb\r\x00'"),
        (b"\xff", "'\N{REPLACEMENT CHARACTER}'"),
        ("\N{LINE SEPARATOR}".encode(), r"'\u2028'"),
        (b"x" * 40, "x" * 40),
        (b"x" * 41, f"'{'x' * 40}…'"),
    ],
)
def test_text_is_shown_in_one_short_line(text, expected):
    assert shown(text) == expected
