"""An invocation within a worker: when it may run, how its body is read, what it is answered."""

import threading
from functools import partial
from typing import IO, Self

import flask
from werkzeug.exceptions import ServiceUnavailable

from container.scoring import Answer, Request, answer
from container.settings import Settings
from fm_algo.errors import UserError
from fm_algo.machine import usable_processors
from fm_algo.model import FMModel

MAX_REQUESTS = 62
"""How many invocations a worker takes on; a further one is refused at once rather than queued."""

_MAX_BODIES = 8
"""How many bodies of the greatest length a worker holds at a time: its memory is bounded."""

_RETRY_AFTER_S = 1

_READ_AT_ONCE = 1 << 20
_MAX_DISCARDED = 1 << 28


class Invoker:
    """Answers invocations: so many at once that the machine can bear it, and /ping is answered.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots = _Budget(MAX_REQUESTS, "requests are being answered")
        self._held = _Budget(
            _MAX_BODIES * settings.max_content_length, "bytes of requests are being answered"
        )
        # More at a time than there are processors are no faster, and keep /ping from them. Where
        # there are as many workers as processors, that is one each.
        num_scored = -(-usable_processors() // settings.num_workers)
        self._scored = threading.BoundedSemaphore(num_scored)
        # What a request has waited, it no longer has for being scored.
        self._longest_wait_s = settings.worker_timeout_s / 2

    def __call__(self, model: FMModel) -> flask.Response:
        """Answer the current request.

        Raises
        ------
        UserError
            If the request cannot be answered; 413 if its body is too long, 408 if it does not come.
        ServiceUnavailable
            If the worker has its hands full.
        """
        self._slots.take(1)
        try:
            answered = self._answer(model)
            flask.g.num_rows = answered.num_rows
            response = flask.Response(answered.body, content_type=answered.content_type)
        except BaseException:
            self._slots.give_back(1)
            raise
        # The slot is free once the client has read the answer.
        response.call_on_close(partial(self._slots.give_back, 1))
        return response

    def _answer(self, model: FMModel) -> Answer:
        with _Share(self._held) as held:
            headers = flask.request.headers
            request = Request(
                body=_read_body(self._settings.max_content_length, held),
                content_type=headers.get("Content-Type"),
                accept=headers.get("Accept"),
            )
            if not self._scored.acquire(timeout=self._longest_wait_s):
                raise _unavailable(f"no turn came within {self._longest_wait_s:g} s")
            try:
                return answer(model, request, self._settings)
            finally:
                self._scored.release()


class _Budget:
    """So much of something is there; who wants more is refused, rather than made to wait."""

    def __init__(self, size: int, what: str) -> None:
        self._size = self._left = size
        self._what = what
        self._lock = threading.Lock()

    def take(self, amount: int) -> None:
        with self._lock:
            if amount > self._left:
                raise _unavailable(f"{self._size - self._left} {self._what}")
            self._left -= amount

    def give_back(self, amount: int) -> None:
        with self._lock:
            self._left += amount


class _Share:
    """What one request has of a budget, until the end of the `with` block."""

    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self._taken = 0

    def take(self, amount: int) -> None:
        self._budget.take(amount)
        self._taken += amount

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.give_back(self._taken)


def _unavailable(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"{reason}, try again later", retry_after=_RETRY_AFTER_S)


def _read_body(max_content_length: int, held: _Share) -> bytes:
    """Read all of the body, whether its length is announced or it comes in chunks.

    Werkzeug has a limit of its own, but
    there it ends a longer body in silence if it is chunked.
    """
    stream = flask.request.environ["wsgi.input"]  # gunicorn's: ends where the body does
    announced = flask.request.content_length
    body = b""
    try:
        if (announced or 0) > max_content_length:
            _discard(stream)
            raise _too_long(max_content_length)
        if announced is not None:
            held.take(announced)
            body = stream.read(announced)
        else:
            body = _read_chunked(stream, max_content_length, held)
    except OSError as error:
        status = 408 if isinstance(error, ConnectionResetError) else 400
        raise UserError(f"the request's body broke off: {error}", http_status=status) from error
    if announced is not None and len(body) < announced:
        raise UserError(f"the request's body broke off after {len(body)} of {announced} bytes")
    return body


def _read_chunked(stream: IO[bytes], max_content_length: int, held: _Share) -> bytes:
    pieces = []
    left = max_content_length
    while piece := stream.read(_READ_AT_ONCE):
        left -= len(piece)
        if left < 0:
            _discard(stream)
            raise _too_long(max_content_length)
        held.take(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def _too_long(max_content_length: int) -> UserError:
    return UserError(
        f"the request's body is longer than {max_content_length} bytes, the limit that "
        "MAX_CONTENT_LENGTH sets",
        http_status=413,
    )


def _discard(stream: IO[bytes]) -> None:
    """Read on: most callers send all before they look at the answer, and it shall reach them."""
    left = _MAX_DISCARDED
    while left > 0 and (data := stream.read(_READ_AT_ONCE)):
        left -= len(data)
