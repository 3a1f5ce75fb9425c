import shutil
import tarfile

import numpy as np
import pytest

from fm_algo.artifacts.artifact import MODEL_FILE, save_model
from fm_algo.artifacts.model_source import is_model_file, load_any_model, read_any_model
from fm_algo.errors import UserError
from fm_algo.model import FMModel

MODEL = FMModel(
    "binary_classifier",
    np.array([0.5], np.float32),
    np.arange(3, dtype=np.float32),
    np.arange(6, dtype=np.float32).reshape(3, 2),
)


def pack(directory, path, name=None, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for file in directory.iterdir():
            archive.add(file, name or file.name)
    return path


@pytest.fixture
def ours(tmp_path):
    directory = tmp_path / "ours"
    directory.mkdir()
    save_model(directory, MODEL, {"epochs": 3})
    return directory


def assert_is_ours(loaded):
    model, hyperparameters = loaded
    assert model.predictor_type == "binary_classifier"
    assert model.w0.tolist() == [0.5]
    assert model.w.tolist() == MODEL.w.tolist()
    assert model.V.tolist() == MODEL.V.tolist()
    assert hyperparameters == {"epochs": 3}


def test_our_model_is_read_from_its_directory_and_its_file(ours):
    assert_is_ours(read_any_model(ours))
    assert_is_ours(read_any_model(ours / MODEL_FILE))


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("name", [MODEL_FILE, f"./{MODEL_FILE}", f"model/{MODEL_FILE}"])
def test_our_model_is_read_packed(name, mode, ours, tmp_path):
    assert_is_ours(read_any_model(pack(ours, tmp_path / "any name", name, mode)))


def test_a_directory_may_hold_the_packed_model(ours, tmp_path):
    channel = tmp_path / "channel"
    channel.mkdir()
    pack(ours, channel / "model.tar.gz")

    assert_is_ours(read_any_model(channel))


def test_the_built_ins_model_is_read_from_wherever_it_lies(mxnet_models, root):
    folder = mxnet_models / "regression-k4-d30"
    packed = root / "tests" / "data" / "builtin" / "regression-k4-d30"

    loaded = [
        read_any_model(path)
        for path in (folder, folder / "model_algo-1", packed / "model.tar.gz", packed)
    ]

    assert {model.V.tobytes() for model, _ in loaded} == {loaded[0][0].V.tobytes()}
    assert {model.V.shape for model, _ in loaded} == {(30, 4)}
    assert loaded[3][1]["feature_dim"] == "30"


def test_our_model_comes_before_the_built_ins(ours, mxnet_models):
    shutil.copy(mxnet_models / "regression-k4-d30" / "model_algo-1", ours)

    assert load_any_model(ours).feature_dim == 3


def test_which_files_belong_to_a_model():
    for name in ("model.safetensors", "model_algo-1", "model_algo-27", "params", "meta.json"):
        assert is_model_file(name)
    for name in ("model.tar.gz", "model.pkl", "..", "", "model_algo", "xmodel_algo-1"):
        assert not is_model_file(name)


@pytest.mark.parametrize("name", ["", "none"])
def test_an_empty_directory_and_none_hold_no_model(name, tmp_path):
    with pytest.raises(UserError) as error:
        load_any_model(tmp_path / name)

    assert error.value.message == (
        f"no model in {tmp_path / name}: expected a file model.safetensors, or model_algo-1 as the "
        "built-in algorithm writes it"
    )


def test_a_file_that_is_something_else_is_no_model(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"anything")

    with pytest.raises(UserError) as error:
        load_any_model(path)

    assert error.value.message == (
        f"{path} is no model: expected model.safetensors, model_algo-1 or model.tar.gz"
    )


def test_an_archive_without_a_model_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "README").touch()
    path = pack(tmp_path / "in", tmp_path / "model.tar.gz")

    with pytest.raises(UserError) as error:
        load_any_model(path)

    assert error.value.message == (
        f"no model in {path}: expected a file model.safetensors or model_algo-1 in it"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "model_algo-1"])
def test_a_damaged_model_in_an_archive_is_named_as_it_is_in_there(name, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(b"x" * 100)
    path = pack(tmp_path / "in", tmp_path / "model.tar.gz")

    with pytest.raises(UserError) as error:
        load_any_model(path)

    assert error.value.message.startswith(f"{path}, {name} is not a ")
