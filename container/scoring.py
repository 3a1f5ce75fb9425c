"""One request, from the bytes of its body to the bytes of the answer. Knows no web framework."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from container.negotiation import default_answer_type, negotiate
from container.settings import Settings
from fm_algo.errors import UserError
from fm_algo.explain import count_pairs, explain
from fm_algo.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBSVM,
    RECORDIO_PROTOBUF,
    ContentType,
    parse_content_type,
)
from fm_algo.formats.factory import make_decoder
from fm_algo.formats.jsonio import Configuration, JSONLinesDecoder, decode_json
from fm_algo.formats.predictions import (
    Extra,
    encode_csv,
    encode_json,
    encode_jsonlines,
    explanation_extra,
    recommendations_extra,
)
from fm_algo.formats.record import RecordNotes, decode_records, encode_predictions
from fm_algo.model import FMModel
from fm_algo.recommend import top_features
from fm_algo.sparse import CSRBatch, Float32Array

_EXTRAS_ENCODERS = {JSON: encode_json, JSONLINES: encode_jsonlines}

REQUEST_TYPES = (JSON, JSONLINES, RECORDIO_PROTOBUF, CSV, LIBSVM)
"""The MIME types a request can have."""

_MAX_PAIRS = 1 << 22
"""How many pairs of features a request may ask to have explained: half a second, 64 MB."""

_TOO_LARGE = "the values of the row are too large for a float32 score"

_MAX_CANDIDATES = 1 << 25
"""How many candidates a request may ask to have scored: some seconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller sends to be scored.

    Attributes
    ----------
    body : bytes
        At least one record.
    content_type, accept : str or None
        Those headers, if they were sent.
    """

    body: bytes
    content_type: str | None
    accept: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets.

    Attributes
    ----------
    body : bytes
        One prediction for each record of the request, in their order.
    content_type : str
        Its MIME type, without parameters.
    num_rows : int
        How many predictions those are.
    """

    body: bytes
    content_type: str
    num_rows: int


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The rows of a request, what RecordIO records say beside them, and what rows ask for."""

    batch: CSRBatch
    notes: Sequence[RecordNotes] | None = None
    configurations: Mapping[int, Configuration] = field(default_factory=dict)


def answer(model: FMModel, request: Request, settings: Settings) -> Answer:
    """Score the records of a request.

    Parameters
    ----------
    model : FMModel
    request : Request
    settings : Settings
        What holds where the request leaves the type of the answer open.

    Returns
    -------
    Answer

    Raises
    ------
    UserError
        415 or 406, before anything else is looked at, if the request or the answer it wants has
        a type that is not served; 400 if the body cannot be read, with the record and the cause;
        406 if rows ask for more than a score and the type of the answer has no place for it.
    """
    request_type = _check_request_type(request.content_type)
    answer_type = negotiate(
        request.accept,
        settings.default_accept
        or default_answer_type(request_type.name, is_batch=settings.is_batch),
    )
    if not request.body:
        raise UserError("the request has no body, expected at least one record")
    decoded = _decode(request.body, request_type, model.feature_dim)
    batch = decoded.batch
    if not batch.num_rows:
        raise UserError("the request has no row, expected at least one")
    _check_asked(decoded, answer_type)
    score = model.score(batch)
    _check_score(model, batch, score)
    predicted_label = model.predicted_label(score)
    if answer_type == RECORDIO_PROTOBUF:
        body = encode_predictions(score, predicted_label, decoded.notes)
    elif answer_type == CSV:
        body = encode_csv(score, predicted_label)
    else:
        extras = {
            row: _extra(model, batch.rows(row, row + 1), configuration)
            for row, configuration in decoded.configurations.items()
        }
        body = _EXTRAS_ENCODERS[answer_type](score, predicted_label, extras)
    return Answer(body, answer_type, batch.num_rows)


def _check_asked(decoded: _Decoded, answer_type: str) -> None:
    """Check that what rows ask for beside their scores can be answered, and in bearable time."""
    configurations = decoded.configurations
    if not configurations:
        return
    if answer_type not in _EXTRAS_ENCODERS:
        raise UserError(
            f"explain and top_k cannot be answered in {answer_type}, allowed: "
            f"{', '.join(_EXTRAS_ENCODERS)}",
            http_status=406,
        )
    lengths = np.diff(decoded.batch.indptr)
    pairs = sum(
        count_pairs(int(lengths[row])) for row, asked in configurations.items() if asked.explain
    )
    if pairs > _MAX_PAIRS:
        raise UserError(
            f"the rows to explain have {pairs} pairs of features, allowed: {_MAX_PAIRS} a request"
        )
    ranges = (asked.candidates for asked in configurations.values() if asked.candidates)
    candidates = sum(span.last - span.first + 1 for span in ranges)
    if candidates > _MAX_CANDIDATES:
        raise UserError(
            f"the rows have {candidates} candidates, allowed: {_MAX_CANDIDATES} a request"
        )


def _check_score(model: FMModel, batch: CSRBatch, score: Float32Array) -> None:
    """Check that scores are numbers; what is left to whoever encodes them is a fault of the model.

    Raises
    ------
    UserError
        If one is not, and the row's values are to blame.
    """
    if np.isfinite(score).all():
        return
    number = int(np.isfinite(score).argmin())
    row = batch.rows(number, number + 1)
    if np.isfinite(model.w[row.indices]).all() and np.isfinite(model.V[row.indices]).all():
        raise UserError(f"the score of row {number} (from 0) is infinite: {_TOO_LARGE}")


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


def _decode(body: bytes, request_type: ContentType, feature_dim: int) -> _Decoded:
    if request_type.name == RECORDIO_PROTOBUF:
        batch, notes = decode_records(body, feature_dim=feature_dim)
        return _Decoded(batch, notes=notes)
    if request_type.name == JSON:
        batch, configurations = decode_json(body, feature_dim=feature_dim)
        return _Decoded(batch, configurations=configurations)
    decoder = make_decoder(request_type, feature_dim=feature_dim, labelled=False)
    batch = CSRBatch.join([decoder.feed(body), decoder.close()])
    if isinstance(decoder, JSONLinesDecoder):
        return _Decoded(batch, configurations=decoder.configurations)
    return _Decoded(batch)
