"""`WorkLimit`: what the rows of a request ask for beside their scores, in bearable time."""

from collections.abc import Mapping

import numpy as np

from fm_algo.answers.explain import count_pairs
from fm_algo.answers.uncertainty import check_samples
from fm_algo.data.formats.jsonio import Configuration
from fm_algo.data.formats.request import RequestRows
from fm_algo.data.tables.requests.asked import Asked, NamedConfiguration
from fm_algo.data.tables.requests.rows import NamedRows
from fm_algo.errors import UserError
from fm_algo.model import FMModel

_MAX_PAIRS = 1 << 22
"""How many pairs of features a request may ask to have explained: half a second, 64 MB."""

_MAX_CANDIDATES = 1 << 25
"""How many candidates a request may ask to have scored: some seconds."""

_MAX_SAMPLED_ENTRIES = 1 << 25
"""Of rows whose uncertainty a request may ask for, the entries times the samples: some seconds."""


class WorkLimit:
    """Counts the work that one request asks for.

    Parameters
    ----------
    model : FMModel
    """

    def __init__(self, model: FMModel) -> None:
        self._model = model
        self._num_pairs = self._num_candidates = self._num_uncertain = 0

    def take(self, rows: RequestRows) -> None:
        """Count what some more rows ask for.

        Raises
        ------
        UserError
            If it is more than a request may ask for, or the model has no samples that tell an
            uncertainty.
        """
        asked = configurations_of(rows)
        lengths = np.diff(rows.batch.indptr)
        self._num_pairs += sum(
            count_pairs(int(lengths[row])) for row, its in asked.items() if its.explain
        )
        if self._num_pairs > _MAX_PAIRS:
            raise UserError(
                f"the rows to explain have {self._num_pairs} pairs of features, allowed: "
                f"{_MAX_PAIRS} a request"
            )
        self._num_candidates += _count_candidates(rows)
        if self._num_candidates > _MAX_CANDIDATES:
            raise UserError(
                f"the rows have {self._num_candidates} candidates{self._how_counted()}, allowed: "
                f"{_MAX_CANDIDATES} a request"
            )
        uncertain = [row for row, its in asked.items() if its.uncertainty]
        if uncertain:
            self._take_uncertain(int(lengths[uncertain].sum()))

    def _how_counted(self) -> str:
        is_plain = self._model.field_weights is None
        return "" if is_plain else ", each counted per column of its own"

    def _take_uncertain(self, num_entries: int) -> None:
        check_samples(self._model)
        self._num_uncertain += num_entries
        allowed = _MAX_SAMPLED_ENTRIES // len(self._model.samples)
        if self._num_uncertain > allowed:
            raise UserError(
                f"the rows whose uncertainty is asked for have {self._num_uncertain} entries, "
                f"allowed: {allowed} a request with the model's {len(self._model.samples)} samples"
            )


def configurations_of(rows: RequestRows) -> Mapping[int, Configuration | NamedConfiguration]:
    """Return what rows ask for, by row, whether their features are numbered or named."""
    if isinstance(rows, NamedRows):
        return {row: asked.configuration for row, asked in rows.asked.items()}
    return rows.configurations


def _count_candidates(rows: RequestRows) -> int:
    if isinstance(rows, NamedRows):
        return sum(_count_named(asked) for asked in rows.asked.values())
    ranges = (its.candidates for its in rows.configurations.values() if its.candidates)
    return sum(span.last - span.first + 1 for span in ranges)


def _count_named(asked: Asked) -> int:
    if asked.items is None:
        return 0
    wanted = asked.configuration
    passes = (wanted.top_k is not None) + (wanted.similar is not None)
    return passes * asked.items.num_vectors + len(asked.exclude)
