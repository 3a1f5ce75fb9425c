"""The body of a request, as WSGI gives it: read in pieces, unpacked, no longer than allowed."""

import zlib
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

from fm_algo.errors import UserError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

PIECE_BYTES = 1 << 19
"""What is read, decoded and scored at a time: its arrays stay in the cache."""

_MAX_DISCARDED = 1 << 28

_GZIP = ("gzip", "x-gzip")  # RFC 9110, section 8.4.1.3
_IDENTITY = ("", "identity")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib.h, inflateInit2: 16 more is gzip's frame


class RequestBody:
    """A body, whether its length is announced or it comes in chunks, packed with gzip or not.

    Parameters
    ----------
    environ : dict
        WSGI's.
    max_bytes : int
        A longer body is refused.

    Attributes
    ----------
    num_bytes : int or None
        Its length; None if it comes in chunks or packed.
    """

    def __init__(self, environ: "WSGIEnvironment", max_bytes: int) -> None:
        announced = environ.get("CONTENT_LENGTH")
        self._num_announced = int(announced) if announced else None
        self._encoding = environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        self.num_bytes = None if self._encoding in _GZIP else self._num_announced
        self._stream: IO[bytes] = environ["wsgi.input"]  # gunicorn's: ends where the body does
        self._max_bytes = max_bytes

    def check_announced(self) -> None:
        """Check the announced length and encoding.

        Raises
        ------
        UserError
            415 if the body is packed in another way than with gzip, 413 if it is too long.
        """
        if self._encoding not in (*_IDENTITY, *_GZIP):
            raise UserError(
                f"Content-Encoding {self._encoding!r} is not read, allowed: gzip, identity",
                http_status=415,
            )
        self._check_length(self._num_announced or 0)

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it, unpacked.

        Raises
        ------
        UserError
            413 if it is longer than allowed, 408 if it comes too slowly, 400 if it breaks off or is
            no gzip.
        """
        pieces = self._pieces()
        return self._unpack(pieces) if self._encoding in _GZIP else pieces

    def _pieces(self) -> Iterator[bytes]:
        num_read = 0
        while piece := self._read():
            num_read += len(piece)
            self._check_length(num_read)
            yield piece
            if num_read == self._num_announced:
                return
        if self._num_announced and num_read < self._num_announced:
            raise UserError(
                f"the request's body broke off after {num_read} of {self._num_announced} bytes"
            )

    def _unpack(self, packed: Iterable[bytes]) -> Iterator[bytes]:
        """Unpack gzip a piece at a time: a short body can hold a very long one."""
        num_unpacked = 0
        try:
            for piece in _gunzip(packed):
                num_unpacked += len(piece)
                self._check_length(num_unpacked, " when unpacked")
                yield piece
        except (zlib.error, EOFError) as error:
            raise UserError(
                f"the request's body is damaged: Content-Encoding is {self._encoding}, and its "
                f"gzip data cannot be unpacked: {error}"
            ) from error

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

    def _check_length(self, num_bytes: int, when: str = "") -> None:
        if num_bytes > self._max_bytes:
            raise UserError(
                f"the request's body is longer than {self._max_bytes} bytes{when}, the limit that "
                "MAX_CONTENT_LENGTH sets",
                http_status=413,
            )


def _gunzip(packed: Iterable[bytes]) -> Iterator[bytes]:
    """Unpack one gzip member after another (RFC 1952, section 2.2), some bytes at a time."""
    member = None
    for data in packed:
        left = data
        while left:
            member = member or zlib.decompressobj(_GZIP_WINDOW)
            if unpacked := member.decompress(left, PIECE_BYTES):
                yield unpacked
            left = member.unconsumed_tail
            if member.eof:
                left, member = member.unused_data, None
    if member is not None:
        raise EOFError("it ends too early")
