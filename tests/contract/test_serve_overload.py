"""A server with more to do than it can, and with clients that dawdle."""

import contextlib
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from http_reply import ask

JSON = "application/json"
JSONLINES = "application/jsonlines"
BODY = b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}]}'
ROW = b'{"features": {"keys": [0, 4], "values": [1, 1], "shape": [5]}}\n'


@pytest.fixture
def server(start_server, models):
    return start_server({"model": models["regressor"]}, SAGEMAKER_MODEL_SERVER_WORKERS="1")


def raw(server, receive_buffer=None):
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(30)
    client.connect(("127.0.0.1", server.port))
    return client


def header(length, content_type=JSON):
    return (
        f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def answers_soon(server):
    started = time.monotonic()
    assert server.ask("GET", "/ping").status == 200
    assert server.invoke(BODY, Content_Type=JSON).status == 200
    return time.monotonic() - started < 2


def test_clients_that_send_slowly_are_cut_off(server):
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(raw(server)) for _ in range(62)]
        for client in slow:
            client.sendall(header(len(BODY)))
        started = time.monotonic()
        while time.monotonic() - started < 4:  # a byte now and then is no reason to wait on
            for client in slow:
                client.sendall(BODY[:1])
            assert server.ask("GET", "/ping").status == 200
            time.sleep(0.5)
        time.sleep(2)
        assert answers_soon(server)
        answer = slow[0].recv(1000)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"too slow" in answer


def test_connections_without_a_request_take_no_thread(server):
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(raw(server))
        assert answers_soon(server)


def test_headers_that_never_end_are_cut_off(server):
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(raw(server)).sendall(b"POST /invocations HTTP/1.1\r\nHost:")
        assert answers_soon(server)
        time.sleep(5.5)
        assert answers_soon(server)
    assert "Traceback" not in server.log()


def test_a_client_that_does_not_read_its_answer_is_cut_off(server, request):
    if "image" in request.node.callspec.id:
        pytest.skip("Docker's own proxy reads what the client does not")
    # Explained, an answer is longer than all buffers between a server and its client.
    row = b'{"features": [1, 1, 1, 1, 1], "configuration": {"explain": true}}\n'
    num_rows = 15_000
    with raw(server, receive_buffer=4096) as slow:
        slow.sendall(header(num_rows * len(row), JSONLINES) + num_rows * row)
        deadline = time.monotonic() + 30
        while b'status="200"' not in server.ask("GET", "/metrics").body:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert answers_soon(server)
        time.sleep(6)  # the grace is 5 s
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while data := slow.recv(1 << 20):
                received += len(data)
        assert received < num_rows * 400
    assert "Traceback" not in server.log()


def test_clients_that_do_not_close_hold_nobody_up(server):
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(raw(server))
            client.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answers_soon(server)


def test_what_is_refused_says_when_to_come_back(server):
    with contextlib.ExitStack() as stack:
        for _ in range(62):
            stack.enter_context(raw(server)).sendall(header(len(BODY)) + BODY[:-1])
        time.sleep(0.5)
        refused = server.invoke(BODY, Content_Type=JSON)
    assert refused.status == 503
    assert refused.headers["Retry-After"] == "1"
    assert "try again later" in refused.reason


def test_bodies_beyond_what_memory_is_for_are_refused(start_server, models):
    server = start_server(
        {"model": models["regressor"]},
        SAGEMAKER_MODEL_SERVER_WORKERS="1",
        MAX_CONTENT_LENGTH="1000",
    )
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(raw(server)).sendall(header(1000) + b"x" * 990)
        time.sleep(0.5)
        refused = server.invoke(BODY, Content_Type=JSON)
        assert refused.status == 503
        assert "8000 bytes of requests" in refused.reason
        chunked = server.invoke(iter([BODY]), Content_Type=JSON)
        assert chunked.status == 503


def test_a_worker_that_is_killed_is_replaced(start_server, models, request):
    if "image" in request.node.callspec.id:
        pytest.skip("the processes of a container are not this machine's")
    server = start_server({"model": models["regressor"]}, SAGEMAKER_MODEL_SERVER_WORKERS="2")
    assert server.invoke(BODY, Content_Type=JSON).status == 200
    booted = re.findall(r"Booting worker with pid: (\d+)", server.log())
    os.kill(int(booted[0]), signal.SIGKILL)

    # The other one goes on, and soon there are two again.
    deadline = time.monotonic() + 10
    while len(re.findall("Booting worker", server.log())) < 3:
        assert time.monotonic() < deadline
        assert server.ask("GET", "/ping").status == 200
        time.sleep(0.05)
    for _ in range(20):
        assert server.invoke(BODY, Content_Type=JSON).status == 200
    metrics = server.ask("GET", "/metrics").body.decode()
    assert 'fm_requests_total{model="",status="200"} 21.0' in metrics


@pytest.mark.parametrize("num_workers", ["1", "2"])
def test_ping_is_answered_at_once_while_every_worker_scores(server_of, num_workers):
    server = server_of("regressor", SAGEMAKER_MODEL_SERVER_WORKERS=num_workers)
    body = ROW * 15_000
    times_s = []
    with ThreadPoolExecutor(16) as callers:
        running = [
            callers.submit(server.invoke, body, Content_Type=JSONLINES, Accept="text/csv")
            for _ in range(48)
        ]
        while not all(request.done() for request in running):
            started = time.monotonic()
            assert server.ask("GET", "/ping").status == 200
            times_s.append(time.monotonic() - started)
            time.sleep(0.02)
    assert {request.result().status for request in running} == {200}
    assert sorted(times_s)[len(times_s) // 2] < 0.1
    assert max(times_s) < 2  # the platform's limit


def test_many_refused_requests_are_a_few_lines_of_log(start_server, models):
    server = start_server({"model": models["regressor"]}, SAGEMAKER_MODEL_SERVER_WORKERS="2")

    def refuse(_):
        with contextlib.closing(server.connect()) as connection:
            for number in range(200):
                body = b"1,2\n" * (number % 7 + 1)
                reply = ask(connection, "POST", "/invocations", body, Content_Type="text/csv")
                assert reply.status == 400
                assert reply.reason.startswith("line 1: 2 columns, expected ")

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(refuse, range(4)))
    server.terminate()
    assert server.wait() == 0

    refused = [line for line in server.log().splitlines() if "2 columns, expected" in line]
    counts = [int(found) for found in re.findall(r"the last of (\d+) such lines", server.log())]
    assert all(" WARNING " in line for line in refused)
    assert len(refused) - len(counts) + sum(n - 1 for n in counts) == 800
    assert len(refused) <= 2 * 2 * 4  # first and last, of each worker, in each of some windows
