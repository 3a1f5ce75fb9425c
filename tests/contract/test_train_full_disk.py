"""Training jobs on a disk that is full: real file systems of a few pages."""

import subprocess

import pytest
from training_tree import Rows, TrainingTree

from fm_algo.artifact import load_model

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
