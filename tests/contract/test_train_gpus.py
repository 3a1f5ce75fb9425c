"""Training jobs on several GPUs, a process each: real ones, or played by Triton's interpreter."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from host_trees import HostTrees
from training_tree import ROOT, Rows, TrainingTree, finish

from container.training.gpu_processes import PROGRAM
from fm_algo.artifacts.artifact import load_model

pytestmark = pytest.mark.hosts

INTERPRETED = str(Path(__file__).with_name("interpreted_gpus.py"))
ENVIRONMENT = {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
ALIKE = {"shuffle": "false", "eps": "0.001", "epochs": "2"}
STOP_S = 20


@pytest.fixture(
    scope="session", params=["interpreter", pytest.param("cuda", marks=pytest.mark.gpu)]
)
def start(request):
    """Start a job on two GPUs of one host."""
    if request.param == "interpreter":
        return lambda tree: tree.start(program=(INTERPRETED, "2"), **ENVIRONMENT)
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip(f"NOT RUN ON TWO GPUS: this machine has {torch.cuda.device_count()}")
    return lambda tree: tree.start(FM_GPUS="2")


def assert_same_model(one, other):
    for name in ("w0", "w", "V"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-5, atol=1e-6, err_msg=name
        )


def metrics(outcome):
    """Each metric line without time and host: what it says of what, to five digits."""
    lines = re.findall(
        r"#quality_metric: host=\S+, (.*) <(?:loss|score)>=(\S+)", "\n".join(outcome.lines)
    )
    return [(name, f"{float(value):.5g}") for name, value in lines]


def others_of(process):
    """Ids of the processes that a job has started for its further GPUs."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in listed.split()]


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"ended without {text!r}: {finish(process)}")


def is_there(pid):
    return Path(f"/proc/{pid}").exists()


def describe(tree, *, mini_batch_size=10, classes=True, **changes):
    tree.hyperparameters(
        predictor_type="binary_classifier" if classes else "regressor",
        mini_batch_size=str(mini_batch_size),
        **ALIKE | changes,
    )
    tree.channel("train", {"a.csv": Rows.draw(1, 33, classes=classes).csv})
    tree.channel("validation", {"a.csv": Rows.draw(3, 21, classes=classes).csv})
    tree.channel("test", {"a.csv": Rows.draw(2, 20, classes=classes).csv})


@pytest.mark.parametrize("classes", [True, False])
def test_two_gpus_make_the_model_of_one_cpu_and_say_the_same_once(tmp_path, start, classes):
    one, two = TrainingTree(tmp_path / "one"), TrainingTree(tmp_path / "two")
    describe(one, classes=classes, device="cpu")
    describe(two, classes=classes)
    alone, together = one.train(), finish(start(two))

    assert (together.code, together.errors) == (0, ""), together
    assert ", 2 processes, here " in "\n".join(together.lines)
    assert_same_model(load_model(two.model), load_model(one.model))
    assert metrics(together) == metrics(alone) != []


def test_gpus_of_two_hosts_make_the_model_of_one(tmp_path):
    """Mini-batches count rows of a host, however many GPUs it has."""
    one = TrainingTree(tmp_path / "one")
    describe(one, mini_batch_size=20, num_factors="4", device="cpu")
    programs = [(INTERPRETED, "2")] * 2
    hosts = HostTrees(
        tmp_path, 2, lambda tree, _: describe(tree, num_factors="4"), programs=programs
    )
    alone, together = one.train(), hosts.train(**ENVIRONMENT)

    assert [(outcome.code, outcome.errors) for outcome in together] == [(0, "")] * 2, together
    assert_same_model(hosts.model(), load_model(one.model))
    for outcome in together:
        assert metrics(outcome)[-4:] == metrics(alone)[-4:]


def test_hosts_with_different_numbers_of_gpus_are_told(tmp_path):
    programs = [(INTERPRETED, "1"), (INTERPRETED, "2")]
    hosts = HostTrees(tmp_path, 2, lambda tree, _: describe(tree), programs=programs)
    together = hosts.train(**ENVIRONMENT)

    assert [outcome.code for outcome in together] == [1, 1], together
    expected = "host 127.0.0.2 has 2 GPUs to train on, and host 127.0.0.1 1: all must have as many"
    assert [expected in tree.failure for tree in hosts.trees] == [True, True]


