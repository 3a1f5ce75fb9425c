"""Hosts in networks of their own: nothing that befalls one of them makes the others hang."""

import contextlib
import re
import signal
import threading
import time

import numpy as np
import pytest
from host_network import Network, NoNetworksError
from host_trees import HostTrees
from training_tree import Rows, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model

pytestmark = pytest.mark.hosts


@contextlib.contextmanager
def hosts_apart(num_hosts):
    try:
        network = Network(num_hosts).__enter__()
    except NoNetworksError as error:
        pytest.skip(f"HOSTS NOT TESTED IN NETWORKS OF THEIR OWN: {error}")
    with contextlib.closing(contextlib.ExitStack()) as stack:
        stack.push(network)
        yield network


LIMIT_S = 60
"""Within which the others must have failed."""


def endless(tree, _=None):
    tree.hyperparameters(epochs="100000000", mini_batch_size="10", num_factors="24")
    tree.channel("train", {"a.csv": Rows.draw(1, 300).csv})


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"ended without {text!r}: {finish(process)}")


def befall(tmp_path, network, strike, victim):
    """Train on three hosts until one is struck; return the trees and outcomes of the others."""
    hosts = HostTrees(tmp_path, 3, endless, network)
    with hosts.started() as processes:
        read_until(processes[0], "epoch=2, train rmse")
        strike(processes[victim])
        started = time.monotonic()
        others = [number for number in range(3) if number != victim]
        outcomes = [finish(processes[number]) for number in others]
        elapsed_s = time.monotonic() - started
    assert elapsed_s < LIMIT_S
    assert [outcome.code for outcome in outcomes] == [1, 1], outcomes
    for tree in hosts.trees:
        assert list(tree.model.iterdir()) == []
    return [hosts.trees[number] for number in others]


@pytest.mark.parametrize("victim", [0, 2], ids=["leader", "another"])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_host_that_is_gone_is_named_by_the_others(tmp_path, sign, victim):
    with hosts_apart(3) as network:
        trees = befall(tmp_path, network, lambda process: process.send_signal(sign), victim)
    for tree in trees:
        assert tree.failure.startswith(f"InternalServerError: host algo-{victim + 1} was lost: ")


@pytest.mark.parametrize("victim", [0, 1], ids=["leader", "another"])
def test_a_host_whose_link_drops_is_named_by_the_others(tmp_path, victim):
    with hosts_apart(3) as network:
        name = network.names[victim]
        trees = befall(tmp_path, network, lambda _: network.cut_off(name), victim)
    for tree in trees:
        assert tree.failure.startswith(f"InternalServerError: host {name} was lost: ")


def test_a_host_cut_off_ends_too(tmp_path):
    with hosts_apart(2) as network:
        hosts = HostTrees(tmp_path, 2, endless, network)
        with hosts.started() as processes:
            read_until(processes[0], "epoch=2, train rmse")
            network.cut_off("algo-2")
            started = time.monotonic()
            outcomes = [finish(process) for process in processes]
            elapsed_s = time.monotonic() - started
    assert elapsed_s < LIMIT_S
    assert [outcome.code for outcome in outcomes] == [1, 1], outcomes
    assert "host algo-2 was lost" in hosts.trees[0].failure
    assert "host algo-1 was lost" in hosts.trees[1].failure


@pytest.mark.parametrize("num_hosts", [2, 3])
def test_hosts_make_the_model_of_one(tmp_path, num_hosts):
    """Replicated data, one host without any of the test rows: each row counts once."""

    def describe(tree, size):
        tree.hyperparameters(
            mini_batch_size=str(size), predictor_type="binary_classifier",
            shuffle="false", eps="0.001",
        )  # fmt: skip
        tree.channel("train", {"a.csv": Rows.draw(1, 1000, classes=True).csv})
        tree.channel("test", {"a.csv": Rows.draw(2, 100, classes=True).csv})

    one = TrainingTree(tmp_path / "one")
    describe(one, 12 * num_hosts)
    alone = one.train()
    with hosts_apart(num_hosts) as network:
        hosts = HostTrees(tmp_path, num_hosts, lambda tree, _: describe(tree, 12), network)
        together = hosts.train()

    assert [outcome.code for outcome in together] == [0] * num_hosts, together
    got, expected = hosts.model(), load_model(one.model)
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(
            getattr(got, name), getattr(expected, name), rtol=1e-6, atol=1e-6, err_msg=name
        )
    metrics = [
        [
            (name, f"{float(value):.5g}")
            for name, value in re.findall(r"test (\S+) <\S+>=(\S+)", "\n".join(outcome.lines))
        ]
        for outcome in [alone, *together]
    ]
    assert len(metrics[0]) == 4
    assert all(found == metrics[0] for found in metrics)


