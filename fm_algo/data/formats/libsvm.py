"""Decode libsvm text (``text/libsvm``), ``label feature:value feature:value …``, one row per line.

This module defines the format and reports what is wrong with a line. `fm_algo.data.bulk.libsvm`
reads usual lines with compiled code, for training.

``text/libsvm;index_base=1`` says that the first feature is number 1; otherwise it is 0. Nothing is
guessed from the data: a file with features 1 to 5 may be one whose rows lack feature 0.

A line that begins with ``#`` is a comment and not a row. Text after a later ``#`` is a comment,
too. Every other line is a row. A label alone is an empty row. If labels are not wanted, an empty
line is an empty row, too. A value of zero is stored like any other.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.formats.content_type import LIBFFM, LIBSVM
from fm_algo.data.formats.lines import LineDecoder
from fm_algo.data.formats.number import (
    NUMBER_BYTES,
    parse_number,
    parse_numbers,
    parse_whole_number,
    shown,
)
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch, to_float32

BoolArray = NDArray[np.bool_]
_Numbers = NDArray[np.float64]

_COLON, _LINE_FEED = b":\n"

_TO_SPACE = bytes.maketrans(b"\t", b" ")
_TO_COMMA = bytes.maketrans(b"\t :\n", b",,,,")


class LibSVMDecoder(LineDecoder):
    """libsvm text to rows; a `RowDecoder`.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    labelled : bool
        True: every row has a label, and a blank line may only stand after the last row. False: a
        label (the first word of a line, if it has no colon) is read and dropped, and every blank
        line is an empty row. The LF after the last row does not begin another line.
    index_base : {0, 1}
        Number of the first feature.
    """

    _type = LIBSVM
    _entry = "feature:value"

    def __init__(self, *, feature_dim: int, labelled: bool, index_base: Literal[0, 1] = 0) -> None:
        super().__init__(feature_dim=feature_dim, labelled=labelled, blank_is_row=not labelled)
        self._index_base = index_base

    def _decode_quickly(self, text: bytes) -> CSRBatch | None:
        # One byte stands between two numbers, an LF after the last: without the numbers, the
        # remaining bytes tell what each number is.
        text = text.replace(b"\r\n", b"\n").replace(b" \n", b"\n")
        separators = text.translate(_TO_SPACE, NUMBER_BYTES)
        if separators.translate(None, b" :\n"):
            return None
        numbers = parse_numbers(text[:-1].translate(_TO_COMMA))
        if numbers is None or len(numbers) != len(separators):
            return None
        after = np.frombuffer(separators, np.uint8)  # (num_numbers,)
        before = np.roll(after, 1)  # the end of the last line counts as before the first number
        starts, ends = before != _COLON, after != _COLON
        is_first, is_value, is_label = starts & ~ends, ends & ~starts, starts & ends
        is_feature = self._find_features(is_first, ~(starts | ends))
        row_ends = np.flatnonzero(after == _LINE_FEED)
        if (
            is_feature is None
            or np.any(before[is_label] != _LINE_FEED)
            or (self._labelled and np.count_nonzero(is_label) != len(row_ends))
        ):
            return None
        features = numbers[is_feature] - self._index_base
        values, labels = to_float32(numbers[is_value]), to_float32(numbers[is_label])
        if (
            np.any((features < 0) | (features >= self._feature_dim))
            or np.any(features != np.floor(features))
            or not (np.isfinite(values).all() and np.isfinite(labels).all())
            or not self._check_firsts(numbers, is_first, features)
        ):
            return None
        indptr = np.zeros(len(row_ends) + 1, np.int64)
        indptr[1:] = np.cumsum(is_feature)[row_ends]
        batch = CSRBatch(
            indptr,
            features.astype(np.int32),
            values,
            labels if self._labelled else None,
            self._feature_dim,
        )
        try:
            return batch.combine_duplicates()
        except UserError:
            return None

    def _find_features(self, is_first: BoolArray, is_middle: BoolArray) -> BoolArray | None:
        """Tell features by where numbers stand in words of several; None if a word is no entry."""
        return None if is_middle.any() else is_first

    def _check_firsts(self, _numbers: _Numbers, _is_first: BoolArray, _features: _Numbers) -> bool:
        """Return whether the first number of each entry is right: features are already known so."""
        return True

    def _decode_line(self, line: bytes, number: int) -> CSRBatch:
        if line.startswith(b"#"):
            return CSRBatch.empty(self._feature_dim, labelled=self._labelled)
        words = line.partition(b"#")[0].split()
        label = None
        if words and b":" not in words[0]:
            label = _parse_label(words.pop(0))
        elif self._labelled:
            raise UserError(f"no label, expected label {self._entry} {self._entry} …")
        entries = [self._parse_entry(word) for word in words]
        return CSRBatch(
            np.array([0, len(entries)], np.int64),
            np.array([feature for feature, _ in entries], np.int32),
            np.array([value for _, value in entries], np.float32),
            np.array([label], np.float32) if self._labelled else None,
            self._feature_dim,
        ).combine_duplicates()

    def _parse_entry(self, word: bytes) -> tuple[int, float]:
        self._check_word(word)
        name, _, text = word.partition(b":")
        try:
            return self._parse_pair(name, text)
        except UserError as error:
            if word.count(b":") != 2:
                raise
            raise UserError(
                f"{error.message}; this looks like libffm, field:feature:value: the content type "
                f"is {LIBFFM}"
            ) from error

    def _check_word(self, word: bytes) -> None:
        if b":" not in word:
            raise UserError(f"{shown(word)} has no colon, expected {self._entry}")
        if word.startswith(b"qid:"):
            raise UserError(f"{shown(word)} is for ranking, expected {self._entry}")

    def _parse_pair(self, name: bytes, text: bytes) -> tuple[int, float]:
        feature = self._parse_feature(name)
        try:
            return feature, parse_number(text)
        except ValueError as error:
            raise UserError(f"value {shown(text)} of feature {shown(name)} {error}") from error

    def _parse_feature(self, name: bytes) -> int:
        """Return the 0-based number of the feature called `name`."""
        try:
            number = parse_whole_number(name)
        except ValueError as error:
            raise UserError(f"feature {shown(name)} {error}") from error
        base, limit = self._index_base, self._feature_dim + self._index_base
        if base <= number < limit:
            return number - base
        if base:
            hint = " under index_base=1"
        elif number == limit:
            hint = f"; if 1 is the first feature, the content type is {self._type};index_base=1"
        else:
            hint = ""
        raise UserError(
            f"feature {shown(name)} is outside [{base}, {limit}), the range feature_dim allows"
            f"{hint}"
        )


def _parse_label(word: bytes) -> float:
    try:
        return parse_number(word)
    except ValueError as error:
        raise UserError(f"label {shown(word)} {error}") from error
