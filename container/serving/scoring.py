"""One request, from the bytes of its body to the bytes of the answer. Knows no web framework."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from container.serving.negotiation import default_answer_type, negotiate
from container.settings import Settings
from fm_algo.answers.explain import count_pairs, explain
from fm_algo.answers.recommend import top_features
from fm_algo.answers.uncertainty import check_samples, score_uncertainty
from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBSVM,
    RECORDIO_PROTOBUF,
    ContentType,
    parse_content_type,
)
from fm_algo.data.formats.jsonio import Configuration
from fm_algo.data.formats.predictions import (
    JSON_FRAME,
    Extra,
    encode_csv,
    encode_json_items,
    encode_jsonlines,
    explanation_extra,
    recommendations_extra,
    uncertainty_extras,
)
from fm_algo.data.formats.record import encode_predictions
from fm_algo.data.formats.request import RequestRows, make_request_decoder
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array

_EXTRAS_TYPES = (JSON, JSONLINES)
"""What an answer that holds more than scores can be."""

REQUEST_TYPES = (JSON, JSONLINES, RECORDIO_PROTOBUF, CSV, LIBSVM)
"""The MIME types a request can have."""

_MAX_PAIRS = 1 << 22
"""How many pairs of features a request may ask to have explained: half a second, 64 MB."""

_TOO_LARGE = "the values of the row are too large for a float32 score"

_MAX_CANDIDATES = 1 << 25
"""How many candidates a request may ask to have scored: some seconds."""

_MAX_SAMPLED_ENTRIES = 1 << 25
"""Of rows whose uncertainty a request may ask for, the entries times the samples: some seconds."""


class Scorer:
    """Answers one request, which is fed to it in pieces of any size.

    Parameters
    ----------
    model : FMModel
    content_type, accept : str or None
        Those headers, if they were sent.
    settings : Settings
        What holds where the request leaves the type of the answer open.

    Attributes
    ----------
    answer_type : str
        MIME type of the answer, without parameters.
    num_rows : int
        How many rows have been scored.

    Raises
    ------
    UserError
        415 or 406, before anything else is looked at, if the request or the answer it wants has
        a type that is not served.
    """

    def __init__(
        self, model: FMModel, content_type: str | None, accept: str | None, settings: Settings
    ) -> None:
        request_type = _check_request_type(content_type)
        self.answer_type = negotiate(
            accept,
            settings.default_accept
            or default_answer_type(request_type.name, is_batch=settings.is_batch),
        )
        self.num_rows = 0
        self._model = model
        self._decoder = make_request_decoder(request_type, feature_dim=model.feature_dim)
        self._has_body = False
        self._num_pairs = self._num_candidates = self._num_uncertain = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes of the request; yield the next bytes of its answer.

        Raises
        ------
        UserError
            400 if they cannot be read, with the record and the cause; 406 if rows ask for more than
            a score and the type of the answer has no place for it.
        """
        if data:
            self._has_body = True
            yield from self._score_all(self._decoder.feed(data))

    def close(self) -> Iterator[bytes]:
        """Say that the request ends; yield the rest of its answer.

        Raises
        ------
        UserError
            As `feed`; or if there was no row.
        """
        if not self._has_body:
            raise UserError("the request has no body, expected at least one record")
        yield from self._score_all(self._decoder.close())
        if not self.num_rows:
            raise UserError("the request has no row, expected at least one")
        if self.answer_type == JSON:
            yield JSON_FRAME[2]

    def _score_all(self, decoded: Iterable[RequestRows]) -> Iterator[bytes]:
        return (self._score(rows) for rows in decoded if rows.batch.num_rows)

    def _score(self, rows: RequestRows) -> bytes:
        batch = rows.batch
        if rows.configurations:
            self._check_asked(rows)
        score = self._model.score(batch)
        _check_score(self._model, batch, score, self.num_rows)
        predicted_label = self._model.predicted_label(score)
        is_first = not self.num_rows
        self.num_rows += batch.num_rows
        if self.answer_type == RECORDIO_PROTOBUF:
            return encode_predictions(score, predicted_label, rows.notes)
        if self.answer_type == CSV:
            return encode_csv(score, predicted_label)
        extras = _extras(self._model, rows)
        if self.answer_type == JSONLINES:
            return encode_jsonlines(score, predicted_label, extras)
        start, separator, _ = JSON_FRAME
        items = encode_json_items(score, predicted_label, extras)
        return (start if is_first else separator) + items

    def _check_asked(self, rows: RequestRows) -> None:
        """Check that what rows ask for beside their scores can be answered, in bearable time."""
        asked = rows.configurations
        if self.answer_type not in _EXTRAS_TYPES:
            raise UserError(
                f"explain, top_k and uncertainty cannot be answered in {self.answer_type}, "
                f"allowed: {', '.join(_EXTRAS_TYPES)}",
                http_status=406,
            )
        lengths = np.diff(rows.batch.indptr)
        self._num_pairs += sum(
            count_pairs(int(lengths[row])) for row, its in asked.items() if its.explain
        )
        if self._num_pairs > _MAX_PAIRS:
            raise UserError(
                f"the rows to explain have {self._num_pairs} pairs of features, allowed: "
                f"{_MAX_PAIRS} a request"
            )
        ranges = (its.candidates for its in asked.values() if its.candidates)
        self._num_candidates += sum(span.last - span.first + 1 for span in ranges)
        if self._num_candidates > _MAX_CANDIDATES:
            raise UserError(
                f"the rows have {self._num_candidates} candidates, allowed: {_MAX_CANDIDATES} a "
                "request"
            )
        uncertain = [row for row, its in asked.items() if its.uncertainty]
        if uncertain:
            self._check_uncertain(int(lengths[uncertain].sum()))

    def _check_uncertain(self, num_entries: int) -> None:
        check_samples(self._model)
        self._num_uncertain += num_entries
        allowed = _MAX_SAMPLED_ENTRIES // len(self._model.samples)
        if self._num_uncertain > allowed:
            raise UserError(
                f"the rows whose uncertainty is asked for have {self._num_uncertain} entries, "
                f"allowed: {allowed} a request with the model's {len(self._model.samples)} samples"
            )


