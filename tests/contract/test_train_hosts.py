"""Training jobs of several hosts, as processes on the loopback network."""

import contextlib
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from host_trees import HostTrees
from training_tree import Rows, TrainingTree, finish

from container.settings import Paths
from container.training import train_job
from fm_algo.artifacts.artifact import load_model

# A large eps: with the default one, a gradient that is all but 0 moves its parameter by the
# learning rate, in the direction of a rounding error.
ALIKE = {"shuffle": "false", "eps": "0.001"}
STOP_S = 20
BY_FEATURE, BY_FACTOR = "3", "24"
"""num_factors by which hosts split a model one way and the other."""


def assert_same_model(one, other, tolerance=1e-6):
    np.testing.assert_allclose(one.w0, other.w0, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.w, other.w, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(one.V, other.V, rtol=tolerance, atol=tolerance)


def test_metric(outcome):
    """The value of each metric of the test channel, as a string of five digits."""
    found = re.findall(r"host=(\S+), test (\S+) <\S+>=(\S+)", "\n".join(outcome.lines))
    return {name: f"{float(value):.5g}" for _, name, value in found}


test_metric.__test__ = False


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"ended without {text!r}: {finish(process)}")


@pytest.mark.parametrize(
    ("classes", "num_factors"),
    [
        pytest.param(False, BY_FEATURE, id="regressor", marks=pytest.mark.hosts),
        pytest.param(True, BY_FEATURE, id="binary_classifier", marks=pytest.mark.hosts),
        pytest.param(False, BY_FACTOR, id="regressor by factor", marks=pytest.mark.hosts),
        pytest.param(True, BY_FACTOR, id="binary_classifier by factor"),
    ],
)
def test_three_hosts_make_the_model_of_one(tmp_path, classes, num_factors):
    """Replicated data: each row is trained on by one host, once an epoch."""
    predictor_type = "binary_classifier" if classes else "regressor"

    def describe(tree, size):
        tree.hyperparameters(
            predictor_type=predictor_type,
            mini_batch_size=str(size),
            num_factors=num_factors,
            **ALIKE,
        )
        tree.channel("train", {"a.csv": Rows.draw(1, 203, classes=classes).csv})
        tree.channel("validation", {"a.csv": Rows.draw(3, 31, classes=classes).csv})
        tree.channel("test", {"a.csv": Rows.draw(2, 50, classes=classes).csv})

    one = TrainingTree(tmp_path / "one")
    describe(one, 36)
    hosts = HostTrees(tmp_path, 3, lambda tree, _: describe(tree, 12))
    alone, together = one.train(), hosts.train()

    assert [outcome.code for outcome in together] == [0, 0, 0], together
    assert [outcome.errors for outcome in together] == ["", "", ""]
    assert_same_model(hosts.model(), load_model(one.model))
    for name, outcome in zip(hosts.names, together, strict=True):
        assert test_metric(outcome) == test_metric(alone) != {}
        assert any(f"host={name}, epoch=2, validation" in line for line in outcome.lines)
        (seen,) = re.findall(
            r'"epoch": 2, "Meta".*"Total Records Seen": {"sum": ([0-9.]+)', "\n".join(outcome.lines)
        )
        assert float(seen) == 3 * 203


@pytest.mark.hosts
@pytest.mark.parametrize("num_factors", [BY_FEATURE, BY_FACTOR])
def test_shards_are_taken_as_they_come_also_none(tmp_path, num_factors):
    """Two hosts have files, the third one none, nor a directory: it trains in step all the same."""
    rows = Rows.draw(1, 100)

    def describe(tree, number):
        tree.hyperparameters(mini_batch_size="20", num_factors=num_factors, **ALIKE)
        files = [{"a.csv": rows[:70].csv}, {"b.csv": rows[70:].csv}, {}][number]
        directory = tree.channel("train", files, S3DistributionType="ShardedByS3Key")
        if not files:
            directory.rmdir()

    hosts = HostTrees(tmp_path, 3, describe)
    together = hosts.train()

    assert [outcome.code for outcome in together] == [0, 0, 0], together
    hosts.model()
    for outcome in together:
        assert any(
            '"Number of Records Since Last Reset": {"sum": 100.0' in x for x in outcome.lines
        )


@pytest.mark.hosts
def test_no_rows_on_any_host_is_an_error(tmp_path):
    def describe(tree, _):
        tree.channel("train", {}, S3DistributionType="ShardedByS3Key")

    hosts = HostTrees(tmp_path, 2, describe)
    together = hosts.train()

    assert [outcome.code for outcome in together] == [1, 1]
    for tree in hosts.trees:
        assert "train channel is empty: no rows on any of 2 hosts" in tree.failure


