"""A connection to a client that has to keep up a pace, or else is cut off."""

import contextlib
import errno
import select
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

GRACE_S = 5.0
"""How far a client may fall behind the pace in sending a request, and again in reading the answer.

One that stands still is cut off after so many seconds."""

MIN_BYTES_PER_S = 1 << 16
"""The pace: half a megabit per second."""

_SENT_AT_ONCE = 1 << 16
_MAX_BUFFERS = 512
"""Fewer than IOV_MAX, which sendmsg allows."""

_LINGER_S = 2.0
_MAX_LINGERED = 1 << 20


class PacedSocket(socket.socket):
    """A socket that cuts off a client that sends or reads too slowly.

    `recv` and `flush` then raise ConnectionResetError, so gunicorn takes the client for gone.

    It never blocks in the kernel: the pace says how long to wait, not gunicorn's time-outs. What is
    sent is kept until it is much or `flush` is called, so header and body of most answers leave
    together.
    """

    def __init__(self, accepted: socket.socket) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        super().settimeout(0)
        self._deadline = 0.0  # nothing is waited for
        self._is_over = False
        self._is_held = False
        self._is_answered = False
        self._unsent: list[memoryview] = []
        self._num_unsent = 0

    def setblocking(self, flag: bool, /) -> None:
        """Do nothing: see the class."""

    def settimeout(self, value: float | None, /) -> None:
        """Do nothing: see the class."""

    def begin(self) -> None:
        """Give the client its grace anew, and wait for it again after `hold`."""
        self._deadline = time.monotonic() + GRACE_S
        self._is_held = self._is_answered = False

    def hold(self) -> None:
        """Wait for nothing until `begin`: only what has come is received, what is sent is kept."""
        self._deadline = 0.0
        self._is_held = True

    def peek(self, size: int) -> bytes:
        """Return what has come and was not received yet, `size` bytes of it at most."""
        try:
            return super().recv(size, socket.MSG_PEEK)
        except OSError:
            return b""  # nothing, or whoever receives it will see

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
        while not self._is_over:
            try:
                data = super().recv(size, flags)
            except BlockingIOError:
                self._wait(select.POLLIN)
            else:
                self._earn(len(data))
                return data
        raise self._too_slow()

    def sendall(self, data: "Buffer", flags: int = 0, /) -> None:
        """Send an answer or a part of it, not necessarily now."""
        piece = memoryview(data)
        self._unsent.append(piece)
        self._num_unsent += piece.nbytes
        if self._num_unsent >= _SENT_AT_ONCE and not self._is_held:
            self.flush()

    def flush(self) -> None:
        """Send what was kept, unless it is held."""
        if self._is_held or not self._unsent:
            return
        if not self._is_answered:
            self.begin()
            self._is_answered = True
        try:
            while not self.send_now():
                self._wait(select.POLLOUT)
        except OSError:
            self._unsent, self._num_unsent = [], 0  # there is no second try
            raise

    def send_now(self) -> bool:
        """Send as much of what was kept as goes without waiting; tell whether that was all."""
        while self._unsent:
            try:
                num_sent = self.sendmsg(self._unsent[:_MAX_BUFFERS])
            except BlockingIOError:
                return False
            self._earn(num_sent)
            self._forget(num_sent)
        return True

    def _forget(self, num_sent: int) -> None:
        self._num_unsent -= num_sent
        if not self._num_unsent:
            self._unsent.clear()
            return
        whole = 0
        while num_sent >= self._unsent[whole].nbytes:
            num_sent -= self._unsent[whole].nbytes
            whole += 1
        self._unsent[: whole + 1] = [self._unsent[whole][num_sent:]]

    def _wait(self, event: int) -> None:
        left_s = self._deadline - time.monotonic()
        poll = select.poll()
        poll.register(self, event)
        if left_s <= 0 or not poll.poll(1000 * left_s):
            raise self._too_slow()

    def _earn(self, num_bytes: int) -> None:
        """Give time for what has come through, but never more than one starts with."""
        if self._deadline:
            earned = self._deadline + num_bytes / MIN_BYTES_PER_S
            self._deadline = min(earned, time.monotonic() + GRACE_S)

    def _too_slow(self) -> ConnectionResetError:
        self._is_over = True
        reason = f"the client is too slow: {GRACE_S:g} s behind {MIN_BYTES_PER_S} bytes/s"
        return ConnectionResetError(errno.ECONNRESET, reason)