@contextlib.contextmanager
def two_of_three_waiting(tmp_path):
    """Three hosts, of which the third does not come; yield them and two processes."""
    with hosts_apart(3) as network:
        hosts = HostTrees(tmp_path, 3, endless, network)
        with hosts.started([0, 1]) as processes:
            for process in processes:
                read_until(process, "is here: waiting for the others")
            time.sleep(1)  # for the leader to have heard of the other
            yield hosts, processes


@pytest.mark.parametrize("victim", [0, 1], ids=["leader", "another"])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_host_that_is_gone_before_all_have_come_is_named(tmp_path, sign, victim):
    with two_of_three_waiting(tmp_path) as (hosts, processes):
        processes[victim].send_signal(sign)
        started = time.monotonic()
        outcome = finish(processes[1 - victim])
        elapsed_s = time.monotonic() - started
    assert elapsed_s < LIMIT_S
    assert outcome.code == 1
    failure = hosts.trees[1 - victim].failure
    assert failure.startswith(f"InternalServerError: host algo-{victim + 1} was lost: ")


def test_a_leader_that_stands_still_is_named_by_a_host_that_comes_then(tmp_path):
    with hosts_apart(2) as network:
        hosts = HostTrees(tmp_path, 2, endless, network)
        with hosts.started([0]) as processes:
            read_until(processes[0], "is here: waiting for the others")
            processes[0].send_signal(signal.SIGSTOP)
            processes.append(hosts.start(1))
            started = time.monotonic()
            outcome = finish(processes[1])
            elapsed_s = time.monotonic() - started
    assert elapsed_s < LIMIT_S
    assert outcome.code == 1
    assert hosts.trees[1].failure.startswith(
        "InternalServerError: host algo-1, which leads, port 7777 of 10.77.0.1 cannot be reached: "
    )


def test_a_host_that_starts_again_is_not_taken_for_the_same(tmp_path):
    with two_of_three_waiting(tmp_path) as (hosts, processes):
        processes[1].kill()
        processes.append(hosts.start(1))
        started = time.monotonic()
        outcomes = [finish(processes[number]) for number in (0, 2)]
        elapsed_s = time.monotonic() - started
    assert elapsed_s < 20
    assert [outcome.code for outcome in outcomes] == [1, 1], outcomes
    for tree in hosts.trees[:2]:
        assert tree.failure == (
            "InternalServerError: host algo-2: it was here before: one that starts again cannot "
            "come back"
        )


@pytest.mark.parametrize("victims", [[0], [1], [0, 1]], ids=["leader", "another", "all"])
def test_a_stop_before_all_have_come_ends_those_who_have(tmp_path, victims):
    with two_of_three_waiting(tmp_path) as (hosts, processes):
        for victim in victims:
            processes[victim].send_signal(signal.SIGTERM)
        started = time.monotonic()
        outcomes = [finish(process) for process in processes]
        elapsed_s = time.monotonic() - started
    assert elapsed_s < 10
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    for tree, outcome in zip(hosts.trees, outcomes, strict=False):
        assert tree.failure is None
        assert outcome.lines[-1].endswith("stopped before training began: no model is written")
        assert list(tree.model.glob("*")) == []


def test_a_name_that_resolves_late_is_waited_for(tmp_path):
    """Longer than a host that is there may be silent."""

    def describe(tree, _):
        tree.channel("train", {"a.csv": Rows.draw(1, 100).csv})

    with hosts_apart(2) as network:
        network.resolve("algo-2", ["algo-2"])
        late = threading.Timer(35, network.resolve, ("algo-2", network.names))
        hosts = HostTrees(tmp_path, 2, describe, network)
        late.start()
        started = time.monotonic()
        together = hosts.train()
        elapsed_s = time.monotonic() - started

    assert [outcome.code for outcome in together] == [0, 0], together
    assert elapsed_s > 35
    hosts.model()
