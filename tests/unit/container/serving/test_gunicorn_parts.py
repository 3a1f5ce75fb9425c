"""What paced_worker.py and paced_socket.py need of gunicorn beyond what it documents.

A failure after an upgrade names the part that has changed. Read gunicorn/workers/gthread.py beside
paced_worker.py, mend that, and only then raise the bound in pyproject.toml.
"""

import importlib.metadata
import inspect
import selectors
import socket
import threading
import time
import tomllib
from collections import deque

import pytest
from gunicorn import util
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from gunicorn.workers import gthread
from gunicorn.workers.gthread import TConn, ThreadWorker

TESTED = "27.0"
VERSION = importlib.metadata.version("gunicorn")
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
FIRST = [
    "accept in the loop",
    "enqueue_req in the loop",
    "handle in a thread",
    "handle_request in a thread",
    "finish_request in the loop",
]
SIGNATURES = {
    (TConn, "__init__"): "(self, cfg, sock, client, server)",
    (TConn, "set_timeout"): "(self)",
    (ThreadWorker, "accept"): "(self, listener)",
    (ThreadWorker, "on_pending_socket_readable"): "(self, conn, client)",
    (ThreadWorker, "on_client_socket_readable"): "(self, conn, client)",
    (ThreadWorker, "enqueue_req"): "(self, conn)",
    (ThreadWorker, "handle"): "(self, conn)",
    (ThreadWorker, "handle_request"): "(self, req, conn)",
    (ThreadWorker, "finish_request"): "(self, conn, fs)",
}
"""Of what is overridden, called, or calls what is overridden."""


class Traced(ThreadWorker):
    """Writes down which of its parts are called, and where."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = []


def trace(name):
    def method(self, *args):
        is_thread = threading.current_thread().name.startswith("ThreadPoolExecutor")
        self.calls.append(f"{name} in {'a thread' if is_thread else 'the loop'}")
        return getattr(ThreadWorker, name)(self, *args)

    setattr(Traced, name, method)


for owner, part in SIGNATURES:
    if owner is ThreadWorker:
        trace(part)


class Recorded(socket.socket):
    """Writes down which of a socket's methods gunicorn calls."""

    def __init__(self, fileno):
        super().__init__(fileno=fileno)
        self.calls = []

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if callable(value):
            self.calls.append(name)
        return value


class Gone(socket.socket):
    """Fails as a PacedSocket does whose client is too slow."""

    def recv(self, *_):
        raise ConnectionResetError("too slow")


def changed(part):
    return (
        f"gunicorn {VERSION} has changed {part}, on which container/serving/paced_worker.py leans"
    )


def hello(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]


def ask(client, request=REQUEST):
    client.sendall(request)
    received = b""
    while not received.endswith(b"hello"):
        data = client.recv(1000)
        assert data, received
        received += data


def wait_for(is_so):
    """Wait: the loop is told of the end of an answer after the client."""
    end = time.monotonic() + 10
    while not is_so() and time.monotonic() < end:
        time.sleep(0.01)
    return is_so()


def traced_calls(served, number):
    wait_for(lambda: len(served.worker.calls) >= number)
    return served.worker.calls[:number]


@pytest.fixture
def connection_of():
    """Make connections as gunicorn has them, each with its client."""
    opened = []

    def make(kind=socket.socket):
        ours, client = socket.socketpair()
        sock = kind(fileno=ours.detach())
        opened.extend((sock, client))
        client.settimeout(10)
        connection = TConn(Config(), sock, ("127.0.0.1", 1), ("127.0.0.1", 2))
        connection.data_ready = True
        return connection, client

    yield make
    for each in opened:
        each.close()


def test_this_version_is_within_the_bound_that_was_tested(root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    (bound,) = [text for text in project["dependencies"] if text.startswith("gunicorn")]
    assert bound == f"gunicorn>={TESTED},<27.1"
    told = f"gunicorn {VERSION} is not {TESTED}.*, with which the other tests of this file passed"
    assert VERSION.startswith(f"{TESTED}."), told


@pytest.mark.parametrize("owner_and_name", SIGNATURES, ids=lambda it: f"{it[0].__name__}.{it[1]}")
def test_a_method_takes_what_it_took(owner_and_name):
    owner, name = owner_and_name
    part = f"{owner.__name__}.{name}"
    assert hasattr(owner, name), changed(part)
    signature = str(inspect.signature(getattr(owner, name)))
    assert signature == SIGNATURES[owner_and_name], changed(part)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cfg", Config),
        ("nr_conns", int),
        ("pending_conns", deque),
        ("keepalived_conns", deque),
        ("poller", selectors.BaseSelector),
    ],
)
def test_a_worker_has_its_attributes(make_worker, name, kind):
    worker = make_worker(ThreadWorker, hello)

    assert isinstance(getattr(worker, name, None), kind), changed(f"ThreadWorker.{name}")


def test_a_connection_has_its_attributes(connection_of):
    connection, _ = connection_of()
    fresh = TConn(connection.cfg, connection.sock, None, None)

    assert fresh.sock is connection.sock, changed("TConn.sock")
    assert fresh.data_ready is False, changed("TConn.data_ready")
    fresh.set_timeout()
    left_s = fresh.timeout - time.monotonic()
    assert 0 < left_s <= fresh.cfg.keepalive, changed("TConn.set_timeout")


