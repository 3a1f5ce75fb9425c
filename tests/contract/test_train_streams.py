"""Training on data that is not kept in memory: Pipe mode, and channels beyond the memory budget."""

import gzip
import os
import signal
import threading
import time

import pytest
from training_tree import Rows, TrainingTree, finish

EPOCHS = 3


class Platform(threading.Thread):
    """Feeds a channel's FIFOs as the platform does: one a pass, made late, closed at its end."""

    def __init__(self, tree, name, content, passes, *, late_s=0.0):
        super().__init__(daemon=True)
        self._directory = tree.base / "input" / "data"
        self._name, self._content, self._passes, self._late_s = name, content, passes, late_s

    def run(self):
        for number in range(self._passes):
            time.sleep(self._late_s)
            path = self._directory / f"{self._name}_{number}"
            os.mkfifo(path)
            time.sleep(self._late_s)
            with path.open("wb") as fifo:  # waits for the reader
                for start in range(0, len(self._content), 1000):
                    fifo.write(self._content[start : start + 1000])


def quality_lines(outcome):
    return [line.partition("#quality_metric")[2] for line in outcome.lines if "#quality" in line]


def tree_of(path, mode, **changes):
    tree = TrainingTree(path)
    tree.hyperparameters(epochs=str(EPOCHS), shuffle="false", **changes)
    (tree.base / "input" / "data").mkdir(parents=True)
    for name in ("train", "test"):
        tree.channel(name, TrainingInputMode=mode)
        (tree.base / "input" / "data" / name).rmdir()
    return tree


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_pipe_mode_is_file_mode_bit_for_bit(tmp_path, pack):
    train, test = Rows.draw(1, 210).csv, Rows.draw(2, 50).csv
    from_files = tree_of(tmp_path / "files", "File")
    from_files.channel("train", {"a.csv": train})
    from_files.channel("test", {"a.csv": test})
    expected = from_files.train()
    assert expected.code == 0

    from_pipes = tree_of(tmp_path / "pipes", "Pipe")
    Platform(from_pipes, "train", pack(train), EPOCHS, late_s=0.2).start()
    Platform(from_pipes, "test", pack(test), 1).start()
    got = from_pipes.train()

    assert (got.code, got.errors) == (0, "")
    assert quality_lines(got) == quality_lines(expected)
    model = "model/model.safetensors"
    assert (from_pipes.base / model).read_bytes() == (from_files.base / model).read_bytes()


def test_an_empty_pipe_is_an_error(tmp_path):
    tree = tree_of(tmp_path, "Pipe")
    Platform(tree, "train", b"", 1).start()
    outcome = tree.train()
    assert outcome.code == 1
    assert tree.failure.startswith("ClientError: train channel is empty: no rows in pipe below ")


def test_a_mistake_in_a_pipe_names_the_fifo_and_the_line(tmp_path):
    tree = tree_of(tmp_path, "Pipe")
    Platform(tree, "train", b"1,0,0,0,0,0,0\n1,0,x,0,0,0,0\n", 1).start()
    assert tree.train().code == 1
    assert tree.failure.startswith("ClientError: train channel, train_0, line 2: ")


@pytest.mark.parametrize("exists", [False, True], ids=["no FIFO yet", "no writer yet"])
def test_a_stop_is_heard_while_a_pipe_is_waited_for(tmp_path, exists):
    tree = tree_of(tmp_path, "Pipe")
    if exists:
        os.mkfifo(tree.base / "input" / "data" / "train_0")
    process = tree.start()
    for line in process.stdout:
        if "training rows" in line:
            break
    time.sleep(0.3)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)
    assert (outcome.code, outcome.errors) == (0, "")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("shuffle", ["true", "false"])
def test_a_channel_beyond_the_budget_is_read_again_each_epoch(tmp_path, shuffle):
    train = Rows.draw(1, 60_000)  # about 2 MB decoded
    models = {}
    for budget_mb in (None, "1"):
        tree = TrainingTree(tmp_path / str(budget_mb))
        tree.hyperparameters(
            epochs="2", mini_batch_size="500", shuffle=shuffle, memory_budget_mb=budget_mb
        )
        tree.channel("train", {"a.csv": train[:25_000].csv, "b.csv": train[25_000:].csv})
        tree.channel("test", {"a.csv": Rows.draw(2, 100).csv})
        outcome = tree.train()
        assert (outcome.code, outcome.errors) == (0, "")
        (start_line,) = [line for line in outcome.lines if "training rows" in line]
        assert ("read again each epoch" in start_line) is (budget_mb is not None)
        assert any(", test rmse" in line for line in outcome.lines)
        models[budget_mb] = (tree.model / "model.safetensors").read_bytes()[-500:]
    # In stored order it is the same training; shuffled within a buffer it is another one.
    assert (models[None][-60:] == models["1"][-60:]) is (shuffle == "false")