def _check_score(model: FMModel, batch: CSRBatch, score: Float32Array, first: int) -> None:
    """Check the scores of row `first` and those behind it.

    They are to be numbers; what is left to whoever encodes them is a fault of the model.

    Raises
    ------
    UserError
        If one is not, and the row's values are to blame.
    """
    if np.isfinite(score).all():
        return
    number = int(np.isfinite(score).argmin())
    if _is_finite(model, batch.rows(number, number + 1)):
        raise UserError(f"the score of row {first + number} (from 0) is infinite: {_TOO_LARGE}")


def _is_finite(model: FMModel, rows: CSRBatch) -> bool:
    """Tell whether all parameters that score these rows are numbers."""
    return all(
        np.isfinite(each.w[rows.indices]).all() and np.isfinite(each.V[rows.indices]).all()
        for each in model.samples or (model,)
    )


def _extras(model: FMModel, rows: RequestRows) -> dict[int, Extra]:
    """Return what rows ask for beside their scores, by row."""
    asked = rows.configurations
    extras = {
        row: _extra(model, rows.batch.rows(row, row + 1), configuration)
        for row, configuration in asked.items()
    }
    uncertain = [row for row, its in asked.items() if its.uncertainty]
    if uncertain:
        batch = rows.batch.take(np.array(uncertain))
        known = score_uncertainty(model, batch)
        if not np.isfinite(known.score_std).all() and _is_finite(model, batch):
            raise UserError(f"the samples' scores are infinite: {_TOO_LARGE}")
        for row, extra in zip(uncertain, uncertainty_extras(known), strict=True):
            extras[row] = {**extra, **extras[row]}
    return extras


def _extra(model: FMModel, row: CSRBatch, asked: Configuration) -> Extra:
    """Return what one row asks for beside its score."""
    parameters = model.w0, model.w, model.V, row.indices, row.values
    extra: Extra = {}
    if asked.explain:
        extra = explanation_extra(explain(*parameters))
    if asked.top_k is not None and asked.candidates is not None:
        first, last = asked.candidates.first, asked.candidates.last
        features, margin = top_features(*parameters, first=first, last=last, top_k=asked.top_k)
        score = model.link(margin)
        if not np.isfinite(score).all() and np.isfinite(model.V[features]).all():
            raise UserError(f"the recommendations' scores are infinite: {_TOO_LARGE}")
        extra = {**extra, **recommendations_extra(features, score, model.predicted_label(score))}
    return extra


@lru_cache(maxsize=256)
def _check_request_type(content_type: str | None) -> ContentType:
    request_type = parse_content_type(content_type or "")
    if request_type.name not in REQUEST_TYPES:
        found = f"Content-Type {content_type!r} is not read" if content_type else "no Content-Type"
        raise UserError(f"{found}, allowed: {', '.join(REQUEST_TYPES)}", http_status=415)
    return request_type