def test_a_connection_is_handled_in_a_thread_and_finished_in_the_loop(running):
    with running(Traced, hello, threads=2) as served, served.connect() as client:
        ask(client)
        ask(client)
        calls = traced_calls(served, 2 * len(FIRST))

    further = ["on_client_socket_readable in the loop", *FIRST[1:]]
    assert calls == FIRST + further, changed("the order of calls")


def test_a_connection_that_waits_for_its_first_request_is_called_readable(running, monkeypatch):
    monkeypatch.setattr(gthread, "DEFAULT_WORKER_DATA_TIMEOUT", 0.05)
    waits = [*FIRST[:3], "finish_request in the loop"]
    with running(Traced, hello, threads=2) as served, served.connect() as client:
        assert traced_calls(served, len(waits)) == waits
        part = changed("ThreadWorker.pending_conns")
        assert wait_for(lambda: len(served.worker.pending_conns) == 1), part
        ask(client)
        calls = traced_calls(served, len(waits) + len(FIRST))

    readable = ["on_pending_socket_readable in the loop", *FIRST[1:]]
    assert calls == waits + readable, changed("the order of calls")


def test_a_request_that_was_read_with_another_is_handled_when_that_is_finished(running):
    with running(Traced, hello, threads=2) as served, served.connect() as client:
        client.sendall(2 * REQUEST)
        calls = traced_calls(served, 2 * len(FIRST) - 1)

    assert calls == FIRST + FIRST[1:], changed("ThreadWorker.finish_request")


def test_what_is_finished_well_waits_among_the_kept_alive(running):
    with running(ThreadWorker, hello, threads=2) as served, served.connect() as client:
        ask(client)
        part = changed("ThreadWorker.keepalived_conns")
        assert wait_for(lambda: len(served.worker.keepalived_conns) == 1), part
        (connection,) = served.worker.keepalived_conns
        key = served.worker.poller.get_key(connection.sock)
        assert key.data.func == served.worker.on_client_socket_readable
        assert key.data.args == (connection,)
        assert served.worker.nr_conns == 1, changed("ThreadWorker.nr_conns")


def test_handle_answers_by_recv_and_sendall_alone(make_worker, connection_of):
    worker = make_worker(ThreadWorker, hello)
    connection, client = connection_of(Recorded)
    client.sendall(REQUEST)
    connection.sock.calls.clear()

    assert worker.handle(connection) is True, changed("the result of ThreadWorker.handle")
    used = {name for name in connection.sock.calls if name.startswith(("recv", "send", "make"))}
    assert used == {"recv", "sendall"}, changed("how a socket is used")
    assert client.recv(1000).endswith(b"hello")


def test_handle_tells_of_the_end_of_a_connection(make_worker, connection_of):
    worker = make_worker(ThreadWorker, hello)
    part = changed("the result of ThreadWorker.handle")

    connection, client = connection_of()
    client.sendall(REQUEST.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert worker.handle(connection) is False, part

    connection, client = connection_of()
    client.close()
    assert worker.handle(connection) is False, part

    connection, client = connection_of(Gone)
    assert worker.handle(connection) is False, part
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1000)


def test_what_was_read_of_a_further_request_is_kept_beside_the_parser(make_worker, connection_of):
    worker = make_worker(ThreadWorker, hello)
    connection, client = connection_of()
    client.sendall(2 * REQUEST)

    assert worker.handle(connection) is True
    assert isinstance(connection.parser, RequestParser), changed("TConn.parser")
    assert connection.parser.unreader.buf.getvalue() == REQUEST, changed("Parser.unreader.buf")


@pytest.mark.parametrize(
    ("waiting", "murder"),
    [("pending_conns", "murder_pending"), ("keepalived_conns", "murder_keepalived")],
)
def test_those_that_wait_are_closed_from_the_left_once_their_time_is_over(
    make_worker, connection_of, waiting, murder
):
    worker = make_worker(ThreadWorker, hello)
    connections = [connection_of()[0] for _ in range(2)]
    for connection, left_s in zip(connections, (-1, 100), strict=True):
        connection.timeout = time.monotonic() + left_s
        getattr(worker, waiting).append(connection)
        worker.poller.register(connection.sock, selectors.EVENT_READ)
    worker.nr_conns = 2

    getattr(worker, murder)()

    part = changed(f"ThreadWorker.{murder}")
    assert list(getattr(worker, waiting)) == connections[1:], part
    assert [connection.sock.fileno() < 0 for connection in connections] == [True, False], part
    assert worker.nr_conns == 1, part


def test_a_connection_is_closed_by_shutdown_and_by_recv_until_its_end(connection_of):
    connection, client = connection_of(Recorded)
    client.shutdown(socket.SHUT_WR)
    connection.sock.calls.clear()

    util.close_graceful(connection.sock)

    used = ["shutdown", "settimeout", "recv", "close"]
    called = [name for name in connection.sock.calls if name in used]
    assert called == used, changed("gunicorn.util.close_graceful")
