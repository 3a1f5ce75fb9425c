import json
import os
import struct

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from fm_algo.artifacts.artifact import FORMAT_VERSION, MODEL_FILE, load_model, save_model
from fm_algo.errors import PlatformError, UserError
from fm_algo.model import FMModel

MANIFEST = {"format_version": FORMAT_VERSION, "predictor_type": "regressor"}


@pytest.fixture
def model():
    random = np.random.default_rng(5)
    return FMModel(
        "binary_classifier",
        np.array([0.5], np.float32),
        random.normal(size=7).astype(np.float32),
        random.normal(size=(7, 3)).astype(np.float32),
    )


def tensors_of(model):
    return {"w0": model.w0, "w": model.w, "V": model.V}


def write(directory, tensors, manifest=MANIFEST, key="fm_algo"):
    """A file as some other program would write it."""
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    safetensors.numpy.save_file(dict(tensors), directory / MODEL_FILE, metadata={key: text})


def test_what_is_saved_is_loaded(tmp_path, model):
    path = save_model(tmp_path, model, {"epochs": 3})
    loaded = load_model(tmp_path)

    assert path == tmp_path / "model.safetensors"
    assert loaded.predictor_type == "binary_classifier"
    for name, tensor in tensors_of(loaded).items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, tensors_of(model)[name], strict=True)


def test_a_saved_model_replaces_the_one_before(tmp_path, model):
    save_model(tmp_path, model, {})
    save_model(tmp_path, FMModel("regressor", model.w0 + 1, model.w, model.V), {})

    assert load_model(tmp_path).w0.tolist() == [1.5]


def test_only_the_model_file_is_left(tmp_path, model):
    save_model(tmp_path, model, {})

    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FILE]


def test_everyone_may_read_the_file_whatever_the_umask(tmp_path, model):
    before = os.umask(0o077)
    try:
        path = save_model(tmp_path, model, {})
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o644


def test_a_loaded_model_cannot_be_changed(tmp_path, model):
    save_model(tmp_path, model, {})

    with pytest.raises(ValueError, match="read-only"):
        load_model(tmp_path).w[0] = 1


def test_other_tools_read_the_file(tmp_path, model):
    path = save_model(tmp_path, model, {"epochs": 3, "eps": None})
    with safetensors.safe_open(path, framework="numpy") as opened:
        manifest = json.loads(opened.metadata()["fm_algo"])

    assert manifest == {
        "format_version": 1,
        "predictor_type": "binary_classifier",
        "hyperparameters": {"epochs": 3, "eps": None},
    }
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["V"], model.V)


def test_the_same_model_is_the_same_bytes(tmp_path, model):
    first = save_model(tmp_path, model, {"epochs": 3}).read_bytes()

    assert save_model(tmp_path, model, {"epochs": 3}).read_bytes() == first


def test_factors_that_do_not_lie_in_one_piece_are_saved(tmp_path, model):
    wide = np.zeros((7, 8), np.float32)
    wide[:, :3] = model.V
    save_model(tmp_path, FMModel("regressor", model.w0, model.w, wide[:, :3]), {})

    np.testing.assert_array_equal(load_model(tmp_path).V, model.V)


@pytest.mark.parametrize("place", ["absent", "file"])
def test_a_directory_that_is_none_is_the_platforms_fault(tmp_path, model, place):
    (tmp_path / "file").touch()

    with pytest.raises(PlatformError, match=r"could not be written to .*model.safetensors"):
        save_model(tmp_path / place, model, {})


def test_a_failed_save_leaves_nothing_behind(tmp_path, model):
    (tmp_path / MODEL_FILE).mkdir()  # the file cannot take its name

    with pytest.raises(PlatformError):
        save_model(tmp_path, model, {})
    assert [path.name for path in tmp_path.iterdir()] == [MODEL_FILE]


def test_a_directory_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no model in .*expected a file model.safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 2) + b"{}"],
    ids=["empty", "text", "length beyond the end", "no tensors"],
)
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / MODEL_FILE).write_bytes(content)

    with pytest.raises(UserError, match="is not a model file of this library"):
        load_model(tmp_path)


def test_a_truncated_file_is_refused(tmp_path, model):
    path = save_model(tmp_path, model, {})
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(UserError, match="is not a model file of this library"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("manifest", "key"),
    [
        (MANIFEST, "other"),
        ("", "fm_algo"),
        ("{", "fm_algo"),
        ({"format_version": 1}, "fm_algo"),
        (MANIFEST | {"predictor_type": "ranker"}, "fm_algo"),
    ],
)
def test_a_file_without_a_proper_manifest_is_refused(tmp_path, model, manifest, key):
    write(tmp_path, tensors_of(model), manifest, key)

    with pytest.raises(UserError, match="is not a model file of this library"):
        load_model(tmp_path)


def test_a_file_of_another_program_is_told_by_what_it_lacks(tmp_path, model):
    write(tmp_path, tensors_of(model), MANIFEST, "other")

    with pytest.raises(UserError, match=r": no fm_algo in its metadata$"):
        load_model(tmp_path)


def test_a_model_of_no_factors_is_refused(tmp_path):
    tensors = {"w0": np.zeros(1, np.float32), "w": np.zeros(3, np.float32)}
    write(tmp_path, tensors | {"V": np.zeros((3, 0), np.float32)}, MANIFEST, "fm_algo")

    with pytest.raises(UserError, match=r"V \(3, 0\); expected"):
        load_model(tmp_path)


def test_fields_of_a_later_release_are_passed_over(tmp_path, model):
    write(tmp_path, tensors_of(model), MANIFEST | {"trained_on": "a Sunday"})

    assert load_model(tmp_path).predictor_type == "regressor"


def test_a_format_of_a_later_release_is_refused(tmp_path, model):
    write(tmp_path, tensors_of(model), MANIFEST | {"format_version": FORMAT_VERSION + 1})

    with pytest.raises(UserError, match="format_version 2; this release reads up to 1"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"V": None}, r"holds the tensors \['w', 'w0'\], expected V, w and w0"),
        ({"extra": np.zeros(1, np.float32)}, "'extra'.* expected V, w and w0"),
        ({"w": np.zeros(6, np.float32)}, r"expected \(1,\), \(feature_dim,\)"),
        ({"w0": np.zeros(2, np.float32)}, r"w0 \(2,\)"),
        ({"V": np.zeros(7, np.float32)}, r"V \(7,\)"),
        ({"w": np.zeros(7, np.float64)}, "tensor w is F64, expected F32"),
    ],
)
def test_tensors_that_make_no_model_are_refused(tmp_path, model, changes, message):
    tensors = tensors_of(model) | changes
    write(tmp_path, {name: tensor for name, tensor in tensors.items() if tensor is not None})

    with pytest.raises(UserError, match=message):
        load_model(tmp_path)
