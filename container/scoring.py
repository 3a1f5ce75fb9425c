"""One request, from the bytes of its body to the bytes of the answer. Knows no web framework."""

from collections.abc import Sequence
from dataclasses import dataclass

from container.negotiation import default_answer_type, negotiate
from container.settings import Settings
from fm_algo.errors import UserError
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
from fm_algo.formats.jsonio import decode_json
from fm_algo.formats.predictions import encode_csv, encode_json, encode_jsonlines
from fm_algo.formats.record import RecordNotes, decode_records, encode_predictions
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

_TEXT_ENCODERS = {JSON: encode_json, JSONLINES: encode_jsonlines, CSV: encode_csv}

REQUEST_TYPES = (JSON, JSONLINES, RECORDIO_PROTOBUF, CSV, LIBSVM)
"""The MIME types a request can have."""


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
    """

    body: bytes
    content_type: str


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
        a type that is not served; 400 if the body cannot be read, with the record and the cause.
    """
    request_type = _check_request_type(request.content_type)
    answer_type = negotiate(
        request.accept,
        settings.default_accept
        or default_answer_type(request_type.name, is_batch=settings.is_batch),
    )
    if not request.body:
        raise UserError("the request has no body, expected at least one record")
    batch, notes = _decode(request.body, request_type, model.feature_dim)
    if not batch.num_rows:
        raise UserError("the request has no row, expected at least one")
    score = model.score(batch)
    predicted_label = model.predicted_label(score)
    if answer_type == RECORDIO_PROTOBUF:
        return Answer(encode_predictions(score, predicted_label, notes), answer_type)
    return Answer(_TEXT_ENCODERS[answer_type](score, predicted_label), answer_type)


def _check_request_type(content_type: str | None) -> ContentType:
    request_type = parse_content_type(content_type or "")
    if request_type.name not in REQUEST_TYPES:
        found = f"Content-Type {content_type!r} is not read" if content_type else "no Content-Type"
        raise UserError(f"{found}, allowed: {', '.join(REQUEST_TYPES)}", http_status=415)
    return request_type


def _decode(
    body: bytes, request_type: ContentType, feature_dim: int
) -> tuple[CSRBatch, Sequence[RecordNotes] | None]:
    """Return the rows of a body, and what RecordIO records say beside them."""
    if request_type.name == RECORDIO_PROTOBUF:
        return decode_records(body, feature_dim=feature_dim)
    if request_type.name == JSON:
        return decode_json(body, feature_dim=feature_dim), None
    decoder = make_decoder(request_type, feature_dim=feature_dim, labelled=False)
    return CSRBatch.join([decoder.feed(body), decoder.close()]), None
