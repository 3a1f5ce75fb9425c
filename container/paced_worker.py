"""gunicorn's threaded worker, where a client that dawdles loses its connection and not our thread.

A thread is busy from the first byte of a request to the last of its answer. Few clients that send
or read a byte now and then could keep all of them; so whoever is slower than a slow line is cut
off, and a connection on which nothing has come yet waits without a thread.
"""

import contextlib
import errno
import socket
import time
from functools import partial
from selectors import EVENT_READ
from typing import TYPE_CHECKING

from gunicorn.workers.gthread import TConn, ThreadWorker

if TYPE_CHECKING:
    from typing_extensions import Buffer

GRACE_S = 5.0
"""How far a client may fall behind the pace in sending a request, and again in reading the answer.

One that stands still is cut off after so many seconds."""

MIN_RATE = 1 << 16
"""The pace, in bytes a second: half a megabit."""


_SENT_AT_ONCE = 1 << 20
_LINGER_S = 2.0
_MAX_LINGERED = 1 << 20


class PacedSocket(socket.socket):
    """A connection to a client that has to keep up a pace.

    `recv` and `sendall` raise a ConnectionResetError if it does not: gunicorn takes it for gone.
    """

    _deadline = 0.0
    _is_over = False

    def begin(self) -> None:
        """Say that the client's turn begins."""
        self._deadline = time.monotonic() + GRACE_S

    def linger(self) -> None:
        """Say that nothing more will be sent, and let the client read what was.

        A connection that is closed while the client sends is reset, and its last answer lost. From
        then on nothing waits for the client: gunicorn's main loop would, two seconds for each.
        """
        with contextlib.suppress(OSError):
            if not self._is_over:
                self.shutdown(socket.SHUT_WR)
                self._deadline = time.monotonic() + _LINGER_S
                left = _MAX_LINGERED
                while left > 0 and (data := self.recv(1 << 16)):
                    left -= len(data)
        self._is_over = True

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive some bytes of a request."""
        if self._is_over:
            raise self._too_slow()
        self._set_timeout()
        try:
            data = super().recv(size, flags)
        except TimeoutError as error:
            raise self._too_slow() from error
        self._earn(len(data))
        return data

    def sendall(self, data: "Buffer", flags: int = 0, /) -> None:
        """Send an answer, or a part of it."""
        self.begin()
        left = memoryview(data)
        while left:
            self._set_timeout()
            try:
                num_sent = super().send(left[:_SENT_AT_ONCE], flags)
            except TimeoutError as error:
                raise self._too_slow() from error
            self._earn(num_sent)
            left = left[num_sent:]

    def _set_timeout(self) -> None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise self._too_slow()
        self.settimeout(left_s)

    def _earn(self, num_bytes: int) -> None:
        """Give time for what has come through, but never more than one starts with."""
        earned = self._deadline + num_bytes / MIN_RATE
        self._deadline = min(earned, time.monotonic() + GRACE_S)

    def _too_slow(self) -> ConnectionResetError:
        self._is_over = True
        reason = f"the client is too slow: {GRACE_S:g} s behind {MIN_RATE} bytes/s"
        return ConnectionResetError(errno.ECONNRESET, reason)


class PacedWorker(ThreadWorker):  # type: ignore[misc] # gunicorn carries no types
    """A worker for `gunicorn_conf.worker_class`."""

    def accept(self, listener: socket.socket) -> None:
        """Take a connection, and a thread for it only once something has come."""
        try:
            accepted, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker was faster, or the client gave up
        client = PacedSocket(
            accepted.family, accepted.type, accepted.proto, fileno=accepted.detach()
        )
        connection = TConn(self.cfg, client, address, listener.getsockname())
        connection.set_timeout()
        self.nr_conns += 1
        self.pending_conns.append(connection)
        readable = partial(self.on_pending_socket_readable, connection)
        self.poller.register(client, EVENT_READ, readable)

    def handle(self, connection: TConn) -> object:
        """Answer the request that has begun on a connection."""
        connection.sock.begin()
        goes_on = super().handle(connection)
        if not goes_on:
            connection.sock.linger()
        return goes_on
