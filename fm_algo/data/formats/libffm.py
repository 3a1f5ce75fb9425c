"""Decode libffm text (``text/libffm``), ``label field:feature:value field:feature:value …``.

One row per line. All but the fields is as in libsvm text (`fm_algo.data.formats.libsvm`), also
``text/libffm;index_base=1``: it says what the first *feature* is. Fields have any numbers from 0 to
`MAX_FIELD`. The rows hold no fields. A feature has one field, which `Fields` knows or learns.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fm_algo.data.fields import MAX_FIELD, Fields
from fm_algo.data.formats.content_type import LIBFFM, LIBSVM
from fm_algo.data.formats.libsvm import BoolArray, LibSVMDecoder
from fm_algo.data.formats.number import parse_whole_number, shown
from fm_algo.errors import UserError


class LibFFMDecoder(LibSVMDecoder):
    """libffm text to rows; a `RowDecoder`.

    Parameters
    ----------
    feature_dim, labelled, index_base
        As for `LibSVMDecoder`.
    fields : Fields, optional
        Compares the fields, or learns them. Without it, fields must be numbers and are ignored.
    """

    _type = LIBFFM
    _entry = "field:feature:value"

    def __init__(
        self,
        *,
        feature_dim: int,
        labelled: bool,
        index_base: Literal[0, 1] = 0,
        fields: Fields | None = None,
    ) -> None:
        super().__init__(feature_dim=feature_dim, labelled=labelled, index_base=index_base)
        self._fields = fields

    def _find_features(self, is_first: BoolArray, is_middle: BoolArray) -> BoolArray | None:
        return is_middle if np.array_equal(np.roll(is_first, 1), is_middle) else None

    def _check_firsts(
        self, numbers: NDArray[np.float64], is_first: BoolArray, features: NDArray[np.float64]
    ) -> bool:
        fields = numbers[is_first]
        if np.any((fields < 0) | (fields > MAX_FIELD)) or np.any(fields != np.floor(fields)):
            return False
        if self._fields is None:
            return True
        return self._fields.agree(features.astype(np.int32), fields.astype(np.int32))

    def _parse_entry(self, word: bytes) -> tuple[int, float]:
        self._check_word(word)
        field_name, _, pair = word.partition(b":")
        if b":" not in pair:
            raise UserError(
                f"{shown(word)} has one colon, expected {self._entry}; this looks like libsvm, "
                f"feature:value: the content type is {LIBSVM}"
            )
        field = _parse_field(field_name)
        name, _, text = pair.partition(b":")
        feature, value = self._parse_pair(name, text)
        if self._fields is not None and not self._fields.agree(
            np.array([feature], np.int32), np.array([field], np.int32)
        ):
            raise UserError(
                f"feature {shown(name)} is in field {field}; {self._fields.describe(feature)}"
            )
        return feature, value


def _parse_field(name: bytes) -> int:
    try:
        number = parse_whole_number(name)
    except ValueError as error:
        raise UserError(f"field {shown(name)} {error}") from error
    if not 0 <= number <= MAX_FIELD:
        raise UserError(f"field {shown(name)} is outside [0, {MAX_FIELD + 1}), the range of fields")
    return number
