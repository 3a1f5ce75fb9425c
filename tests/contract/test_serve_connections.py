"""What a connection can carry: requests whole or in parts, one after another or at once."""

import contextlib
import http.client
import json
import socket
import time

import pytest

JSON = "application/json"
BODY = b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}]}'
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"


def invocation(body=BODY, *headers):
    lines = ["POST /invocations HTTP/1.1", "Host: x", f"Content-Type: {JSON}", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@pytest.fixture
def client(server_of):
    server = server_of("regressor", SAGEMAKER_MODEL_SERVER_WORKERS="1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def answers(client, number):
    """Read so many answers off a connection."""
    found = []
    reader = client.makefile("rb")
    for _ in range(number):
        status = int(reader.readline().split()[1])
        headers = http.client.parse_headers(reader)
        found.append((status, headers, reader.read(int(headers["Content-Length"]))))
    return found


def is_scored(answer):
    status, _, body = answer
    return status == 200 and len(json.loads(body)["predictions"]) == 1


def test_requests_sent_without_waiting_are_answered_in_their_order(client):
    client.sendall(invocation() + PING + invocation(b"{") + invocation() + PING)

    statuses = [status for status, _, _ in answers(client, 5)]

    assert statuses == [200, 200, 400, 200, 200]


def test_short_and_long_requests_take_turns_on_a_connection(client):
    long = json.dumps({"instances": [{"features": [1, 0, 0, 0.5, 0]}] * 2000}).encode()

    for _ in range(5):
        for request, num_rows in ((invocation(), 1), (invocation(long), 2000)):
            client.sendall(request)
            ((status, _, body),) = answers(client, 1)
            assert status == 200
            assert len(json.loads(body)["predictions"]) == num_rows


@pytest.mark.parametrize("cut", [1, 20, 40, -len(BODY), -10])
def test_a_request_in_two_parts_is_one_request(client, cut):
    request = invocation()

    client.sendall(request[:cut])
    time.sleep(0.1)
    client.sendall(request[cut:])

    assert is_scored(*answers(client, 1))


def test_a_connection_is_closed_when_the_client_wants_it(client):
    client.sendall(invocation(BODY, "Connection: close"))

    (answer,) = answers(client, 1)
    assert is_scored(answer)
    assert answer[1]["Connection"] == "close"
    assert client.recv(1) == b""


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(client):
    head, _, body = invocation(BODY, "Expect: 100-continue").partition(b"\r\n\r\n")

    client.sendall(head + b"\r\n\r\n")
    assert client.recv(100).startswith(b"HTTP/1.1 100 ")
    client.sendall(body)

    assert is_scored(*answers(client, 1))


@pytest.mark.parametrize(
    "headers", [("Content-Length: 1",), ("Transfer-Encoding: chunked",), ("Bad Header: x",)]
)
def test_a_request_whose_length_is_in_doubt_ends_its_connection(client, headers):
    client.sendall(invocation(BODY, *headers) + PING)

    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            received += data
    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1 ") == 1


def test_a_connection_outlives_errors(client):
    for body, expected in ((b"{", 400), (BODY, 200), (b"", 400), (BODY, 200)):
        client.sendall(invocation(body))
        ((status, headers, _),) = answers(client, 1)
        assert status == expected
        assert headers["Connection"] == "keep-alive"


def test_head_of_ping_has_no_body(client):
    client.sendall(b"HEAD /ping HTTP/1.1\r\nHost: x\r\n\r\n" + PING)

    assert [status for status, _, _ in answers(client, 2)] == [200, 200]
