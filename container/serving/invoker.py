"""An invocation within a worker: when it may run, and how much memory it may take."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Self

from werkzeug.exceptions import ServiceUnavailable

from container.serving.reply import Reply
from container.serving.request_body import PIECE_BYTES, RequestBody
from container.serving.scoring import Scorer
from container.serving.turns import Turns
from container.settings import Settings
from fm_algo.errors import UserError
from fm_algo.model import FMModel
from fm_algo.runtime.machine import usable_processors

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_REQUESTS = 62
"""How many invocations a worker takes on; a further one is refused at once rather than queued."""

_MAX_BODIES = 8
"""How many bodies of the greatest length a worker holds at a time: its memory is bounded."""

_MAX_ANSWER_IN_MEMORY = 1 << 22

_RETRY_AFTER_S = 1


class Invoker:
    """Answers invocations, as many at once as leave the machine able to answer /ping.

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
        self._scored = Turns(num_scored)
        # What a request has waited, it no longer has for being scored.
        self._longest_wait_s = settings.worker_timeout_s / 2

    def __call__(self, model: FMModel, environ: "WSGIEnvironment") -> tuple[Reply, int]:
        """Answer a request.

        Parameters
        ----------
        model : FMModel
        environ : dict
            WSGI's.

        Returns
        -------
        Reply
        int
            How many rows were scored.

        Raises
        ------
        UserError
            If the request cannot be answered; 413 if its body is too long, 408 if it does not come,
            415 if its type or encoding is not read.
        ServiceUnavailable
            If the worker has its hands full.
        """
        self._slots.take(1)
        try:
            scorer, answer, num_bytes = self._answer(model, environ)
        except BaseException:
            self._slots.give_back(1)
            raise
        # The slot is free once the answer has been sent.
        body = _AnswerBody(answer, when_sent=partial(self._slots.give_back, 1))
        reply = Reply(status=200, content_type=scorer.answer_type, body=body, num_bytes=num_bytes)
        return reply, scorer.num_rows

    def _answer(
        self, model: FMModel, environ: "WSGIEnvironment"
    ) -> tuple[Scorer, Iterable[bytes], int]:
        body = RequestBody(environ, self._settings.max_content_length)
        try:
            content_type, accept = environ.get("CONTENT_TYPE"), environ.get("HTTP_ACCEPT")
            scorer = Scorer(model, content_type, accept, self._settings)
            body.check_announced()
            with _Share(self._held) as held:
                return scorer, *self._score(scorer, body, held)
        except UserError:
            body.discard()
            raise

    def _score(
        self, scorer: Scorer, body: RequestBody, held: "_Share"
    ) -> tuple[Iterable[bytes], int]:
        """Return the answer, in pieces, and its length."""
        announced = body.num_bytes
        held.take(announced or 0)  # a single row may be as long, and is kept until it ends
        if announced is not None and announced <= PIECE_BYTES and not scorer.is_packed:
            data = b"".join(body.pieces())
            with self._turn():
                answer = b"".join([*scorer.feed(data), *scorer.close()])
            return [answer], len(answer)
        # A mistake in its last row shall be told by the status of the answer, so none of it is sent
        # before all of it is there; and however long, it is not kept in memory.
        with ExitStack() as unless_done:
            spool = unless_done.enter_context(SpooledTemporaryFile(_MAX_ANSWER_IN_MEMORY))
            for data in body.pieces():
                held.take(len(data) if announced is None else 0)
                spool.writelines(self._in_turns(scorer.feed(data)))
            spool.writelines(self._in_turns(scorer.close()))
            num_bytes = spool.tell()
            spool.seek(0)
            unless_done.pop_all()
        return _read_out(spool), num_bytes

    def _in_turns(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Make the pieces of an answer, each in a turn of its own: others get theirs in between."""
        while True:
            with self._turn():
                piece = next(pieces, None)
            if piece is None:
                return
            yield piece

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for a turn to score; the main thread never waits, and is given quick requests."""
        if threading.current_thread() is threading.main_thread():
            yield
            return
        if not self._scored.take(self._longest_wait_s):
            raise _unavailable(f"no turn came within {self._longest_wait_s:g} s")
        try:
            yield
        finally:
            self._scored.give_back()


class _AnswerBody:
    """The pieces of an answer, and what is to be done when they have been sent."""

    def __init__(self, pieces: Iterable[bytes], *, when_sent: Callable[[], object]) -> None:
        self._pieces = pieces
        self._when_sent = when_sent

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def close(self) -> None:
        self._when_sent()


def _read_out(spool: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    with spool:
        while piece := spool.read(PIECE_BYTES):
            yield piece


class _Budget:
    """A supply of something; who wants more than is left is refused, rather than made to wait."""

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
    """What one request has taken of a budget; the end of the `with` block gives it back."""

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
