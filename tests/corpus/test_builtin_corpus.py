"""Damaged artifacts of the built-in: cut off at every byte, every byte changed."""

import tarfile
import zipfile

import numpy as np
import pytest

from fm_algo.artifacts.builtin.artifact import save_builtin_model
from fm_algo.artifacts.model_source import load_any_model
from fm_algo.errors import UserError
from fm_algo.model import FMModel

MODEL = FMModel(
    "regressor",
    np.array([0.5], np.float32),
    np.arange(3, dtype=np.float32),
    np.arange(6, dtype=np.float32).reshape(3, 2),
)


def deflate(source, target):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))


@pytest.fixture(params=["stored", "deflated", "params", "symbol.json", "meta.json", "packed"])
def artifact(request, tmp_path):
    """A file, and the path under which a model is looked for that has it."""
    archive = save_builtin_model(tmp_path, MODEL, {"epochs": 1})
    if request.param == "stored":
        return archive, archive
    if request.param == "deflated":
        deflate(archive, tmp_path / "deflated")
        return tmp_path / "deflated", tmp_path / "deflated"
    if request.param == "packed":
        path = tmp_path / "model.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(archive, "model_algo-1")
        return path, path
    loose = tmp_path / "loose"
    # Beside params, the one file under test alone tells what the model predicts.
    beside = "meta.json" if request.param == "params" else request.param
    with zipfile.ZipFile(archive) as opened:
        for name in ("params", beside):
            opened.extract(name, loose)
    return loose / request.param, loose


def scores_or_is_refused(path):
    """Load what may be damaged: a model that can be used comes out, or one line that says why."""
    message = ""
    try:
        model = load_any_model(path)
    except UserError as error:
        message = error.message
    assert message.isprintable()
    if message:
        return False
    assert model.V.shape[0] == len(model.w)
    assert model.w0.shape == (1,)
    return True


def test_the_whole_artifact_is_a_model(artifact):
    _, path = artifact

    assert scores_or_is_refused(path)


def test_cut_off_anywhere_it_is_refused(artifact):
    file, path = artifact
    data = file.read_bytes()

    for length in range(len(data)):
        file.write_bytes(data[:length])
        assert not scores_or_is_refused(path), f"{length} of {len(data)} bytes"


def test_with_any_byte_changed_it_is_a_model_or_is_refused(artifact):
    file, path = artifact
    data = bytearray(file.read_bytes())

    for place in range(len(data)):
        bits = (0xFF, 0x01, 0x80)[place % 3]
        data[place] ^= bits
        file.write_bytes(data)
        scores_or_is_refused(path)
        data[place] ^= bits
