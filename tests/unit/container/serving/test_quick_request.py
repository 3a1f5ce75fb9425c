import pytest

from container.serving.quick_request import MAX_BYTES, MAX_CELLS, is_quick


def invocation(body, *headers, path=b"/invocations"):
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: x", *headers]
    return b"\r\n".join([*lines, b"", body])


def announced(body):
    return invocation(body, b"Content-Type: text/csv", b"content-LENGTH:  %d" % len(body))


@pytest.mark.parametrize(
    "data",
    [
        b"GET /ping HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        announced(b"1,2\n"),
        announced(b""),
        announced(b'{"instances": [{"user": "u7", "title": "parquet"}]}'),
        invocation(b"1", b"Content-Length: 1", path=b"/models/a%20b/invoke"),
    ],
)
def test_a_ping_and_a_whole_short_invocation_are_quick(data):
    assert is_quick(data)


@pytest.mark.parametrize(
    ("num_samples", "most"), [(0, 9999), (1, 9999), (20, 819), (100, 163), (MAX_BYTES, 0)]
)
def test_with_samples_a_body_is_quick_whose_parameters_are_as_few(num_samples, most):
    paths = []

    def count(path):
        paths.append(path)
        return num_samples

    assert is_quick(announced(b"1" * most), count)
    assert is_quick(announced(b"1" * (most + 1)), count) == (most == 9999)
    assert is_quick(b"GET /ping HTTP/1.1\r\n\r\n", count)
    assert paths == [b"/invocations"] * 2


@pytest.mark.parametrize(
    ("body", "width", "most"),
    [
        (b"u1,i1\n", 4, 1022),
        (b'{"instances": [{"user": "u1", "item": "i1"}]}', 1000, 1),
        (b'{"instances": [{"user": "u1", "item": "i1"}]}', 1400, 0),
        (b"{}\n", 10, 204),
    ],
)
def test_rows_by_name_are_quick_whose_cells_are_few(body, width, most):
    for number in filter(None, (most, most + 1)):
        is_few = number == most
        assert is_quick(announced(body * number), row_width=lambda _: width) == is_few
    if len(body) > 3:
        samples = MAX_CELLS // width
        assert not is_quick(announced(body), lambda _: samples, lambda _: width)


def test_the_path_is_asked_for_as_it_was_sent():
    paths = []
    named = invocation(b"1", b"Content-Length: 1", path=b"/models/a%20b/invoke")

    assert is_quick(named, lambda path: paths.append(path) or 3)
    assert paths == [b"/models/a%20b/invoke"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n",
        b"GET /metrics HTTP/1.1\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /models HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        b"DELETE /models/a/invoke HTTP/1.1\r\n\r\n",
        invocation(b"", b"Content-Type: text/csv"),
        invocation(b"1", b"Content-Length: 2"),
        invocation(b"123", b"Content-Length: 2"),
        invocation(b"0\r\n\r\n", b"Transfer-Encoding: chunked"),
        invocation(b"1", b"Expect: 100-continue", b"Content-Length: 1"),
        invocation(b"1", b"Content-Length: 1_0"),
        announced(b'{"features": [1], "configuration": {"explain": true}}'),
        announced(rb'{"features": [1], "c\u006fnfiguration": {"explain": true}}'),
        announced(b"1" * MAX_BYTES),
        invocation(b"1", b"Content-Type: application/X-Parquet", b"Content-Length: 1"),
        invocation(b"1", b"content-Encoding: gzip", b"Content-Length: 1"),
    ],
)
def test_what_must_be_waited_for_or_may_take_long_is_not_quick(data):
    assert not is_quick(data)