@pytest.mark.hosts
def test_a_mistake_in_one_hosts_data_is_told_by_all(tmp_path):
    def describe(tree, number):
        content = b"1,2,3,4,5,6,7\n" if number == 0 else b"1,2,3,4,5,6,7\n1,2,x,4,5,6,7\n"
        tree.channel("train", {"a.csv": content * 50}, S3DistributionType="ShardedByS3Key")

    hosts = HostTrees(tmp_path, 3, describe)
    together = hosts.train()

    assert [outcome.code for outcome in together] == [1, 1, 1]
    for tree in hosts.trees:
        assert tree.failure.startswith("ClientError: ")
        assert "train channel, a.csv, line 2" in tree.failure
        assert list(tree.model.iterdir()) == []
    assert hosts.trees[0].failure.startswith(
        ("ClientError: host 127.0.0.2: ", "ClientError: host 127.0.0.3: ")
    )


@pytest.mark.hosts
@pytest.mark.parametrize("number", [0, 1], ids=["leader", "another"])
def test_a_host_without_a_place_for_the_model_is_named_by_all(tmp_path, number):
    """Before they wait for each other, hosts check only what is alike on all."""
    hosts = HostTrees(tmp_path, 2, lambda tree, _: tree.channel("train", {"a.csv": b"1,2"}))
    hosts.trees[number].model.write_text("a file")
    together = hosts.train()

    assert [outcome.code for outcome in together] == [1, 1]
    told = [tree.failure.removeprefix("InternalServerError: ") for tree in hosts.trees]
    expected = f"the model directory {hosts.trees[number].model} cannot be made: "
    assert told[number].startswith(expected)
    assert told[1 - number].startswith(f"host {hosts.names[number]}: {expected}")


@pytest.mark.hosts
def test_a_model_too_large_for_one_hosts_memory_is_trained_by_two(tmp_path):
    """With Adam's state 1,343 MiB, half of it on each; about 400 MiB are the programs' own."""
    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))  # each has its stacks
    limited = ["taskset", "-c", processors, "prlimit", f"--data={1300 << 20}"]
    last = 11_000_000 - 1

    def describe(tree, _=None):
        tree.hyperparameters(feature_dim=str(last + 1), num_factors="8", epochs="1")
        tree.channel("train", {"a.libsvm": f"1 0:1 {last}:1\n".encode() * 50}, "text/libsvm")

    one = TrainingTree(tmp_path / "one")
    describe(one)
    alone = finish(one.start(prefix=limited))
    hosts = HostTrees(tmp_path, 2, describe, prefix=limited)
    together = hosts.train()

    assert alone.code == 1
    assert one.failure.startswith("ClientError: out of memory: use a larger instance (Unable to")
    assert [outcome.code for outcome in together] == [0, 0], together
    model = hosts.model()
    assert model.V.shape == (last + 1, 8)
    assert model.w[0] > 0 < model.w[last]  # trained on; the others are as drawn
    assert np.count_nonzero(model.V[1:last].any(axis=1)) == last - 1
    (hosts.trees[0].model / "model.safetensors").unlink()  # pytest would keep it


@pytest.mark.hosts
def test_early_stopping_on_split_rows_from_an_earlier_model(tmp_path):
    """The best model goes through the leader's file and back to all hosts, which score it."""
    earlier = TrainingTree(tmp_path / "earlier")
    earlier.channel("train", {"a.csv": Rows.draw(1, 100).csv})
    earlier.run()

    def describe(tree, _):
        tree.hyperparameters(
            epochs="40", early_stopping_patience="2", validation_split="0.3", factors_lr="0.3"
        )
        tree.channel("train", {"a.csv": Rows.draw(1, 200).csv})
        tree.channel("test", {"a.csv": Rows.draw(2, 20).csv})
        model = (earlier.model / "model.safetensors").read_bytes()
        tree.channel("model", {"model.safetensors": model}, "application/x-sagemaker-model")

    hosts = HostTrees(tmp_path, 2, describe)
    together = hosts.train()

    assert [outcome.code for outcome in together] == [0, 0], together
    hosts.model()
    assert any("the model is that of epoch" in line for line in together[0].lines)
    assert test_metric(together[0]) == test_metric(together[1]) != {}


@pytest.mark.parametrize(
    "num_factors", [pytest.param(BY_FEATURE, marks=pytest.mark.hosts), BY_FACTOR]
)
def test_a_stop_of_one_host_ends_all_with_a_whole_model(tmp_path, num_factors):
    def describe(tree, _):
        tree.hyperparameters(epochs="100000000", num_factors=num_factors)
        tree.channel("train", {"a.csv": Rows.draw(1, 200).csv})

    hosts = HostTrees(tmp_path, 3, describe)
    with hosts.started() as processes:
        read_until(processes[1], "epoch=2, train rmse")
        started = time.monotonic()
        processes[1].send_signal(signal.SIGTERM)
        together = [finish(process) for process in processes]

    assert time.monotonic() - started < STOP_S
    assert [outcome.code for outcome in together] == [0, 0, 0], together
    assert [tree.failure for tree in hosts.trees] == [None] * 3
    assert np.isfinite(hosts.model().V).all()
    assert any("stopped by SIGTERM" in line for line in together[0].lines)


