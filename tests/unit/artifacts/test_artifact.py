import dataclasses
import hashlib
import json
import os
import struct

import msgspec
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from fm_algo.artifacts.artifact import (
    FORMAT_VERSION,
    MODEL_FILE,
    load_manifest,
    load_model,
    save_model,
)
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


@pytest.fixture
def sampled(model):
    """The model beside samples that are wider."""
    random = np.random.default_rng(6)
    samples = tuple(
        FMModel(
            "binary_classifier",
            *(random.normal(size=shape).astype(np.float32) for shape in (1, 7, (7, 4))),
        )
        for _ in range(3)
    )
    return dataclasses.replace(model, samples=samples)


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


def test_labels_are_kept_where_classes_have_them(tmp_path, model):
    save_model(tmp_path, model, {})
    assert load_manifest(tmp_path).labels is msgspec.UNSET

    save_model(tmp_path, model, {}, labels=("no", "yes"))
    assert load_manifest(tmp_path).labels == ("no", "yes")


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


def test_a_model_without_samples_is_the_bytes_that_every_release_reads(tmp_path):
    zeros = np.zeros((2, 1), np.float32)
    path = save_model(tmp_path, FMModel("regressor", zeros[0], zeros[:, 0], zeros), {"epochs": 3})

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "b93e9765dbb2367d29bf950098f4971b76f37b2aa5f325665c8291fd172f3740"


def test_samples_are_saved_beside_the_model_and_loaded_as_views(tmp_path, sampled):
    path = save_model(tmp_path, sampled, {"epochs": 3})
    loaded = load_model(tmp_path)

    assert [file.name for file in tmp_path.iterdir()] == [MODEL_FILE]
    assert load_manifest(tmp_path).format_version == 2
    assert [sample.num_factors for sample in loaded.samples] == [4, 4, 4]
    for ours, theirs in zip((loaded, *loaded.samples), (sampled, *sampled.samples), strict=True):
        assert ours.predictor_type == "binary_classifier"
        for name, tensor in tensors_of(ours).items():
            np.testing.assert_array_equal(tensor, tensors_of(theirs)[name], strict=True)
            assert is_view_of_a_file(tensor)
    again = tmp_path / "again"
    again.mkdir()
    assert save_model(again, loaded, {"epochs": 3}).read_bytes() == path.read_bytes()


def is_view_of_a_file(array):
    while not isinstance(array, np.memmap) and array.base is not None:
        array = array.base
    return isinstance(array, np.memmap) and not array.flags.writeable


def test_other_tools_read_the_samples(tmp_path, sampled):
    tensors = safetensors.numpy.load_file(save_model(tmp_path, sampled, {}))

    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "w0": (1,),
        "w": (7,),
        "V": (7, 3),
        "sample_w0": (3, 1),
        "sample_w": (3, 7),
        "sample_V": (3, 7, 4),
    }
    np.testing.assert_array_equal(tensors["sample_V"][2], sampled.samples[2].V)


@pytest.mark.parametrize("block_numbers", [1, 5, 8, 1 << 20])
def test_blocks_do_not_show_in_the_file(tmp_path, monkeypatch, sampled, block_numbers):
    whole = save_model(tmp_path, sampled, {}).read_bytes()
    monkeypatch.setattr("fm_algo.artifacts.model_tensors._BLOCK_NUMBERS", block_numbers)

    assert save_model(tmp_path, sampled, {}).read_bytes() == whole


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"predictor_type": "regressor"}, "regressor of feature_dim 7 and num_factors 4 with 0"),
        ({"V": np.zeros((7, 5), np.float32)}, "feature_dim 7 and num_factors 5 with 0"),
        ({"V": np.zeros((6, 4), np.float32)}, "feature_dim 6 and num_factors 4 with 0"),
        ({"samples": (None,)}, "feature_dim 7 and num_factors 4 with 1 samples"),
    ],
)
def test_samples_that_are_not_alike_are_not_saved(tmp_path, sampled, changes, found):
    first, second, _ = sampled.samples
    odd = (first, dataclasses.replace(second, **changes))

    with pytest.raises(
        UserError, match=rf"^sample 1 is a .*{found}.*; expected binary_classifier, 7, 4 and none"
    ):
        save_model(tmp_path, dataclasses.replace(sampled, samples=odd), {})
    assert list(tmp_path.iterdir()) == []


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

    with pytest.raises(UserError, match="format_version 5; this release reads up to 4"):
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_w": None}, r"'sample_V', 'sample_w0', .*with samples sample_V, sample_w and"),
        (
            {"sample_w0": np.zeros(3, np.float32)},
            r"sample_w0 \(3,\), .*expected \(num_samples, 1\)",
        ),
        ({"sample_w0": np.zeros((), np.float32)}, r"sample_w0 \(\), "),
        ({"sample_w0": np.zeros((4, 1), np.float32)}, r"sample_w0 \(4, 1\), "),
        ({"sample_w": np.zeros((3, 6), np.float32)}, r"sample_w \(3, 6\) .*beside w \(7,\); "),
        ({"sample_V": np.zeros((3, 7), np.float32)}, r"sample_V \(3, 7\) beside"),
        ({"sample_V": np.zeros((3, 7, 0), np.float32)}, r"sample_V \(3, 7, 0\) beside"),
        (
            {
                "sample_w0": np.zeros((0, 1), np.float32),
                "sample_w": np.zeros((0, 7), np.float32),
                "sample_V": np.zeros((0, 7, 4), np.float32),
            },
            r"sample_w0 \(0, 1\), ",
        ),
    ],
)
def test_tensors_that_make_no_samples_are_refused(tmp_path, sampled, changes, message):
    tensors = safetensors.numpy.load_file(save_model(tmp_path, sampled, {})) | changes
    write(tmp_path, {name: tensor for name, tensor in tensors.items() if tensor is not None})

    with pytest.raises(UserError, match=message):
        load_model(tmp_path)
