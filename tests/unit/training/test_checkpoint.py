import errno
import os
import struct
import threading

import msgspec
import numpy as np
import pytest

from fm_algo.errors import PlatformError, UserError
from fm_algo.hyperparameters import parse_hyperparameters
from fm_algo.training.checkpoint import Checkpoints
from fm_algo.training.early_stopping import BestEpoch
from fm_algo.training.progress import Notes, Progress

BLOCK = 64


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("fm_algo.training.checkpoint_file._BLOCK_BYTES", BLOCK)


def hyperparameters_of(**changes):
    needed = {"feature_dim": 9, "num_factors": 2, "predictor_type": "regressor"}
    return parse_hyperparameters(needed | changes)


def state_of(seed):
    random = np.random.default_rng(seed)
    return {
        "num_steps": np.array([seed], np.int64),
        "empty": np.zeros((0, 1), np.float32),
        "parameters": random.random((9, 5), np.float32),
    }


def written(directory, *epochs, best=None, **changes):
    checkpoints = Checkpoints(directory, hyperparameters_of(**changes))
    for epoch in epochs:
        checkpoints.write(Progress(epoch=epoch, best=best), Notes(), state_of(epoch))
    checkpoints.finish()
    return checkpoints


def restored(directory, **changes):
    state = state_of(99)
    checkpoints = Checkpoints(directory, hyperparameters_of(**changes))
    found = checkpoints.restore_newest(lambda _forms: state)
    return found, state


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def path_of(directory, epoch):
    return directory / f"fm-{epoch:06}-{0:09}.checkpoint"


def test_everything_comes_back(tmp_path):
    progress = Progress(epoch=3, num_batches=7, sums={"rows": 9, "squares": 0.1 + 0.2}, best=None)
    notes = Notes(records_seen=10, batches_seen=4, buffer_bytes=77)
    checkpoints = Checkpoints(tmp_path, hyperparameters_of())
    checkpoints.write(progress, notes, state_of(5))
    checkpoints.finish()
    found, state = restored(tmp_path)

    assert (found.progress, found.notes) == (progress, notes)
    for name, array in state_of(5).items():
        np.testing.assert_array_equal(state[name], array)


def test_without_a_checkpoint_the_kernel_is_left_empty(tmp_path):
    assert restored(tmp_path / "new")[0] is None


def test_the_last_ones_are_kept(tmp_path):
    written(tmp_path, 1, 2, 3, 4, checkpoint_keep=3)

    assert names(tmp_path) == [path_of(tmp_path, epoch).name for epoch in (2, 3, 4)]


def test_that_of_the_best_epoch_is_kept(tmp_path):
    written(tmp_path, 1, 2, 3, 4, best=BestEpoch(0, 0.5))

    assert names(tmp_path) == [path_of(tmp_path, epoch).name for epoch in (1, 3, 4)]


def test_one_that_is_being_uploaded_is_not_deleted(tmp_path):
    checkpoints = written(tmp_path, 1)
    uploading = path_of(tmp_path, 1).with_suffix(".checkpoint.sagemaker-uploading")
    uploading.touch()
    for epoch in (2, 3):
        checkpoints.write(Progress(epoch=epoch), Notes(), state_of(epoch))
    checkpoints.finish()
    assert path_of(tmp_path, 1).exists()

    uploading.rename(uploading.with_suffix(".sagemaker-uploaded"))
    checkpoints.write(Progress(epoch=4), Notes(), state_of(4))
    checkpoints.finish()
    assert names(tmp_path) == [path_of(tmp_path, epoch).name for epoch in (3, 4)]


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "fm-1-2.checkpoint").write_text("x")
    (tmp_path / "other.sagemaker-ignore").write_text("x")
    written(tmp_path, 1, 2, 3)

    assert len(names(tmp_path)) == 4
    assert restored(tmp_path)[0].progress.epoch == 3


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / f"{path_of(tmp_path, 7).name}.sagemaker-ignore").write_bytes(b"half")

    assert restored(tmp_path)[0] is None
    assert names(tmp_path) == []


