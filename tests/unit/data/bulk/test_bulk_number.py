import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from fm_algo.data.bulk.memory import pointer
from fm_algo.data.bulk.number import read_float32, read_index


@njit
def _read(text, is_index):
    if is_index:
        at, index = read_index(pointer(text), 0)
        return at, np.float32(index)
    return read_float32(pointer(text), 0)


def read(text, *, is_index=False):
    """Number and what follows it; None where there is none."""
    data = text.encode() + b"\n"
    at, number = _read(np.frombuffer(data, np.uint8), is_index)
    return None if at < 0 else (number, data[at:-1].decode())


def bits(number):
    return struct.pack("<f", number)


def assert_reads_right(text):
    number, rest = read(text)
    assert rest == ""
    assert bits(number) == bits(np.float32(float(text)))


NUMBERS = """
    0 -0 +0 00 0. .0 -.5 +.5 5. 1e5 1E5 1e+5 1e-5 1.5e-05 0e99999999999999999999 1e-45 7e-46
    16777217 16777219 9007199254740993 123456789012345678901234567890 0.1 -0.30000000000000004
    1e22 1e23 1.17549435e-38 1.401298464324817e-45 3.4028234663852886e38
    0.1000000000000000055511151231257827021181583404541015625
    0.00000000000000000000000000000000000000000000000000001
"""


@pytest.mark.parametrize("text", NUMBERS.split())
def test_a_number_is_read_as_python_and_numpy_read_it(text):
    assert_reads_right(text)


@pytest.mark.parametrize(
    "text", ["", "-", "+", ".", "-.", "e5", "x", "nan", "inf", " 1", "--1", "\r"]
)
@pytest.mark.parametrize("is_index", [False, True])
def test_what_is_no_number_is_not_read(text, is_index):
    assert read(text, is_index=is_index) is None


@pytest.mark.parametrize(
    "text", ["1e", "1e+", "1.e-x", "1e39", "-4e38", "9" * 60, "1e-99", "3.4028235677973362e38"]
)
def test_what_float32_or_this_reader_does_not_hold_is_not_read(text):
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "number", "rest"),
    [("1_0", 1, "_0"), ("1:2", 1, ":2"), ("1.5.5", 1.5, ".5"), ("12,", 12, ","), ("7 8", 7, " 8")],
)
def test_a_number_ends_where_it_can_not_go_on(text, number, rest):
    assert read(text) == (number, rest)


@pytest.mark.parametrize(
    ("text", "number", "rest"),
    [("0:", 0, ":"), ("0012:", 12, ":"), ("1.5", 1, ".5"), ("12345678901:", 1234567890, "1:")],
)
def test_an_index_has_ten_digits_at_most(text, number, rest):
    assert read(text, is_index=True) == (np.float32(number), rest)


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(-3e38, 3e38).filter(lambda x: x == 0 or abs(x) > 1e-40).map(repr)
    | st.decimals(-(10**9), 10**9, places=9).map(str)
    | st.integers(-(10**37), 10**37).map(str)
)
@settings(max_examples=500, deadline=None)
def test_numbers_of_any_length_are_rounded_right(text):
    assert_reads_right(text)


@given(st.integers(1, 0x7F000000), st.sampled_from([-1, 0, 1]), st.integers(1, 60))
@settings(max_examples=500, deadline=None)
def test_near_the_middle_of_two_float32_a_number_is_right_or_not_read(below, side, digits):
    low, high = (struct.unpack("<f", struct.pack("<I", n))[0] for n in (below, below + 1))
    middle = (Decimal(low) + Decimal(high)) / 2
    text = f"{middle + side * middle.scaleb(-digits):.{digits + 5}e}"
    found = read(text)
    assert found is None or bits(found[0]) == bits(np.float32(float(text)))
