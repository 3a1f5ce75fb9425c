"""A training job that is told to stop, as by StopTrainingJob, a time limit or a spot reclaim."""

import gzip
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from training_tree import Rows, TrainingTree, finish

from container.settings import Paths
from container.training import train_job
from fm_algo.artifacts.artifact import load_model

STOP_S = 10
"""The platform grants 120."""


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def stop(process):
    """Send SIGTERM; return what is left and the seconds it took."""
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)
    return outcome, time.monotonic() - started


def read_until(process, text):
    """Read the log of a running program up to a line with this text."""
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"ended without {text!r}: {finish(process)}")


def has_open(process, file):
    links = Path(f"/proc/{process.pid}/fd").iterdir()
    return any(link.is_symlink() and link.resolve() == file for link in links)


def test_while_training_a_whole_model_is_left(tree):
    tree.hyperparameters(epochs="100000000")
    tree.channel("train", {"a.csv": Rows.draw(1, 200).csv})
    tree.channel("test", {"a.csv": Rows.draw(2, 20).csv})
    process = tree.start()
    read_until(process, "epoch=2, train rmse")
    outcome, elapsed_s = stop(process)

    assert outcome.code == 0
    assert elapsed_s < STOP_S
    assert outcome.errors == ""
    assert tree.failure is None
    model = load_model(tree.model)
    assert all(np.isfinite(values).all() for values in (model.w0, model.w, model.V))
    assert [path.name for path in tree.model.iterdir()] == ["model.safetensors"]
    assert any("stopped by SIGTERM" in line for line in outcome.lines)
    assert any(", train rmse" in line for line in outcome.lines)  # the final one
    assert not any("test rmse" in line for line in outcome.lines)


def test_while_reading_nothing_is_left(tree):
    """A file of half a gigabyte of zeros, which takes seconds to read."""
    width = 50_000
    tree.hyperparameters(feature_dim=str(width))
    row = gzip.compress(b"1" + b",0" * width + b"\n", compresslevel=1)
    directory = tree.channel("train", {"a.csv.gz": row * 5000})
    process = tree.start()
    deadline = time.monotonic() + 30
    while not has_open(process, (directory / "a.csv.gz").resolve()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    outcome, elapsed_s = stop(process)

    assert outcome.code == 0
    assert elapsed_s < STOP_S
    assert tree.failure is None
    assert list(tree.model.iterdir()) == []
    (line,) = outcome.lines
    assert line.endswith("stopped before training began: no model is written")


def test_a_stop_before_the_imports_are_done_is_heard(tree):
    """As process 1 of a container, a program that does not listen would be killed much later."""
    tree.channel("train", {"a.csv": Rows.draw(1, 200).csv})
    process = tree.start()
    while not listens(process):
        assert process.poll() is None
        time.sleep(0.001)
    outcome, elapsed_s = stop(process)

    assert outcome.code == 0
    assert elapsed_s < STOP_S
    assert tree.failure is None
    assert "stopped before training began" in outcome.lines[-1]


def test_a_stopped_job_goes_on_where_it_was(tree, tmp_path):
    whole = TrainingTree(tmp_path / "whole")
    for job in (tree, whole):
        job.hyperparameters(epochs="200", mini_batch_size="10")
        job.channel("train", {"a.csv": Rows.draw(1, 1000).csv})
    whole.run()
    (tree.base / "checkpoints").mkdir()
    process = tree.start()
    read_until(process, "epoch=2, train rmse")
    process.send_signal(signal.SIGTERM)  # twice: the second must not harm what is being written
    outcome, _ = stop(process)
    between = (tree.model / "model.safetensors").read_bytes()
    tree.run()
    model = (tree.model / "model.safetensors").read_bytes()

    assert outcome.code == 0
    assert between != model
    assert model == (whole.model / "model.safetensors").read_bytes()


def test_a_job_stopped_while_it_reads_keeps_what_it_had(tree):
    tree.hyperparameters(epochs="2")
    directory = tree.channel("train", {"a.csv": Rows.draw(1, 1000).csv})
    (tree.base / "checkpoints").mkdir()
    tree.run()
    expected = (tree.model / "model.safetensors").read_bytes()
    (tree.model / "model.safetensors").unlink()
    stopped = threading.Event()
    stopped.set()
    train_job.run(Paths(tree.base), stopped)

    assert directory.exists()
    assert (tree.model / "model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_while_scoring_the_model_stays_and_no_part_of_the_rows_is_told_of(tree, pack):
    tree.hyperparameters(epochs="2")
    tree.channel("train", {"a.csv": Rows.draw(1, 200).csv})
    directory = tree.channel("test", TrainingInputMode="Pipe")
    os.mkfifo(directory.with_name("test_0"))
    process = tree.start()
    with directory.with_name("test_0").open("wb") as fifo:  # waits for the reader
        # More than is scored at once, and the end of it is in the middle of a line.
        fifo.write(pack(Rows.draw(2, 1000).csv * 500)[:-20])
        fifo.flush()
        outcome, elapsed_s = stop(process)

    assert outcome.code == 0
    assert elapsed_s < STOP_S
    assert tree.failure is None
    assert np.isfinite(load_model(tree.model).V).all()
    assert any("epoch=1, train rmse" in line for line in outcome.lines)
    assert not any("#test_score" in line or ", test " in line for line in outcome.lines)
    assert any(
        line.endswith("stopped by SIGTERM: the test channel is not scored")
        for line in outcome.lines
    )


def listens(process):
    """Whether SIGTERM is caught, as the kernel tells."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line for line in status.splitlines() if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1