def spoil(path, how):
    content = bytearray(path.read_bytes())
    if how == "empty":
        content.clear()
    elif how == "foreign":
        content[:] = b"not a checkpoint at all" * 9
    elif how == "longer":
        content += b"x"
    elif how == "no manifest":
        content[8:16] = struct.pack("<Q", 1 << 60)
    elif how == "a page of zeros":
        content[-50:] = bytes(50)
    elif how == "blocks swapped":
        first, second = slice(-136, -72), slice(-68, -4)
        content[first], content[second] = content[second], content[first]
    path.write_bytes(content)


@pytest.mark.parametrize(
    "how", ["empty", "foreign", "longer", "no manifest", "a page of zeros", "blocks swapped"]
)
def test_what_is_spoilt_is_not_used_but_the_one_before(tmp_path, caplog, how):
    written(tmp_path, 1, 2)
    spoil(path_of(tmp_path, 2), how)
    found, state = restored(tmp_path)

    assert found.progress.epoch == 1
    np.testing.assert_array_equal(state["parameters"], state_of(1)["parameters"])
    assert f"the checkpoint {path_of(tmp_path, 2)} is not used: it" in caplog.text


def test_every_truncation_and_every_flipped_bit_is_seen(tmp_path):
    written(tmp_path, 1)
    path = path_of(tmp_path, 1)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place])
        assert restored(tmp_path)[0] is None, place
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        found, state = restored(tmp_path)
        assert found is None, place
        assert not state["parameters"].any()


def test_a_kernel_of_another_layout_starts_anew(tmp_path, caplog):
    written(tmp_path, 1)
    state = state_of(1) | {"parameters": np.ones((9, 6), np.float32)}

    assert Checkpoints(tmp_path, hyperparameters_of()).restore_newest(lambda _forms: state) is None
    assert "it is of another kernel or release" in caplog.text


def test_one_that_counts_on_a_lost_best_epoch_is_not_used(tmp_path):
    written(tmp_path, 1)
    written(tmp_path, 2, 3, 4, best=BestEpoch(1, 0.5), checkpoint_keep=9)
    spoil(path_of(tmp_path, 2), "a page of zeros")

    assert restored(tmp_path)[0].progress.epoch == 1


def test_a_spoilt_newer_one_does_not_push_out_the_usable(tmp_path):
    written(tmp_path, 5, 9, checkpoint_keep=2)
    spoil(path_of(tmp_path, 9), "empty")
    written(tmp_path, 6, checkpoint_keep=1)

    assert restored(tmp_path)[0].progress.epoch == 6


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_factors": 3}, "num_factors=2 there, 3 here"),
        ({"optimizer": "sgd"}, "optimizer=adam there, sgd here"),
        ({"eps": "0.5"}, "eps=not set there, 0.5 here"),
        ({"seed": 1, "shuffle": "false"}, "shuffle=True there, False here"),
    ],
)
def test_another_jobs_checkpoint_is_refused(tmp_path, changes, told):
    written(tmp_path, 1)
    with pytest.raises(UserError) as caught:
        restored(tmp_path, **changes)

    assert told in caught.value.message
    assert str(path_of(tmp_path, 1)) in caught.value.message


def test_more_epochs_and_other_machines_are_welcome(tmp_path):
    written(tmp_path, 1)

    assert restored(tmp_path, epochs=9, num_threads=1, checkpoint_interval=1)[0] is not None


def test_the_same_progress_is_written_once(tmp_path):
    checkpoints = written(tmp_path, 1)
    before = path_of(tmp_path, 1).stat().st_ino
    checkpoints.write(Progress(epoch=1), Notes(), state_of(1))
    checkpoints.finish()

    assert path_of(tmp_path, 1).stat().st_ino == before


def test_a_directory_that_cannot_be_listed_is_the_platforms_fault(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, hyperparameters_of())

    def fail(_path):
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr("pathlib.Path.iterdir", fail)
    checkpoints.write(Progress(epoch=1), Notes(), state_of(1))
    with pytest.raises(PlatformError, match=r"cannot be used: \[Errno 5\]"):
        checkpoints.finish()


