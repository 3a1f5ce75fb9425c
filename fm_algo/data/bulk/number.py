"""Read numbers from text in their usual form; compiled.

`fm_algo.data.formats.number` defines what numbers mean and how they round. It also accepts forms
that this module does not read.

Text ends with an LF. No function here steps over an LF, so none reads beyond the text.
"""

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.bulk.memory import int64
from fm_algo.runtime.jit import njit

UInt8Array = NDArray[np.uint8]

LINE_FEED, CARRIAGE_RETURN, TAB, SPACE = b"\n\r\t "
_PLUS, _MINUS, _POINT, _SMALL_E, _ZERO, _NINE = b"+-.e09"
_TO_SMALL = 0x20

_MAX_INDEX_DIGITS = 10
"""Most digits of a feature number: the largest int32 has as many."""

_CUT = np.uint64(10**18)
"""From here on, a mantissa takes no further digit: it might exceed 64 bits."""

_EXACT_MANTISSA, _EXACT_POWER = np.uint64(1 << 53), 22
"""Up to these, a double holds the mantissa and the power of ten without rounding."""

_MAX_POWER = 60
_POWERS = np.array([float(f"1e{power}") for power in range(_MAX_POWER + 1)])
"""Powers of ten, each the nearest double."""

_MAX_EXPONENT = 10_000
"""Exponents are capped here: so far out, even adding the number of digits changes nothing."""

_MARGIN = 2.0**-50


@njit(nogil=True, cache=True)
def read_float32(text: UInt8Array, at: int) -> tuple[int, np.float32]:
    """Read a finite float32.

    Parameters
    ----------
    text : pointer to uint8
        Holds an LF at or after `at`.
    at : int
        Where the number begins.

    Returns
    -------
    at : int
        Where the number ends. Below 0: there is no number, it is too large, or it lies so near the
        middle between two float32 that only exact arithmetic can decide. The last happens about
        once in 10^8 numbers of 17 digits.
    number : float32
        The nearest double, rounded to float32, as Python and NumPy read the text.

    Notes
    -----
    Clinger, "How to read floating point numbers accurately", PLDI 1990: if mantissa and power are
    exact as doubles, one operation gives the nearest double. Otherwise the error of three roundings
    (mantissa, power and product) and of the digits cut off is below 4 · 2^-53, and the error of the
    nearest double is 2^-53. Rounding to float32 is monotonic: if both ends of a wider interval
    round to the same number, so does the nearest double.
    """
    if _is_digit(text[at]) and text[at + 1] < _POINT:  # a single digit, as in flags
        return at + 1, np.float32(text[at] - _ZERO)
    is_negative = text[at] == _MINUS
    if is_negative or text[at] == _PLUS:
        at += 1
    at, mantissa, exponent, is_cut = _read_mantissa(text, at)
    if at >= 0 and text[at] | _TO_SMALL == _SMALL_E:
        at, power = _read_exponent(text, at + 1)
        exponent += power
    if at < 0:
        return -1, np.float32(0)
    number = _scale(mantissa, exponent, is_cut)
    if not np.isfinite(number):
        return -1, number
    return at, -number if is_negative else number


@njit(nogil=True, cache=True)
def _read_mantissa(text: UInt8Array, at: int) -> tuple[int, np.uint64, int, bool]:
    """Return where digits, with or without a point, end (-1 if there are none), and their meaning.

    The meaning is the number of the first 19 digits or fewer, the power of ten to multiply it
    with, and whether digits were left out.
    """
    first = at
    at, mantissa, num_taken = _read_digits(text, at, np.uint64(0))
    num_digits = at - first
    exponent = num_digits - num_taken
    if text[at] == _POINT:
        first = at + 1
        at, mantissa, num_more = _read_digits(text, first, mantissa)
        exponent -= num_more
        num_taken += num_more
        num_digits += at - first
    return (at if num_digits else -1), mantissa, exponent, num_taken < num_digits


@njit(nogil=True, cache=True)
def _read_digits(text: UInt8Array, at: int, mantissa: np.uint64) -> tuple[int, np.uint64, int]:
    """Return where digits end, the mantissa with digits appended, and how many were appended."""
    num_taken = 0
    while _is_digit(text[at]):
        if mantissa < _CUT:
            mantissa = mantissa * np.uint64(10) + np.uint64(text[at] - _ZERO)
            num_taken += 1
        at += 1
    return at, mantissa, num_taken


@njit(nogil=True, cache=True)
def _scale(mantissa: np.uint64, exponent: int, is_cut: bool) -> np.float32:
    """Multiply with a power of ten; return inf or nan if the result is uncertain or too large."""
    if mantissa == 0:
        return np.float32(0)
    if abs(exponent) > _MAX_POWER:
        return np.float32(np.nan)
    double = np.float64(mantissa)
    double = double * _POWERS[exponent] if exponent >= 0 else double / _POWERS[-exponent]
    if not is_cut and mantissa <= _EXACT_MANTISSA and abs(exponent) <= _EXACT_POWER:
        return np.float32(double)
    low, high = np.float32(double * (1 - _MARGIN)), np.float32(double * (1 + _MARGIN))
    return low if low == high else np.float32(np.nan)


@njit(nogil=True, cache=True)
def _read_exponent(text: UInt8Array, at: int) -> tuple[int, int]:
    """Return where the number after an e ends (-1 if there is none), and the number."""
    is_negative = text[at] == _MINUS
    if is_negative or text[at] == _PLUS:
        at += 1
    if not _is_digit(text[at]):
        return -1, 0
    power = 0
    while _is_digit(text[at]):
        power = min(10 * power + int64(text[at] - _ZERO), _MAX_EXPONENT)
        at += 1
    return at, -power if is_negative else power


@njit(nogil=True, cache=True)
def read_index(text: UInt8Array, at: int) -> tuple[int, int]:
    """Return where a number of one to ten digits ends (-1 if there is none), and the number."""
    start = at
    number = 0
    while _is_digit(text[at]) and at - start < _MAX_INDEX_DIGITS:
        number = 10 * number + int64(text[at] - _ZERO)
        at += 1
    return (at, number) if at > start else (-1, 0)


@njit(nogil=True, cache=True)
def skip_blanks(text: UInt8Array, at: int) -> int:
    """Return where the first byte is that is not a space, a tab or the CR of a CR LF."""
    while text[at] == SPACE or text[at] == TAB:
        at += 1
    if text[at] == CARRIAGE_RETURN and text[at + 1] == LINE_FEED:
        at += 1
    return at


@njit(nogil=True, cache=True)
def _is_digit(byte: int) -> bool:
    return _ZERO <= byte <= _NINE
