"""An invocation within a worker: when it may run, how its body is read, what it is answered."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import flask
from werkzeug.exceptions import ServiceUnavailable

from container.scoring import Request, answer
from container.settings import Settings
from fm_algo.errors import UserError
from fm_algo.model import FMModel

MAX_REQUESTS = 62
"""How many invocations a worker takes on; a further one is refused at once rather than queued."""

_MAX_SCORED = 2
"""How many of them it scores at a time. More are no faster, and keep /ping from the processor."""

_MAX_DISCARDED = 1 << 28
_DISCARDED_AT_ONCE = 1 << 20


class Invoker:
    """Answers invocations, so many at once that there is always a thread left for /ping.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._taken_on = threading.BoundedSemaphore(MAX_REQUESTS)
        self._scored = threading.BoundedSemaphore(_MAX_SCORED)

    def __call__(self, model: FMModel) -> flask.Response:
        """Answer the current request.

        Raises
        ------
        UserError
            If the request cannot be answered; 413 if its body is too long.
        ServiceUnavailable
            If the worker has its hands full.
        """
        with self._taking_on():
            request = Request(
                body=_read_body(self._settings.max_content_length),
                content_type=flask.request.headers.get("Content-Type"),
                accept=flask.request.headers.get("Accept"),
            )
            with self._scored:
                answered = answer(model, request, self._settings)
        return flask.Response(answered.body, content_type=answered.content_type)

    @contextmanager
    def _taking_on(self) -> Iterator[None]:
        if not self._taken_on.acquire(blocking=False):
            raise ServiceUnavailable(f"{MAX_REQUESTS} requests are being answered, try again later")
        try:
            yield
        finally:
            self._taken_on.release()


def _read_body(max_content_length: int) -> bytes:
    """Read all of the body, whether its length is announced or it comes in chunks.

    Werkzeug has a limit of its own, but there it ends a longer body in silence if it is chunked.
    """
    stream = flask.request.environ["wsgi.input"]  # gunicorn's: ends where the body does
    announced = flask.request.content_length
    try:
        body: bytes = stream.read(max_content_length + 1)
        if len(body) > max_content_length:
            _discard(stream)
            raise UserError(
                f"the request's body is longer than {max_content_length} bytes, the limit that "
                "MAX_CONTENT_LENGTH sets",
                http_status=413,
            )
    except OSError as error:
        raise UserError(f"the request's body broke off: {error}") from error
    if announced is not None and len(body) < announced:
        raise UserError(f"the request's body broke off after {len(body)} of {announced} bytes")
    return body


def _discard(stream: IO[bytes]) -> None:
    """Read on: most callers send all before they look at the answer, and it shall reach them."""
    left = _MAX_DISCARDED
    while left > 0 and (data := stream.read(_DISCARDED_AT_ONCE)):
        left -= len(data)
