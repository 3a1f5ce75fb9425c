import contextlib
import http.client
import socket
import threading
import time

import pytest

from container.serving.paced_worker import PacedWorker

PING = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
OTHER = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
LONG = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nlong"


def where(environ, start_response):
    """Tell where a request is answered; of an invocation, at such a length that it must wait."""
    thread = threading.current_thread().name
    body = b"thread" if thread.startswith("ThreadPoolExecutor") else b"loop"
    if environ["REQUEST_METHOD"] == "POST":
        body += environ["wsgi.input"].read() + bytes(1 << 24)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def served(running):
    with running(PacedWorker, where, threads=1, keepalive=75) as worker:
        yield worker


def answer(client, request):
    client.sendall(request)
    return read(client)


def read(client):
    with http.client.HTTPResponse(client) as response:
        response.begin()
        return response.read()


def wait_for(is_so):
    end = time.monotonic() + 10
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


def test_quick_requests_are_answered_in_the_loop_and_others_in_a_thread(served):
    with served.connect() as client:
        asked = [PING, OTHER, OTHER, PING, PING]

        places = [answer(client, request) for request in asked]

    assert places == [b"loop", b"thread", b"thread", b"loop", b"loop"]


def test_a_request_of_a_model_with_many_samples_is_answered_in_a_thread(running):
    short = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
    with running(PacedWorker, where, threads=1, keepalive=75) as served:
        with served.connect() as client:
            at_first = answer(client, short)
        served.worker.num_samples = lambda path: 5000 if path == b"/invocations" else 0
        with served.connect() as client:
            then = [answer(client, request) for request in (short, PING)]

    assert [found[:4] for found in (at_first, *then)] == [b"loop", b"thre", b"loop"]


def test_the_first_request_may_be_one_for_a_thread(served):
    with served.connect() as client:
        assert answer(client, OTHER) == b"thread"


def test_who_says_nothing_takes_no_thread(served):
    with contextlib.ExitStack() as idle:
        for _ in range(3):
            idle.enter_context(served.connect())
        with served.connect() as client:
            assert answer(client, OTHER) == b"thread"
        assert len(served.worker.pending_conns) == 3


def test_an_answer_that_does_not_leave_at_once_is_sent_by_a_thread(served):
    with served.connect() as slow, served.connect() as client:
        slow.sendall(LONG)
        assert answer(client, PING) == b"loop"
        assert wait_for(lambda: not served.worker.pending_conns)

        assert answer(client, PING) == b"loop"
        assert read(slow) == b"looplong" + bytes(1 << 24)
        assert answer(slow, PING) == b"loop"


def test_a_request_that_came_with_another_is_answered_too(served):
    with served.connect() as client:
        client.sendall(PING + PING + OTHER)

        whole = b""
        while whole.count(b"thread") < 3:
            whole += client.recv(1000)

    assert whole.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("request_", [PING, OTHER])
def test_a_connection_ends_when_the_client_wants_it(served, request_):
    with served.connect() as client:
        client.sendall(request_.replace(b"Host: x", b"Host: x\r\nConnection: close"))

        while client.recv(1000):
            pass

    assert wait_for(lambda: served.worker.nr_conns == 0)


def test_clients_that_have_gone_are_counted_no_more(served):
    with served.connect() as asked, served.connect(), served.connect() as broken:
        assert answer(asked, PING) == b"loop"
        broken.sendall(PING[:10])
        assert wait_for(lambda: served.worker.nr_conns == 3)

    assert wait_for(lambda: served.worker.nr_conns == 0)
    assert not served.worker.pending_conns
    assert not served.worker.keepalived_conns


def test_a_client_that_went_before_its_answer_does_not_end_the_loop(served):
    with served.connect() as gone:
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.sendall(LONG)

    assert wait_for(lambda: served.worker.nr_conns == 0)
    with served.connect() as client:
        assert answer(client, PING) == b"loop"


def test_who_was_silent_for_longest_is_the_first_to_be_closed(served):
    def waiting():
        return [connection.client for connection in served.worker.keepalived_conns]

    with served.connect() as silent, served.connect() as client:
        both = [each.getsockname() for each in (silent, client)]
        assert answer(client, PING) == answer(silent, PING) == b"loop"
        assert wait_for(lambda: waiting() == both[::-1])
        assert answer(client, PING) == b"loop"
        assert wait_for(lambda: waiting() == both)
        assert answer(silent, OTHER) == b"thread"
        assert wait_for(lambda: waiting() == both[::-1])

        timeouts = [connection.timeout for connection in served.worker.keepalived_conns]
        assert timeouts == sorted(timeouts)
