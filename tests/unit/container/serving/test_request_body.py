import gzip
import io

import pytest

from container.serving.request_body import PIECE_BYTES, RequestBody
from fm_algo.errors import UserError


class Broken(io.BytesIO):
    """Ends in an error, as gunicorn's stream does when the client is too slow or has gone."""

    def __init__(self, data, error):
        super().__init__(data)
        self.error = error

    def read(self, size=-1):
        data = super().read(size)
        if not data:
            raise self.error
        return data


def body_of(stream, announced=None, max_bytes=10 * PIECE_BYTES):
    length = {} if announced is None else {"CONTENT_LENGTH": str(announced)}
    return RequestBody({"wsgi.input": stream, **length}, max_bytes)


@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 1])
def test_a_body_comes_whole_and_in_pieces(size, is_announced):
    data = bytes(range(256)) * (size // 256 + 1)
    body = body_of(io.BytesIO(data[:size]), size if is_announced else None)

    pieces = list(body.pieces())

    assert b"".join(pieces) == data[:size]
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)


def test_an_announced_body_is_not_read_beyond_its_end():
    body = body_of(Broken(b"1234", OSError("read too far")), announced=4)

    assert b"".join(body.pieces()) == b"1234"


def test_a_body_announced_as_too_long_is_refused_before_it_is_read():
    stream = io.BytesIO(b"12345")

    with pytest.raises(UserError, match="longer than 4 bytes") as refused:
        body_of(stream, announced=5, max_bytes=4).check_announced()

    assert refused.value.http_status == 413
    assert stream.tell() == 0


def test_a_body_that_turns_out_too_long_is_refused():
    body = body_of(io.BytesIO(b"12345"), max_bytes=4)
    body.check_announced()

    with pytest.raises(UserError, match="longer than 4 bytes") as refused:
        list(body.pieces())

    assert refused.value.http_status == 413


def test_a_body_that_ends_before_its_announced_end_is_refused():
    with pytest.raises(UserError, match="broke off after 4 of 5 bytes") as refused:
        list(body_of(io.BytesIO(b"1234"), announced=5).pieces())

    assert refused.value.http_status == 400


@pytest.mark.parametrize(
    ("error", "status"), [(ConnectionResetError("too slow"), 408), (OSError("gone"), 400)]
)
def test_a_body_that_breaks_off_tells_who_was_too_slow_from_who_has_gone(error, status):
    with pytest.raises(UserError, match=f"broke off: {error}") as refused:
        list(body_of(Broken(b"1234", error)).pieces())

    assert refused.value.http_status == status


def test_what_is_left_is_read_away_and_an_error_in_it_is_none():
    stream = io.BytesIO(bytes(3 * PIECE_BYTES))
    body_of(stream).discard()
    assert not stream.read()

    body_of(Broken(b"1234", OSError("gone"))).discard()


PACKED = gzip.compress(b"1,2,3", mtime=0)


def gzipped(packed, max_bytes=10 * PIECE_BYTES, encoding="gzip"):
    environ = {
        "wsgi.input": io.BytesIO(packed),
        "CONTENT_LENGTH": str(len(packed)),
        "HTTP_CONTENT_ENCODING": encoding,
    }
    return RequestBody(environ, max_bytes)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP"])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, 2 * PIECE_BYTES + 1])
def test_a_body_of_gzip_is_unpacked_in_pieces(size, encoding):
    data = bytes(range(256)) * (size // 256 + 1)
    packed = gzip.compress(data[: size // 2]) + gzip.compress(data[size // 2 : size])
    body = gzipped(packed, encoding=encoding)
    body.check_announced()

    pieces = list(body.pieces())

    assert b"".join(pieces) == (data[: size // 2] + data[size // 2 : size])
    assert all(0 < len(piece) <= PIECE_BYTES for piece in pieces)
    assert body.num_bytes is None


def test_a_short_body_of_gzip_that_holds_a_long_one_is_refused():
    body = gzipped(gzip.compress(bytes(1 << 26)), max_bytes=PIECE_BYTES)
    body.check_announced()
    pieces = []

    with pytest.raises(UserError) as refused:
        pieces.extend(body.pieces())

    assert refused.value.http_status == 413
    assert refused.value.message == (
        f"the request's body is longer than {PIECE_BYTES} bytes when unpacked, the limit that "
        "MAX_CONTENT_LENGTH sets"
    )
    assert sum(map(len, pieces)) == PIECE_BYTES


@pytest.mark.parametrize(
    ("packed", "cause"),
    [
        (b"1,2,3", "Error -3 while decompressing data: incorrect header check"),
        (PACKED[:-1], "it ends too early"),
        (PACKED[:-4] + b"1234", "Error -3 while decompressing data: incorrect "
         "length check"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_gzip_is_refused(packed, cause):
    with pytest.raises(UserError) as refused:
        list(gzipped(packed).pieces())

    assert refused.value.http_status == 400
    assert refused.value.message == (
        "the request's body is damaged: Content-Encoding is gzip, and its gzip data cannot be "
        f"unpacked: {cause}"
    )


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "deflate"])
def test_a_body_packed_in_another_way_is_refused_by_name(encoding):
    with pytest.raises(UserError) as refused:
        gzipped(b"", encoding=encoding).check_announced()

    assert refused.value.http_status == 415
    assert refused.value.message == (
        f"Content-Encoding {encoding!r} is not read, allowed: gzip, identity"
    )
