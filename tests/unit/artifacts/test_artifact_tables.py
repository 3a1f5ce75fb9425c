import dataclasses
import json

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from fm_algo.answers.vectors import item_vectors
from fm_algo.artifacts.artifact import (
    load_manifest,
    load_model,
    load_stored_model,
    load_tables,
    save_model,
)
from fm_algo.artifacts.model_source import load_any_stored_model
from fm_algo.data.tables.tables import Seen, Tables, item_rows
from fm_algo.errors import UserError
from fm_algo.model import FMModel


def model_of(feature_dim, num_factors=3):
    random = np.random.default_rng(5)
    w0, w, V = (
        random.normal(size=shape).astype(np.float32)
        for shape in ((1,), (feature_dim,), (feature_dim, num_factors))
    )
    return FMModel("regressor", w0, w, V)


@pytest.fixture
def model():
    return model_of(11)


@pytest.fixture
def tables(table_encoder):
    seen = Seen(
        "user",
        "item",
        np.array([3, 7], np.uint64),
        np.array([0, 1, 3]),
        np.array([0, 1, 2], np.int32),
    )
    return Tables(table_encoder, seen)


def is_view_of_a_file(array):
    while not isinstance(array, np.memmap) and array.base is not None:
        array = array.base
    return isinstance(array, np.memmap) and not array.flags.writeable


def test_tables_are_saved_beside_the_model_and_loaded_as_views(tmp_path, model, tables):
    path = save_model(tmp_path, model, {"epochs": 3}, tables=tables)
    loaded = load_stored_model(tmp_path)

    assert load_manifest(tmp_path).format_version == 3
    assert loaded.hyperparameters == {"epochs": 3}
    np.testing.assert_array_equal(loaded.model.V, model.V, strict=True)
    np.testing.assert_array_equal(load_model(tmp_path).w, model.w, strict=True)
    assert loaded.tables.describe() == tables.describe()
    for name, array in tables.arrays().items():
        found = loaded.tables.arrays()[name]
        np.testing.assert_array_equal(found, array, strict=True)
        assert is_view_of_a_file(found)
        assert found.flags.aligned
    again = tmp_path / "again"
    again.mkdir()
    written = save_model(again, loaded.model, loaded.hyperparameters, tables=loaded.tables)
    assert written.read_bytes() == path.read_bytes()
    assert load_any_stored_model(path).tables.describe() == tables.describe()


def test_candidates_are_those_of_the_model(tmp_path, model, tables):
    save_model(tmp_path, model, {}, tables=tables)
    rows = item_rows(tables.encoder)
    V, w = item_vectors(model, rows.indptr, rows.indices, rows.values)

    candidates = load_tables(tmp_path).candidates

    np.testing.assert_array_equal(candidates.V, V, strict=True)
    np.testing.assert_array_equal(candidates.w, w, strict=True)
    assert is_view_of_a_file(candidates.V)


def test_without_an_items_table_there_are_no_candidates(tmp_path, tables):
    rows_only = tuple(block for block in tables.encoder.blocks if block.table == "rows")
    encoder = dataclasses.replace(tables.encoder, blocks=rows_only, sides=())

    save_model(tmp_path, model_of(7), {}, tables=Tables(encoder))

    assert load_tables(tmp_path).candidates is None
    assert load_tables(tmp_path).seen is None


@pytest.mark.parametrize("block_numbers", [1, 5, 8])
def test_blocks_do_not_show_in_the_file(tmp_path, monkeypatch, model, tables, block_numbers):
    whole = save_model(tmp_path, model, {}, tables=tables).read_bytes()
    monkeypatch.setattr("fm_algo.artifacts.model_tensors._BLOCK_NUMBERS", block_numbers)

    assert save_model(tmp_path, model, {}, tables=tables).read_bytes() == whole


class Elsewhere:
    """An array that only comes in slices."""

    def __init__(self, array):
        self._array = array
        self.shape = array.shape

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self._array[rows]


class Spread:
    """A model that lies elsewhere."""

    def __init__(self, model):
        self.predictor_type = model.predictor_type
        self.w0, self.w, self.V = (Elsewhere(array) for array in (model.w0, model.w, model.V))


def test_a_model_that_is_spread_gives_the_same_file(tmp_path, model, tables):
    whole = save_model(tmp_path, model, {}, tables=tables).read_bytes()

    assert save_model(tmp_path, Spread(model), {}, tables=tables).read_bytes() == whole


def test_a_model_with_samples_may_have_tables(tmp_path, model, tables):
    sampled = dataclasses.replace(model, samples=(model_of(11, 4), model_of(11, 4)))

    save_model(tmp_path, sampled, {}, tables=tables)
    loaded = load_stored_model(tmp_path)

    assert load_manifest(tmp_path).format_version == 3
    assert [sample.num_factors for sample in loaded.model.samples] == [4, 4]
    assert loaded.tables.candidates.V.shape == (3, 3)


def test_a_model_without_tables_has_none(tmp_path, model):
    save_model(tmp_path, model, {})

    assert load_tables(tmp_path) is None


def test_other_tools_read_the_tables(tmp_path, model, tables):
    path = save_model(tmp_path, model, {}, tables=tables)
    tensors = safetensors.numpy.load_file(path)
    with safetensors.safe_open(path, framework="numpy") as opened:
        manifest = json.loads(opened.metadata()["fm_algo"])

    assert manifest["tables"]["sides"] == {"items": "item"}
    assert tensors["tables.dictionary.user.text"].tobytes() == b"u1u2"
    assert tensors["tables.candidates.V"].shape == (3, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tables.dictionary.user.text": None}, "encoder is damaged: 'text'"),
        ({"tables.candidates.w": np.zeros(4, np.float32)}, r"candidates V \(3, 3\) and w \(4,\)"),
        ({"w": np.zeros(9, np.float32), "V": np.zeros((9, 3), np.float32)}, "encoder of 11 feat"),
        ({"other": np.zeros(9, np.float32)}, r"holds the tensors \['V', 'other', 'w', 'w0'\]"),
        ({"w0": np.zeros(1, np.int32)}, "tensor w0 is int32, expected F32"),
    ],
)
def test_a_file_whose_tables_do_not_fit_is_refused(tmp_path, model, tables, changes, message):
    path = save_model(tmp_path, model, {}, tables=tables)
    with safetensors.safe_open(path, framework="numpy") as opened:
        metadata = opened.metadata()
    tensors = safetensors.numpy.load_file(path) | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    safetensors.numpy.save_file(kept, path, metadata=metadata)

    with pytest.raises(UserError, match=message) as error:
        load_model(tmp_path)
    assert error.value.message.startswith(str(path))


def test_tables_that_the_manifest_does_not_describe_are_refused(tmp_path, model, tables):
    path = save_model(tmp_path, model, {}, tables=tables)
    tensors = safetensors.numpy.load_file(path)
    manifest = {"format_version": 1, "predictor_type": "regressor"}
    safetensors.numpy.save_file(tensors, path, metadata={"fm_algo": json.dumps(manifest)})

    with pytest.raises(UserError, match="expected V, w and w0"):
        load_model(tmp_path)
