"""What hosts say of each other; how whole jobs fare is tested as processes, one a host."""

import math
import subprocess
import sys
import threading
import time

import pytest

HOSTS = ["algo-1", "algo-2"]


@pytest.fixture
def connect():
    """Connections to the store of a leader."""
    from fm_algo.training.distributed.group import open_store

    store = open_store("127.0.0.1", 0, is_leader=True, timeout_s=30)
    return lambda: open_store("127.0.0.1", store.port, is_leader=False, timeout_s=30)


@pytest.fixture
def watch(connect):
    """Watches of either host; none is left running."""
    from fm_algo.training.distributed.watch import Watch

    made = []

    def make(rank, stop=None):
        made.append(Watch(connect(), rank, HOSTS, stop or threading.Event()))
        made[-1].start()
        return made[-1]

    yield make
    for watch in reversed(made):
        watch.end()


def test_hosts_meet_whoever_comes_first(watch):
    other = watch(1)
    leader = watch(0)
    assert leader.meet()
    assert other.meet()


def test_who_does_not_come_is_named(watch):
    from fm_algo.errors import PlatformError

    leader = watch(0)
    with pytest.raises(PlatformError, match=r"^host algo-2 did not come in time$"):
        leader.meet(time.monotonic() + 1)


def test_a_stop_before_all_are_there_holds_for_who_comes_later(watch):
    stop = threading.Event()
    leader = watch(0, stop)
    stop.set()
    assert not leader.meet()
    assert not watch(1).meet()


def test_once_all_are_there_a_stop_is_no_reason_not_to_have_met(watch):
    stop = threading.Event()
    leader, other = watch(0), watch(1, stop)
    assert leader.meet()
    stop.set()
    assert other.meet()


def test_all_hear_what_made_one_fail(watch):
    from fm_algo.errors import UserError

    leader, other = watch(0), watch(1)
    other.report(UserError("line 7"))
    with pytest.raises(UserError, match=r"^host algo-2: line 7$"):
        leader.meet(math.inf)


@pytest.mark.hosts
def test_a_host_lost_while_they_are_connected_is_named(root):
    code = """
import sys, threading
from fm_algo.training.distributed import group, watch
group._CONNECTING_S = 3
port, rank = int(sys.argv[1]), int(sys.argv[2])
store = group.open_store("127.0.0.1", port, is_leader=rank == 0, timeout_s=30)
port = store.port
own = group.open_store("127.0.0.1", port, is_leader=False, timeout_s=30)
watching = watch.Watch(own, rank, ["algo-1", "algo-2"], threading.Event())
watching.start()
print(port, flush=True)
watching.meet()
if rank == 1:
    sys.exit()
group.HostGroup(store, rank, ["algo-1", "algo-2"], watching)
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        [*command, "0", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as leader:
        port = leader.stdout.readline().strip()
        subprocess.run([*command, port, "1"], check=True, cwd=root, stdout=subprocess.DEVNULL)
        started = time.monotonic()
        _, errors = leader.communicate(timeout=60)
    assert "PlatformError: host algo-2 was lost: nothing was heard of it for 5 s" in errors
    assert time.monotonic() - started < 20


def test_a_host_that_is_told_to_be_lost_is_named_unless_it_said_why(watch):
    from fm_algo.errors import PlatformError

    leader, other = watch(0), watch(1)
    assert leader.meet()
    leader.tell(1, "its process ended with signal 9")
    leader.tell(1, "later")
    for each in (leader, other):
        with pytest.raises(PlatformError, match=r"^host algo-2 was lost: .* signal 9$"):
            wait_until_failed(each)


def wait_until_failed(watch):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        watch.check()
        time.sleep(0.05)
