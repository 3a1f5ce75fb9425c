import contextlib
import socket
import threading
import time

import pytest

from container import paced_worker
from container.paced_worker import PacedSocket


@pytest.fixture
def pair(monkeypatch):
    """A paced end, where half a second is the grace and 1,000 bytes a second the pace; a client."""
    monkeypatch.setattr(paced_worker, "GRACE_S", 0.5)
    monkeypatch.setattr(paced_worker, "MIN_RATE", 1000)
    ours, client = socket.socketpair()
    client.settimeout(10)
    paced = PacedSocket(ours.family, ours.type, ours.proto, fileno=ours.detach())
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
