"""What a request that cannot be answered gets: a status, and one line that names the cause."""

import contextlib
import gzip
import json

import pytest

JSON = "application/json"
JSONLINES = "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
CSV = "text/csv"

BODY = b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}]}'


@pytest.fixture(scope="session")
def server(server_of):
    return server_of("regressor")


@pytest.mark.parametrize(
    ("content_type", "body", "causes"),
    [
        (JSON, b"", ["no body"]),
        (JSON, b"{", ["request"]),
        (JSON, b'{"instances": []}', ["instances", "empty"]),
        (JSON, b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}, {}]}', ["instance 1"]),
        (JSON, b'{"instances": [{"features": [1, 2]}]}', ["instance 0", "2", "5"]),
        (
            JSON,
            b'{"instances": [{"features": {"keys": [9], "values": [1], "shape": [10]}}]}',
            ["instance 0", "feature 9 is outside [0, 5)", "feature_dim"],
        ),
        (JSONLINES, b'{"features": [1, 0, 0, 0, 0]}\n{"features"\n', ["line 2"]),
        (JSONLINES, b"\n", ["no row"]),
        (CSV, b"1,0,0,0,0\n1,0,x,0,0\n", ["line 2", "x"]),
        (CSV, b"1,0,0,0\n", ["line 1", "4", "5"]),
        ("text/libsvm", b"0:1\n5:1\n", ["line 2", "feature 5 is outside [0, 5)"]),
        ("text/libsvm", b"0:1:1\n", ["line 1", "this looks like libffm"]),
        ("text/libffm", b"0:1:1\n1:5:1\n", ["line 2", "feature 5 is outside [0, 5)"]),
        ("text/libffm", b"0:1\n", ["line 1", "this looks like libsvm"]),
        ("text/libffm", b"65536:1:1\n", ["line 1", "field 65536 is outside [0, 65536)"]),
        (RECORDIO, bytes.fromhex("0a23d7ce 33000000 0a1d"), ["record 0", "byte offset 0"]),
        (RECORDIO, b"not at all", ["record 0"]),
    ],
)
def test_a_body_that_cannot_be_read_is_400_with_the_row_and_the_cause(
    server, content_type, body, causes
):
    reply = server.invoke(body, Content_Type=content_type)

    assert reply.status == 400
    for cause in causes:
        assert cause in reply.reason


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "text/libsvm", ","])
def test_an_answer_of_a_type_that_is_not_made_is_406(server, accept):
    reply = server.invoke(BODY, Content_Type=JSON, Accept=accept)

    assert reply.status == 406
    assert repr(accept) in reply.reason
    assert JSONLINES in reply.reason


def test_the_type_of_the_answer_is_checked_before_the_body(server):
    assert server.invoke(b"{", Content_Type=JSON, Accept="image/png").status == 406


@pytest.mark.parametrize("content_type", ["image/png", "application/x-www-form-urlencoded", "*/*"])
def test_a_request_of_a_type_that_is_not_read_is_415(server, content_type):
    reply = server.invoke(BODY, Content_Type=content_type)

    assert reply.status == 415
    assert content_type in reply.reason
    assert "application/json, " in reply.reason


def test_a_request_without_a_type_is_415(server):
    reply = server.invoke(BODY)

    assert reply.status == 415
    assert "no Content-Type" in reply.reason
    assert RECORDIO in reply.reason


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/invocations", "POST"), ("POST", "/ping", "GET"), ("PUT", "/invocations", "POST")],
)
def test_a_wrong_method_is_405(server, method, path, allowed):
    reply = server.ask(method, path)

    assert reply.status == 405
    assert allowed in reply.headers["Allow"]
    assert allowed in reply.reason


@pytest.mark.parametrize("path", ["/", "/invocation", "/models", "/invocations/"])
def test_a_wrong_path_is_404(server, path):
    reply = server.ask("GET", path)

    assert reply.status == 404
    assert repr(f"GET {path}") in reply.reason
    assert "/invocations" in reply.reason


@pytest.fixture(scope="session")
def narrow_server(server_of):
    return server_of("regressor", MAX_CONTENT_LENGTH=str(len(BODY)))


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_longer_than_the_limit_is_413(narrow_server, chunked):
    body = iter([BODY, b" "]) if chunked else BODY + b" "

    reply = narrow_server.invoke(body, Content_Type=JSON)

    assert reply.status == 413
    assert str(len(BODY)) in reply.reason
    assert "MAX_CONTENT_LENGTH" in reply.reason


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_as_long_as_the_limit_is_taken(narrow_server, chunked):
    body = iter([BODY]) if chunked else BODY

    assert narrow_server.invoke(body, Content_Type=JSON).status == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_the_caller_of_a_far_too_long_body_gets_to_read_why(narrow_server, chunked):
    body = iter([bytes(1 << 20)] * 40) if chunked else bytes(40 << 20)

    assert narrow_server.invoke(body, Content_Type=JSON).status == 413


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_that_breaks_off_is_not_scored(server, chunked):
    rows = b'{"features": [1, 0, 0, 0, 0]}\n'
    with contextlib.closing(server.connect()) as connection:
        connection.putrequest("POST", "/invocations")
        connection.putheader("Content-Type", JSONLINES)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(b"%x\r\n%s\r\n" % (len(rows), rows))
        else:
            connection.putheader("Content-Length", str(2 * len(rows)))
            connection.endheaders(rows)
        connection.sock.shutdown(1)  # nothing follows, but the answer can be read
        answer = connection.getresponse()

    assert answer.status == 400


def test_a_header_is_not_a_way_into_the_log(server):
    reply = server.invoke(BODY, Content_Type="text/x\tfaked")

    assert reply.status == 415
    assert reply.reason


def test_errors_do_not_hide_behind_each_other(server):
    """After any of them the server goes on."""
    for body in (b"", b"{", b"\xff" * 1000, b'{"instances": [' + b"[" * 100_000):
        assert server.invoke(body, Content_Type=JSON).status == 400
    assert json.loads(server.invoke(BODY, Content_Type=JSON).body)["predictions"]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_of_gzip_is_answered_like_what_it_holds(server, chunked):
    packed = gzip.compress(BODY)
    body = iter([packed]) if chunked else packed

    reply = server.invoke(body, Content_Type=JSON, Content_Encoding="gzip")

    assert reply.status == 200
    assert reply.body == server.invoke(BODY, Content_Type=JSON).body


def test_a_body_of_gzip_that_is_longer_than_the_limit_when_unpacked_is_413(narrow_server):
    packed = gzip.compress(b" " * 10_000)
    assert len(packed) <= len(BODY)

    reply = narrow_server.invoke(packed, Content_Type=JSON, Content_Encoding="gzip")

    assert reply.status == 413
    assert "when unpacked" in reply.reason


def test_a_body_packed_in_a_way_that_is_not_read_is_415(server):
    reply = server.invoke(BODY, Content_Type=JSON, Content_Encoding="br")

    assert reply.status == 415
    assert reply.reason == "Content-Encoding 'br' is not read, allowed: gzip, identity"
    assert server.invoke(BODY, Content_Type=JSON).status == 200