@pytest.mark.hosts
def test_a_stop_of_all_in_the_middle_of_an_epoch_ends_all_with_a_whole_model(tmp_path):
    """As the platform does it; what is told of the epoch is told of the same rows by all."""
    num_rows = 300_000

    def describe(tree, _):
        tree.hyperparameters(epochs="100", mini_batch_size="10")
        tree.channel("train", {"a.csv": Rows.draw(1, 3000).csv * (num_rows // 3000)})
        tree.channel("test", {"a.csv": Rows.draw(2, 20).csv})

    hosts = HostTrees(tmp_path, 3, describe)
    with hosts.started() as processes:
        read_until(processes[0], "batch=500 train rmse")
        started = time.monotonic()
        for process in processes:
            process.send_signal(signal.SIGTERM)
        together = [finish(process) for process in processes]

    assert time.monotonic() - started < STOP_S
    assert [outcome.code for outcome in together] == [0, 0, 0], together
    assert [outcome.errors for outcome in together] == ["", "", ""]
    assert [tree.failure for tree in hosts.trees] == [None] * 3
    model = hosts.model()
    assert all(np.isfinite(values).all() for values in (model.w0, model.w, model.V))
    told = set()
    for name, outcome in zip(hosts.names, together, strict=True):
        text = "\n".join(outcome.lines)
        final = re.findall(rf"host={name}, (epoch=0, )?train (\S+) <loss>=(\S+)", text)
        (seen,) = re.findall(r'"Number of Records Since Last Reset": {"sum": ([0-9.]+)', text)
        assert 3 * 10 * 500 < float(seen) < num_rows
        assert len(final) == 6  # rmse, mse and absolute_loss: of the epoch, and final
        assert "test" not in "".join(line for line in outcome.lines if "#quality" in line)
        told.add((seen, *final))
    assert len(told) == 1


@pytest.mark.hosts
def test_a_stop_of_one_host_while_all_score_leaves_part_of_the_rows_untold(tmp_path):
    def describe(tree, _):
        tree.channel("train", {"a.csv": Rows.draw(1, 200).csv})
        directory = tree.channel("test", TrainingInputMode="Pipe")
        os.mkfifo(directory.with_name("test_0"))

    hosts = HostTrees(tmp_path, 2, describe)
    pipes = [tree.base / "input" / "data" / "test_0" for tree in hosts.trees]
    content = Rows.draw(2, 1000).csv * 500  # more than is scored at once
    with hosts.started() as processes, contextlib.ExitStack() as stack:
        fifos = [stack.enter_context(pipe.open("wb", 0)) for pipe in pipes]  # waits for readers
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda fifo: fifo.write(content), fifos))
        processes[1].send_signal(signal.SIGTERM)
        together = [finish(process) for process in processes]

    assert [outcome.code for outcome in together] == [0, 0], together
    assert [tree.failure for tree in hosts.trees] == [None] * 2
    hosts.model()
    for outcome in together:
        assert test_metric(outcome) == {}
        assert any("the test channel is not scored" in line for line in outcome.lines)


@pytest.mark.hosts
def test_a_stop_while_hosts_wait_for_each_other_is_heard(tmp_path):
    def describe(tree, _):
        tree.channel("train", {"a.csv": Rows.draw(1, 200).csv})

    hosts = HostTrees(tmp_path, 2, describe)
    for tree in hosts.trees:  # the leader alone is started
        stop = threading.Event()
        threading.Timer(1, stop.set).start()
        started = time.monotonic()
        train_job.run(Paths(tree.base), stop, 19_777)
        assert time.monotonic() - started < STOP_S
        assert list(tree.model.glob("*")) == []


@pytest.mark.hosts
@pytest.mark.parametrize(
    ("num_hosts_after", "num_factors"),
    [
        (2, BY_FEATURE),
        (3, BY_FEATURE),
        (2, BY_FACTOR),
        (3, BY_FACTOR),
        (1, BY_FACTOR),
        (4, BY_FACTOR),
    ],
)
def test_a_stopped_job_goes_on_with_as_many_hosts_or_others(tmp_path, num_hosts_after, num_factors):
    """With as many: the very model of a job never stopped. A checkpoint is the leader's alone."""
    rows = Rows.draw(1, 300)

    def describe(tree, _):
        tree.hyperparameters(epochs="8", mini_batch_size="10", eps="0.001", num_factors=num_factors)
        tree.channel("train", {"a.csv": rows.csv})
        tree.channel("test", {"a.csv": Rows.draw(2, 50).csv})
        (tree.base / "checkpoints").mkdir(exist_ok=True)

    before = HostTrees(tmp_path / "job", 2, describe)
    with before.started() as processes:
        read_until(processes[0], "epoch=2, train rmse")
        processes[0].send_signal(signal.SIGTERM)
        stopped = [finish(process) for process in processes]
    assert [outcome.code for outcome in stopped] == [0, 0], stopped
    assert list((before.trees[1].base / "checkpoints").iterdir()) == []

    after = HostTrees(tmp_path / "job", num_hosts_after, describe)
    ended = after.train()
    assert [outcome.code for outcome in ended] == [0] * num_hosts_after, ended
    assert any("going on from the checkpoint" in line for line in ended[0].lines)
    if num_hosts_after == 2:
        whole = HostTrees(tmp_path / "whole", 2, describe)
        whole.train()
        assert_same_model(after.model(), whole.model(), tolerance=0)
