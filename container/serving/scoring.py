"""One request, from the bytes of its body to the bytes of the answer. Knows no web framework."""

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

from container.serving.extras import TOO_LARGE, extras_of, is_finite
from container.serving.negotiation import default_answer_type, negotiate
from container.serving.work_limit import WorkLimit, configurations_of
from container.settings import Settings
from fm_algo.data.fields import KnownFields
from fm_algo.data.formats.advice import NUMBERED_INSTANCE, START_BYTES, with_advice
from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    PARQUET,
    RECORDIO_PROTOBUF,
    ContentType,
    parse_content_type,
)
from fm_algo.data.formats.predictions import (
    JSON_FRAME,
    encode_csv,
    encode_json_items,
    encode_jsonlines,
)
from fm_algo.data.formats.record import encode_predictions
from fm_algo.data.formats.request import RequestRows, make_request_decoder
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.data.tables.requests.factory import make_named_decoder
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch, Float32Array

_EXTRAS_TYPES = (JSON, JSONLINES)
"""What an answer that holds more than scores can be."""

REQUEST_TYPES = (JSON, JSONLINES, RECORDIO_PROTOBUF, CSV, LIBSVM, LIBFFM)
"""The MIME types a request can have, to a model that knows its features by number alone."""

_SENT_BY_DEFAULT = ("", "application/octet-stream", "application/x-www-form-urlencoded")
"""What clients say that were told nothing, such as curl."""

NAMED_REQUEST_TYPES = (*REQUEST_TYPES, PARQUET)
"""The same for a model that knows the names of its columns and values."""


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
    is_packed : bool
        Whether a short request can have a very long answer.

    Raises
    ------
    UserError
        415 or 406, before anything else is looked at, if the request or the answer it wants has
        a type that is not served.
    """

    def __init__(
        self, model: FMModel, content_type: str | None, accept: str | None, settings: Settings
    ) -> None:
        request_type = _check_request_type(content_type, _types_of(model))
        self.answer_type = negotiate(
            accept,
            settings.default_accept
            or default_answer_type(request_type.name, is_batch=settings.is_batch),
        )
        self.is_packed = request_type.name == PARQUET
        self.num_rows = 0
        self._model = model
        if isinstance(model, NamedModel):
            self._decoder = make_named_decoder(request_type, model.names)
        else:
            self._decoder = make_request_decoder(
                request_type, feature_dim=model.feature_dim, fields=KnownFields.of_model(model)
            )
        self._request_type, self._start = request_type, b""
        self._limit = WorkLimit(model)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes of the request; yield the next bytes of its answer.

        Raises
        ------
        UserError
            400 if they cannot be read, with the record and the cause; 406 if rows ask for more than
            a score and the type of the answer has no place for it.
        """
        if data:
            if len(self._start) < START_BYTES:
                self._start += data[:START_BYTES]
            yield from self._score_all(self._decoder.feed(data))

    def close(self) -> Iterator[bytes]:
        """Say that the request ends; yield the rest of its answer.

        Raises
        ------
        UserError
            As `feed`; or if there was no row.
        """
        if not self._start:
            raise UserError("the request has no body, expected at least one record")
        yield from self._score_all(self._decoder.close())
        if not self.num_rows:
            raise UserError("the request has no row, expected at least one")
        if self.answer_type == JSON:
            yield JSON_FRAME[2]

    def _score_all(self, decoded: Iterable[RequestRows]) -> Iterator[bytes]:
        return (self._score(rows) for rows in self._advised(decoded) if rows.batch.num_rows)

    def _advised(self, decoded: Iterable[RequestRows]) -> Iterator[RequestRows]:
        """Let an error of the decoder say what to do about it."""
        try:
            yield from decoded
        except UserError as error:
            instance = _instance_of(self._model)
            raise with_advice(error, self._start, self._request_type, instance) from error

    def _score(self, rows: RequestRows) -> bytes:
        batch = rows.batch
        if configurations_of(rows):
            self._check_extras()
            self._limit.take(rows)
        score = self._model.score(batch)
        _check_score(self._model, batch, score, self.num_rows)
        predicted_label = self._model.predicted_label(score)
        is_first = not self.num_rows
        self.num_rows += batch.num_rows
        if self.answer_type == RECORDIO_PROTOBUF:
            return encode_predictions(score, predicted_label, rows.notes)
        if self.answer_type == CSV:
            return encode_csv(score, predicted_label)
        extras = extras_of(self._model, rows)
        if self.answer_type == JSONLINES:
            return encode_jsonlines(score, predicted_label, extras)
        start, separator, _ = JSON_FRAME
        items = encode_json_items(score, predicted_label, extras)
        return (start if is_first else separator) + items

    def _check_extras(self) -> None:
        """Check that the answer has a place for more than scores."""
        if self.answer_type not in _EXTRAS_TYPES:
            raise UserError(
                f"explain, top_k and uncertainty cannot be answered in {self.answer_type}, "
                f"allowed: {', '.join(_EXTRAS_TYPES)}",
                http_status=406,
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
    if is_finite(model, batch.rows(number, number + 1)):
        raise UserError(f"the score of row {first + number} (from 0) is infinite: {TOO_LARGE}")


def _instance_of(model: FMModel) -> str:
    """Return what an instance of JSON looks like to the model."""
    if not isinstance(model, NamedModel):
        return NUMBERED_INSTANCE
    columns = model.names.rows.encoder.needed
    return f"{{{', '.join(f'{json.dumps(name)}: …' for name in columns)}}}"


def _types_of(model: FMModel) -> tuple[str, ...]:
    return NAMED_REQUEST_TYPES if isinstance(model, NamedModel) else REQUEST_TYPES


@lru_cache(maxsize=256)
def _check_request_type(content_type: str | None, allowed: tuple[str, ...]) -> ContentType:
    request_type = parse_content_type(content_type or "")
    if request_type.name not in allowed:
        found = f"Content-Type {content_type!r} is not read" if content_type else "no Content-Type"
        hint = f"; say what the body is, such as ContentType={CSV}"
        untold = request_type.name in _SENT_BY_DEFAULT
        raise UserError(f"{found}, allowed: {', '.join(allowed)}{hint * untold}", http_status=415)
    return request_type
