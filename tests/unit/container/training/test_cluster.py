"""How hosts find each other; the hosts themselves are tested as processes."""

import socket
import subprocess
import sys
import threading
import time

import pytest

from container.training.cluster import choose_interface, find_leader
from container.training.job import Resources
from fm_algo.errors import PlatformError


def resources(current_host, leader="127.0.0.1"):
    return Resources(current_host=current_host, hosts=(leader, "127.0.0.2"))


@pytest.fixture(autouse=True)
def _no_interface_is_set(monkeypatch):
    """Undo what is set: variables that were not there are taken away again."""
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(name, "lo")


def test_an_interface_that_is_there_is_taken():
    assert choose_interface("lo", "192.0.2.1") == "lo"


def test_in_place_of_one_that_is_not_that_towards_the_leader_is_taken():
    assert choose_interface("ethwe", "127.0.0.1") == "lo"


def test_the_leader_waits_for_nobody():
    address = find_leader(resources("127.0.0.1"), 1, threading.Event(), time.monotonic())
    assert address == "127.0.0.1"


def test_another_waits_until_the_leader_listens():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        threading.Timer(0.3, listening.listen).start()
        deadline = time.monotonic() + 30
        address = find_leader(resources("127.0.0.2"), port, threading.Event(), deadline)
    assert address == "127.0.0.1"


def test_waiting_has_an_end():
    leader = "a-host.invalid"
    with pytest.raises(
        PlatformError, match=r"waited 900 s for the name of host a-host\.invalid to"
    ):
        find_leader(resources("127.0.0.2", leader), 1, threading.Event(), time.monotonic() - 1)


def test_a_stop_ends_the_waiting():
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    leader = "a-host.invalid"
    found = find_leader(resources("127.0.0.2", leader), 1, stop, started + 60)
    assert found is None
    assert time.monotonic() - started < 20


def test_one_host_never_loads_torch(root):
    code = """
import sys, threading
from container.training.cluster import join
from container.training.job import Channel, Resources, TrainingJob
from fm_algo.hyperparameters import parse_hyperparameters

job = TrainingJob(
    hyperparameters=parse_hyperparameters(
        {"feature_dim": 2, "num_factors": 2, "predictor_type": "regressor"}
    ),
    channels={"train": Channel()},
    resources=Resources(),
)
with join(job, 7777, threading.Event()) as hosts:
    hosts.learner.writable_model()
print("torch" in sys.modules, hosts.peers.size)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout == "False 1\n"
