import contextlib
import socket
import threading
import time

import pytest

from container.serving import paced_socket
from container.serving.paced_socket import PacedSocket


@pytest.fixture
def pair(monkeypatch):
    """A paced end, where half a second is the grace and 1,000 bytes a second the pace; a client."""
    monkeypatch.setattr(paced_socket, "GRACE_S", 0.5)
    monkeypatch.setattr(paced_socket, "MIN_BYTES_PER_S", 1000)
    ours, client = socket.socketpair()
    client.settimeout(10)
    paced = PacedSocket(ours)
    with paced, client:
        paced.begin()
        yield paced, client


def test_a_client_that_sends_nothing_is_cut_off_when_its_grace_is_over(pair):
    paced, _ = pair
    started = time.monotonic()

    with pytest.raises(ConnectionResetError, match=r"too slow: .* behind 1000 bytes/s"):
        paced.recv(10)
    assert 0.4 < time.monotonic() - started < 2
    with pytest.raises(ConnectionResetError, match="too slow"):
        paced.recv(10)


def test_a_byte_now_and_then_does_not_keep_a_connection(pair):
    paced, client = pair

    def send_now_and_then():
        for _ in range(20):
            client.send(b"x")
            time.sleep(0.1)

    sender = threading.Thread(target=send_now_and_then)
    sender.start()
    received = 0
    with contextlib.suppress(ConnectionResetError):
        while received < 20:
            received += len(paced.recv(10))
    assert 1 <= received < 10
    sender.join()


def test_a_client_that_keeps_up_the_pace_has_its_time(pair):
    paced, client = pair

    def send_steadily():
        for _ in range(10):
            client.send(b"x" * 200)
            time.sleep(0.1)
        client.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send_steadily)
    sender.start()
    received = 0
    while data := paced.recv(1000):
        received += len(data)
    assert received == 2000
    sender.join()


def test_an_answer_that_is_read_is_sent_whole(pair):
    paced, client = pair
    answer = bytes(range(256)) * 20_000

    sender = threading.Thread(target=paced.sendall, args=(answer,))
    sender.start()
    received = b""
    while len(received) < len(answer):
        received += client.recv(1 << 16)
    sender.join()
    assert received == answer


def test_a_client_that_does_not_read_is_cut_off(pair):
    paced, _ = pair
    started = time.monotonic()

    with pytest.raises(ConnectionResetError, match="too slow"):
        paced.sendall(bytes(1 << 24))
    assert time.monotonic() - started < 3


def test_a_short_answer_leaves_as_one_when_it_is_flushed(pair):
    paced, client = pair
    client.setblocking(False)

    paced.sendall(b"header")
    paced.sendall(b"")
    paced.sendall(b"body")
    with pytest.raises(BlockingIOError):
        client.recv(100)
    paced.flush()
    assert client.recv(100) == b"headerbody"


def test_a_held_answer_is_sent_as_far_as_it_goes_without_waiting(pair):
    paced, client = pair
    answer = bytes(range(256)) * 20_000
    paced.hold()
    for start in range(0, len(answer), 1000):
        paced.sendall(answer[start : start + 1000])
    paced.flush()
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(100)

    received = b""
    while not paced.send_now():
        received += client.recv(1 << 20)
    client.setblocking(True)
    while len(received) < len(answer):
        received += client.recv(1 << 20)
    assert received == answer


def test_a_held_socket_does_not_wait_for_what_has_not_come(pair):
    paced, client = pair
    client.sendall(b"some")
    paced.hold()

    assert paced.recv(10) == b"some"
    with pytest.raises(ConnectionResetError):
        paced.recv(10)


def test_what_is_looked_at_is_still_to_be_received(pair):
    paced, client = pair

    assert paced.peek(10) == b""
    client.sendall(b"some")
    assert paced.peek(2) == b"so"
    assert paced.recv(10) == b"some"


def test_who_was_too_slow_to_ask_still_gets_an_answer(pair):
    paced, client = pair
    with pytest.raises(ConnectionResetError):
        paced.recv(10)

    paced.sendall(b"too slow")
    paced.flush()
    assert client.recv(100) == b"too slow"


def test_who_was_too_slow_to_read_is_sent_no_more(pair):
    paced, _ = pair
    with pytest.raises(ConnectionResetError):
        paced.sendall(bytes(1 << 24))
    started = time.monotonic()

    paced.flush()
    assert time.monotonic() - started < 0.1
