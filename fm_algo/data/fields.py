"""The field of each feature: what rows say of it is learnt, or compared with what a model knows."""

from functools import cached_property
from typing import Protocol, Self

import numpy as np

from fm_algo.model import FMModel
from fm_algo.sparse import Int32Array
from fm_algo.sparse.feature_space import FeatureSpace

MAX_FIELD = 65_535
"""The largest number that a field can have in libffm text."""

UNSEEN = "unseen"
"""The name of the field of the features that no row had; it agrees with any field."""

_UNKNOWN = -1


class Fields(Protocol):
    """What is known of the fields of features, for those who read features and fields."""

    @property
    def table(self) -> Int32Array:
        """The number of the field of each feature as libffm text has it, -1 if it is not known.

        int32, shape (feature_dim,).
        """
        ...

    @property
    def learns(self) -> bool:
        """Whether a feature whose field is not known gets the one it is found in."""
        ...

    def agree(self, features: Int32Array, fields: Int32Array) -> bool:
        """Compare fields with those known; learn them if they agree, and if this learns.

        Parameters
        ----------
        features, fields : int32, shape (num_entries,)
            The feature of each entry and its field.

        Returns
        -------
        bool
            False if a feature is in two fields.
        """
        ...

    def describe(self, feature: int) -> str:
        """Return a clause about the field of a feature, for an error: which it is, what to do."""
        ...


class LearntFields:
    """Learns the field of each feature from rows.

    Parameters
    ----------
    feature_dim : int
        Number of features.
    """

    learns = True

    def __init__(self, feature_dim: int) -> None:
        self.table: Int32Array = np.full(feature_dim, _UNKNOWN, np.int32)

    def agree(self, features: Int32Array, fields: Int32Array) -> bool:
        """Learn the fields of features, unless one has another field; see `Fields.agree`."""
        known = self.table[features]
        is_new = known == _UNKNOWN
        if np.any(~is_new & (known != fields)):
            return False
        self.table[features[is_new]] = fields[is_new]
        if np.array_equal(self.table[features], fields):
            return True
        self.table[features[is_new]] = _UNKNOWN
        return False

    def describe(self, feature: int) -> str:
        """Say in which field a feature was found first, and what to do about it."""
        return (
            f"before, it was in field {self.table[feature]}; a feature has one field: number the "
            "features of each field apart, or train with interaction=all, which ignores fields"
        )

    @property
    def num_features(self) -> int:
        """Number of features found so far."""
        return int(np.count_nonzero(self.table != _UNKNOWN))

    def finish(self) -> FeatureSpace:
        """Return what has been learnt.

        Returns
        -------
        FeatureSpace
            The names of its fields are the numbers found, ascending. Features that were never
            found are in a field of their own, `UNSEEN`, the last one, if there are any.
        """
        found = np.unique(self.table)
        found = found[found != _UNKNOWN]
        names = [str(number) for number in found]
        numbers = np.searchsorted(found, self.table).astype(np.int32)
        is_unseen = self.table == _UNKNOWN
        if is_unseen.any():
            numbers[is_unseen] = len(names)
            names.append(UNSEEN)
        return FeatureSpace.of_map(names, numbers)


class KnownFields:
    """Compares fields with those of a model's features. Never changes: threads may share it.

    Parameters
    ----------
    space : FeatureSpace
        If all its fields have numbers as names, as those of `LearntFields` do, fields are known by
        these numbers; else by their place among the fields, from 0.
    """

    learns = False

    def __init__(self, space: FeatureSpace) -> None:
        self._space = space

    @classmethod
    def of_model(cls, model: FMModel) -> Self | None:
        """Return the fields of a model's features; None if they have none."""
        return None if model.field_weights is None else cls(model.field_weights.space)

    @cached_property
    def _numbers(self) -> Int32Array:
        """The number of each field in libffm text, -1 for `UNSEEN`; shape (F,)."""
        names = self._space.fields
        are_numbers = all(
            name.isdecimal() and int(name) <= MAX_FIELD for name in names if name != UNSEEN
        )
        numbers = [
            _UNKNOWN if name == UNSEEN else int(name) if are_numbers else place
            for place, name in enumerate(names)
        ]
        return np.array(numbers, np.int32)

    @cached_property
    def table(self) -> Int32Array:
        """See `Fields.table`."""
        return self._numbers[self._space.field_map()]

    def agree(self, features: Int32Array, fields: Int32Array) -> bool:
        """Return whether features are in these fields; see `Fields.agree`."""
        known = self._numbers[self._space.field_of(features)]
        return bool(np.all((known == fields) | (known == _UNKNOWN)))

    def describe(self, feature: int) -> str:
        """Say in which field a feature is."""
        known = self._numbers[self._space.field_of(np.array([feature], np.int32))]
        return f"in the model, it is in field {known[0]}"