def test_several_hosts_without_gpus_say_so_where_they_are_asked_for(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    hosts = HostTrees(tmp_path, 2, lambda tree, _: describe(tree, device="gpu"))
    together = hosts.train()

    assert [outcome.code for outcome in together] == [1, 1], together
    expected = "device=gpu: this machine has no NVIDIA GPU; use a GPU instance, or device=auto or"
    assert [expected in tree.failure for tree in hosts.trees] == [True, True]


def test_rows_of_a_fifo_are_read_once_for_all_gpus(tmp_path, start):
    one, two = TrainingTree(tmp_path / "one"), TrainingTree(tmp_path / "two")
    rows = Rows.draw(1, 33)
    for tree, device in ((one, "cpu"), (two, "auto")):
        tree.hyperparameters(mini_batch_size="10", device=device, **ALIKE)
        tree.channel("train", {"a.csv": rows.csv})
    directory = two.channel("train", TrainingInputMode="Pipe")
    pipes = [directory.with_name(f"train_{epoch}") for epoch in range(2)]
    for pipe in pipes:
        os.mkfifo(pipe)
    one.run()
    process = start(two)
    for pipe in pipes:
        with pipe.open("wb") as fifo:
            fifo.write(rows.csv)
    outcome = finish(process)

    assert outcome.code == 0, outcome
    assert_same_model(load_model(two.model), load_model(one.model))


def test_a_stop_ends_all_and_one_cpu_goes_on(tmp_path, start):
    """From the checkpoint of two processes of one host, which is one host's."""
    whole, tree = TrainingTree(tmp_path / "whole"), TrainingTree(tmp_path / "stopped")
    for each in (whole, tree):
        describe(each, epochs="30")
        (each.base / "checkpoints").mkdir()
    process = start(tree)
    read_until(process, "epoch=1, train")
    others = others_of(process)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)

    assert time.monotonic() - started < STOP_S
    assert (outcome.code, tree.failure) == (0, None), outcome
    assert any("stopped by SIGTERM" in line for line in outcome.lines)
    assert len(others) == 1
    assert not is_there(others[0])
    assert np.isfinite(load_model(tree.model).V).all()

    for each in (whole, tree):
        describe(each, epochs="30", device="cpu")
        each.run()
    assert_same_model(load_model(tree.model), load_model(whole.model))


def test_a_stop_before_all_processes_are_there_ends_all(tmp_path, start):
    tree = TrainingTree(tmp_path)
    describe(tree)
    process = start(tree)
    read_until(process, "waiting for the others")
    while not (others := others_of(process)):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)

    assert (outcome.code, tree.failure) == (0, None), outcome
    assert not is_there(others[0])
    assert list(tree.model.glob("*")) == []


def test_a_process_that_dies_is_named_and_ends_all(tmp_path, start):
    tree = TrainingTree(tmp_path)
    describe(tree, epochs="1000000")
    process = start(tree)
    read_until(process, "epoch=1, train")
    others = others_of(process)
    assert len(others) == 1
    started = time.monotonic()
    os.kill(others[0], signal.SIGKILL)
    outcome = finish(process)

    assert time.monotonic() - started < STOP_S
    assert outcome.code == 1
    expected = "InternalServerError: host algo-1 (GPU 1) was lost: its process ended with signal 9"
    assert tree.failure == expected
    assert not is_there(others[0])
    assert list(tree.model.iterdir()) == []


def test_a_process_that_cannot_start_is_named(tmp_path):
    tree = TrainingTree(tmp_path)
    describe(tree)
    broken = (
        "import container.training.gpu_processes as g; g.PROGRAM = ('-c', 'raise SystemExit(3)')"
    )
    program = f"import sys; sys.argv[1:] = ['2']\n{Path(INTERPRETED).read_text()}"
    code = program.replace("gpu_processes.PROGRAM = (__file__, str(count))", broken)
    outcome = finish(tree.start(program=("-c", code), **ENVIRONMENT))

    assert outcome.code == 1, outcome
    expected = "host algo-1 (GPU 1) was lost: its process ended with exit code 3"
    assert tree.failure == f"InternalServerError: {expected}"


def test_the_program_of_a_further_gpu_starts_anywhere_and_leaves_the_failure_file_alone(tmp_path):
    tree = TrainingTree(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PYTHONPATH": str(ROOT), "SAGEMAKER_BASE_DIR": str(tree.base)}
    done = subprocess.run(
        [sys.executable, *PROGRAM, "1", str(port)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done
    assert "the train channel is missing" in done.stdout
    assert tree.failure is None