class SlowDisk:
    """A disk that has nothing until it is let go."""

    def __init__(self, monkeypatch):
        self._go, self._fsync, self.error = threading.Event(), os.fsync, None
        monkeypatch.setattr("os.fsync", self.fsync)

    def fsync(self, descriptor):
        assert self._go.wait(30)
        if self.error is not None:
            raise self.error
        self._fsync(descriptor)

    def let_go(self, error=None):
        self.error = error
        self._go.set()


@pytest.fixture
def slow_disk(monkeypatch):
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.let_go()


def test_training_goes_on_while_the_disk_is_waited_for(tmp_path, slow_disk):
    checkpoints = Checkpoints(tmp_path, hyperparameters_of())
    state = state_of(5)
    checkpoints.write(Progress(epoch=5), Notes(), state)
    state["parameters"][...] = 7
    slow_disk.let_go()
    checkpoints.finish()

    np.testing.assert_array_equal(restored(tmp_path)[1]["parameters"], state_of(5)["parameters"])


def test_nothing_is_renamed_or_deleted_before_the_disk_has_it(tmp_path, slow_disk):
    for epoch in (1, 2):
        path_of(tmp_path, epoch).touch()
    checkpoints = Checkpoints(tmp_path, hyperparameters_of(checkpoint_keep=1))
    checkpoints.write(Progress(epoch=3), Notes(), state_of(3))
    aside = f"{path_of(tmp_path, 3).name}.sagemaker-ignore"
    assert names(tmp_path) == [path_of(tmp_path, 1).name, path_of(tmp_path, 2).name, aside]

    slow_disk.let_go()
    checkpoints.finish()
    assert names(tmp_path) == [path_of(tmp_path, 3).name]


def test_none_is_due_while_one_is_on_its_way(tmp_path, slow_disk):
    checkpoints = Checkpoints(tmp_path, hyperparameters_of(checkpoint_interval=1e-9))
    assert checkpoints.is_due

    checkpoints.write(Progress(epoch=1), Notes(), state_of(1))
    assert not checkpoints.is_due

    slow_disk.let_go()
    checkpoints.finish()
    assert checkpoints.is_due


def again(checkpoints):
    checkpoints.write(Progress(epoch=2), Notes(), state_of(2))


@pytest.mark.parametrize("later", [Checkpoints.finish, again])
def test_a_disk_that_fails_afterwards_is_told(tmp_path, slow_disk, later):
    path_of(tmp_path, 1).touch()
    checkpoints = Checkpoints(tmp_path, hyperparameters_of(checkpoint_keep=1))
    checkpoints.write(Progress(epoch=2), Notes(), state_of(2))
    slow_disk.let_go(OSError(errno.EIO, "the disk is gone"))
    with pytest.raises(PlatformError) as caught:
        later(checkpoints)

    path = path_of(tmp_path, 2)
    told = f"the checkpoint could not be written to {path}: [Errno 5] the disk is gone"
    assert caught.value.message == told
    assert names(tmp_path) == [path_of(tmp_path, 1).name]

    slow_disk.let_go()
    again(checkpoints)
    checkpoints.finish()
    assert names(tmp_path) == [path.name]


def test_a_directory_that_cannot_be_made_is_the_platforms_fault(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PlatformError, match="file/checkpoints cannot be used"):
        Checkpoints(tmp_path / "file" / "checkpoints", hyperparameters_of())


def test_a_newer_format_is_not_read(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("fm_algo.training.checkpoint_file.FORMAT_VERSION", 2)
    written(tmp_path, 1)
    monkeypatch.setattr("fm_algo.training.checkpoint_file.FORMAT_VERSION", 1)

    assert restored(tmp_path)[0] is None
    assert "it has format_version 2; this release reads up to 1" in caplog.text


def test_progress_is_json_without_loss():
    sums = {"squares": np.nextafter(0.1, 1).item()}
    progress = Progress(sums=sums)

    assert msgspec.json.decode(msgspec.json.encode(progress), type=Progress) == progress
