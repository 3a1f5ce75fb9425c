"""Training jobs on a disk that is full, real file systems of a few pages, and on one that fails."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest
from training_tree import Rows, TrainingTree

from container.settings import Paths
from container.training import train_job
from fm_algo.artifacts.artifact import load_model
from fm_algo.errors import PlatformError

WIDTH = 6000
"""Features: with 8 factors the model takes 216 kB, a checkpoint 768 kB."""


@pytest.fixture
def mount():
    """Mount a tmpfs of some KiB on a directory."""
    mounted = []

    def mount(directory, kib):
        directory.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"FULL DISKS NOT TESTED: no tmpfs can be mounted: {done.stderr.strip()}")
        mounted.append(directory)

    yield mount
    for directory in mounted:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def tree(tmp_path):
    tree = TrainingTree(tmp_path / "ml")
    tree.hyperparameters(feature_dim=str(WIDTH), num_factors="8", epochs="2")
    rows = Rows.draw(1, 100).csv.decode().splitlines()
    lines = ("".join((row.split(",")[0], " 0:1 5999:1\n")) for row in rows)
    tree.channel("train", {"a": "".join(lines).encode()}, "text/libsvm")
    return tree


def test_for_the_model_leaves_no_half_of_one(tree, mount):
    mount(tree.model, 100)
    outcome = tree.train()

    assert outcome.code == 1
    path = tree.model / "model.safetensors"
    assert tree.failure == (
        f"InternalServerError: the model could not be written to {path}: "
        "[Errno 28] No space left on device"
    )
    assert list(tree.model.iterdir()) == []


def test_for_checkpoints_leaves_the_old_one_whole(tree, mount):
    checkpoints = tree.base / "checkpoints"
    mount(checkpoints, 1200)  # room for one
    outcome = tree.train()

    assert outcome.code == 1
    assert tree.failure == (
        "InternalServerError: the checkpoint could not be written to "
        f"{checkpoints}/fm-000002-000000000.checkpoint: [Errno 28] No space left on device"
    )
    assert [path.name for path in checkpoints.iterdir()] == ["fm-000001-000000000.checkpoint"]
    assert list(tree.model.iterdir()) == []

    subprocess.run(["mount", "-o", "remount,size=9000k", str(checkpoints)], check=True)
    outcome = tree.train()
    assert outcome.code == 0
    assert any("going on from the checkpoint" in line for line in outcome.lines)
    assert load_model(tree.model).feature_dim == WIDTH


@pytest.fixture
def failing_disk(monkeypatch):
    """Fail to sync checkpoints, which is done beside the training."""
    fsync = os.fsync

    def fail(descriptor):
        if ".checkpoint" in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise OSError(errno.EIO, "the disk is gone")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", fail)


@pytest.mark.usefixtures("failing_disk")
@pytest.mark.parametrize("epochs", ["1", "2"])
def test_one_that_fails_beside_the_training_is_told(tree, epochs):
    """By the next checkpoint or, without one, at the end."""
    tree.hyperparameters(feature_dim=str(WIDTH), num_factors="8", epochs=epochs)
    (tree.base / "checkpoints").mkdir()
    with pytest.raises(PlatformError) as caught:
        tree.run()

    path = tree.base / "checkpoints" / "fm-000001-000000000.checkpoint"
    told = f"the checkpoint could not be written to {path}: [Errno 5] the disk is gone"
    assert caught.value.message == told
    assert list(path.parent.iterdir()) == []


@pytest.mark.usefixtures("failing_disk")
def test_one_that_fails_at_a_stop_leaves_the_model(tree, monkeypatch):
    """The rows were read, the first mini-batch was trained, and the job is told to stop."""
    stop = threading.Event()
    (tree.base / "checkpoints").mkdir()
    monkeypatch.setattr("container.training.logs.JobLog.batch", lambda *_: stop.set())
    with pytest.raises(PlatformError, match="the checkpoint could not be written"):
        train_job.run(Paths(tree.base), stop)

    assert load_model(tree.model).feature_dim == WIDTH
