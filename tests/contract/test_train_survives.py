"""Training jobs that are killed, at any moment and in every step of writing a checkpoint."""

import multiprocessing
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from training_tree import Rows, TrainingTree

from container.training import train_job

KILLS = 10
"""Of each of the jobs below."""

# The children of a fork server have the imports behind them: fifty restarts in a minute.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["container.training.train_job"])


def train_in_child(base: Path, kill_at: tuple[str, str, int] | None) -> None:
    """Be the program `train`, which shoots itself at the n-th call of a function, if told so."""
    os.environ["SAGEMAKER_BASE_DIR"] = str(base)  # noqa: TID251 - as the platform sets it
    log = os.open(base / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = os.fdopen(1, "w")
    if kill_at is not None:
        shoot_at(*kill_at)
    train_job.main()


def shoot_at(module: str, name: str, count: int) -> None:
    place = Path if module == "pathlib" else sys.modules[module]
    real, left = getattr(place, name), [count]

    def counted(*arguments, **keywords):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **keywords)

    setattr(place, name, counted)


class Job(TrainingTree):
    """A job of some seconds that checkpoints all the time."""

    def __init__(
        self, base: Path, *, checkpoints: bool = True, num_rows: int = 1500, **hyperparameters: str
    ) -> None:
        super().__init__(base)
        given = {"epochs": "40", "mini_batch_size": "10", "checkpoint_interval": "0.005"}
        self.hyperparameters(**(given | hyperparameters))
        self.channel("train", {"a.csv": Rows.draw(1, num_rows).csv})
        self.channel("validation", {"a.csv": Rows.draw(2, 50).csv})
        self.checkpoints = base / "checkpoints"
        if checkpoints:
            self.checkpoints.mkdir()

    def begin(self, kill_at=None):
        process = _FORKS.Process(target=train_in_child, args=(self.base, kill_at))
        process.start()
        return process

    def finish(self) -> bytes:
        """Run to the end; return the model file."""
        process = self.begin()
        process.join(60)
        assert process.exitcode == 0, self.log
        return (self.model / "model.safetensors").read_bytes()

    @property
    def log(self) -> str:
        path = self.base / "log"
        return path.read_text() if path.exists() else ""

    def wait_for_training(self, process) -> None:
        before = self.log.count("#quality_metric")
        while process.is_alive() and self.log.count("#quality_metric") == before:
            process.join(0.01)

    def epoch_lines(self) -> set[str]:
        """What was said of whole epochs, without the time of day."""
        return set(re.findall(r"#quality_metric: host=\S+ (epoch=\d+, \D.*)", self.log))


JOBS = {
    "adam": {},
    "ftrl, one thread": {"optimizer": "ftrl", "num_threads": "1", "factors_init_sigma": "0.1"},
    "rowwise_adagrad, streamed": {
        "optimizer": "rowwise_adagrad",
        "num_rows": 40_000,
        "memory_budget_mb": "1",
        "epochs": "3",
        "mini_batch_size": "20",
    },
    "sgd, early stopping": {"optimizer": "sgd", "early_stopping_patience": "50"},
    "adagrad, unshuffled": {"optimizer": "adagrad", "shuffle": "false"},
    "mcmc": {"optimizer": "mcmc", "num_rows": 6000, "epochs": "150", "posterior_samples": "5"},
    "als, early stopping": {
        "optimizer": "als",
        "num_rows": 6000,
        "epochs": "150",
        "early_stopping_patience": "150",
    },
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job_killed_at_random_moments_ends_as_one_that_was_not(tmp_path, name):
    whole = Job(tmp_path / "whole", checkpoints=False, **JOBS[name])
    expected = whole.finish()
    job = Job(tmp_path / "killed", **JOBS[name])
    moments = random.Random(f"kills of {name}")  # noqa: S311 - not a secret
    for _ in range(KILLS):
        process = job.begin()
        if moments.random() < 0.2:
            process.join(moments.uniform(0, 1))  # anywhere from its birth on
        else:
            job.wait_for_training(process)
            process.join(moments.uniform(0, 0.25))
        process.kill()
        process.join()

    assert job.finish() == expected
    assert job.epoch_lines() == whole.epoch_lines()
    assert "going on from the checkpoint" in job.log
    assert not list(job.checkpoints.glob("*.sagemaker-ignore"))


# What is called in writing a checkpoint, and how often before the third is written.
STEPS = {
    "before the first byte": ("fm_algo.training.checkpoint", "write_checkpoint", 3),
    "between two blocks": ("zlib", "crc32", 4 + 3 * 5),  # the rows are checked first
    "before it is synced": ("os", "fsync", 5),
    "before it is renamed": ("pathlib", "replace", 3),
    "before its name is synced": ("os", "fsync", 6),
    "before old ones are deleted": ("fm_algo.training.checkpoint", "_position", 20),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_job_killed_while_it_writes_a_checkpoint(tmp_path, step):
    whole = Job(tmp_path / "whole", checkpoints=False, epochs="5")
    expected = whole.finish()
    job = Job(tmp_path / "killed", epochs="5")
    process = job.begin(STEPS[step])
    process.join(60)

    assert process.exitcode == -signal.SIGKILL, job.log
    assert list(job.checkpoints.glob("*.checkpoint"))
    assert not list(job.model.iterdir())
    assert job.finish() == expected
    assert job.log.count("going on from the checkpoint") == 1
    assert "is not used" not in job.log


def test_a_job_that_has_ended_saves_its_model_again(tmp_path):
    job = Job(tmp_path / "ml", epochs="3")
    expected = job.finish()
    (job.model / "model.safetensors").unlink()
    started = time.monotonic()

    assert job.finish() == expected
    assert time.monotonic() - started < 20
