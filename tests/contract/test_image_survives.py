"""The image, killed and stopped as the platform does it: what it had is not lost."""

import json
import random
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fm_algo.artifacts.artifact import load_model

pytestmark = pytest.mark.docker

KILLS = 5
STOP_S = 120
"""What the platform grants between SIGTERM and SIGKILL."""


def docker(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["docker", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    if check and done.returncode:
        pytest.fail(f"docker {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
    return done


@pytest.fixture
def make_tree(image: str, root: Path, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Make trees of a job of some seconds that checkpoints all the time."""
    made = []

    def make(name: str) -> Path:
        tree = tmp_path / name
        ignored = shutil.ignore_patterns("model", "output")
        shutil.copytree(root / "local_test/test_dir", tree, ignore=ignored)
        for directory in ("model", "output", "checkpoints"):
            (tree / directory).mkdir()
        path = tree / "input/config/hyperparameters.json"
        changed = {"epochs": "300", "mini_batch_size": "10", "checkpoint_interval": "0.01"}
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        made.append(tree)
        return tree

    yield make
    for tree in made:
        mounted = f"{tree}:/delete"
        docker("run", "--rm", "--volume", mounted, image, "chmod", "-R", "a+rwX", "/delete")


@pytest.fixture
def start(image: str) -> Iterator[Callable[[Path], str]]:
    """Start training in the background; no container outlives the test."""
    started: list[str] = []

    def run(tree: Path) -> str:
        name = f"fm-test-{uuid.uuid4().hex[:12]}"
        started.append(name)
        docker("run", "--detach", "--name", name, "--volume", f"{tree}:/opt/ml", image, "train")
        return name

    yield run
    for name in started:
        docker("rm", "--force", "--volumes", name, check=False)


def finish(container: str) -> str:
    """Wait for the end of a job that must succeed; return its log."""
    code = docker("wait", container).stdout.strip()
    log = docker("logs", container)
    assert code == "0", log
    return log.stdout


def test_a_job_killed_again_and_again_ends_as_one_that_was_not(
    make_tree: Callable[[str], Path], start: Callable[[Path], str]
) -> None:
    whole, killed = make_tree("whole"), make_tree("killed")
    finish(start(whole))
    moments = random.Random(1)  # noqa: S311 - not a secret
    for _ in range(KILLS):
        container = start(killed)
        time.sleep(moments.uniform(0, 4))
        docker("kill", container, check=False)  # it may have ended
        docker("wait", container)

    assert "going on from the checkpoint" in finish(start(killed))
    model = "model/model.safetensors"
    assert (killed / model).read_bytes() == (whole / model).read_bytes()


def test_a_stopped_job_goes_on_where_it_was(
    make_tree: Callable[[str], Path], start: Callable[[Path], str]
) -> None:
    whole, stopped = make_tree("whole"), make_tree("stopped")
    finish(start(whole))
    container = start(stopped)
    while "#quality_metric" not in docker("logs", container).stdout:
        time.sleep(0.1)
    started = time.monotonic()
    docker("stop", "-t", STOP_S, container)

    assert time.monotonic() - started < 10
    assert "stopped by SIGTERM" in finish(container)
    assert load_model(stopped / "model").feature_dim == 30
    assert "going on from the checkpoint" in finish(start(stopped))
    model = "model/model.safetensors"
    assert (stopped / model).read_bytes() == (whole / model).read_bytes()


@pytest.mark.parametrize("delay_s", [0.1, 0.5, 1.0])
def test_a_job_stopped_before_it_trains_ends_at_once(
    make_tree: Callable[[str], Path], start: Callable[[Path], str], delay_s: float
) -> None:
    """Also while its imports run: process 1 has to listen from the first moment."""
    container = start(make_tree("ml"))
    time.sleep(delay_s)
    started = time.monotonic()
    docker("stop", "-t", STOP_S, container)

    assert time.monotonic() - started < 10
    assert "SIGTERM" in finish(container) or "stopped before training" in finish(container)
