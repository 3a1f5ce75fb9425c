"""The body of a request, as WSGI gives it: read in pieces, no longer than allowed."""

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from fm_algo.errors import UserError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PIECE_BYTES = 1 << 19
"""What is read, decoded and scored at a time: its arrays stay in the cache."""

_MAX_DISCARDED = 1 << 28


class RequestBody:
    """A body, whether its length is announced or it comes in chunks.

    Parameters
    ----------
    environ : dict
        WSGI's.
    max_bytes : int
        A longer body is refused.

    Attributes
    ----------
    num_announced : int or None
        Its length; None if it comes in chunks.
    """

    def __init__(self, environ: "WSGIEnvironment", max_bytes: int) -> None:
        announced = environ.get("CONTENT_LENGTH")
        self.num_announced = int(announced) if announced else None
        self._stream: IO[bytes] = environ["wsgi.input"]  # gunicorn's: ends where the body does
        self._max_bytes = max_bytes

    def check_announced(self) -> None:
        """Check the announced length.

        Raises
        ------
        UserError
            413 if it is more than allowed.
        """
        self._check_length(self.num_announced or 0)

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it.

        Raises
        ------
        UserError
            413 if it is longer than allowed, 408 if it comes too slowly, 400 if it breaks off.
        """
        num_read = 0
        while piece := self._read():
            num_read += len(piece)
            self._check_length(num_read)
            yield piece
            if num_read == self.num_announced:
                return
        if self.num_announced and num_read < self.num_announced:
            raise UserError(
                f"the request's body broke off after {num_read} of {self.num_announced} bytes"
            )

    def discard(self) -> None:
        """Read what is left: most callers send all before they look at the answer."""
        left = _MAX_DISCARDED
        try:
            while left > 0 and (data := self._stream.read(PIECE_BYTES)):
                left -= len(data)
        except OSError:
            pass  # the caller has given up; whoever sends the answer will see

    def _read(self) -> bytes:
        try:
            return self._stream.read(PIECE_BYTES)
        except OSError as error:
            status = 408 if isinstance(error, ConnectionResetError) else 400
            raise UserError(f"the request's body broke off: {error}", http_status=status) from error

    def _check_length(self, num_bytes: int) -> None:
        if num_bytes > self._max_bytes:
            raise UserError(
                f"the request's body is longer than {self._max_bytes} bytes, the limit that "
                "MAX_CONTENT_LENGTH sets",
                http_status=413,
            )
