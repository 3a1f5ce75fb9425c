import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fm_algo.artifacts.builtin.artifact import (
    find_builtin_model,
    load_builtin_model,
    read_builtin_model,
    save_builtin_model,
)
from fm_algo.artifacts.builtin.ndarray import StoredArray, encode_ndarray_list
from fm_algo.data.formats.record_request import decode_records
from fm_algo.data.recordio_file import read_recordio
from fm_algo.errors import PlatformError, UserError
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

DATA = Path(__file__).parents[3] / "data" / "builtin"
FOLDERS = ["binary-k8-d100", "regression-k4-d30"]
REGRESSOR = b'{"training_parameters": {"predictor_type": "regressor"}}'


def numbers(*shape):
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def a_model(feature_dim=5, num_factors=3, predictor_type="regressor"):
    random = np.random.default_rng(0)
    return FMModel(
        predictor_type,
        *(
            random.standard_normal(shape, np.float32)
            for shape in ((1,), (feature_dim,), (feature_dim, num_factors))
        ),
    )


def params(**arrays):
    stored = {
        f"arg:{name}": array if isinstance(array, StoredArray) else StoredArray.dense(array)
        for name, array in arrays.items()
    }
    return b"".join(encode_ndarray_list(stored))


def write_files(directory, **files):
    names = {"params": "params", "meta": "meta.json", "symbol": "symbol.json"}
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        (directory / names[name]).write_bytes(content)
    return directory


def same(left, right):
    return left.predictor_type == right.predictor_type and all(
        getattr(left, name).dtype == np.float32
        and getattr(left, name).shape == getattr(right, name).shape
        and getattr(left, name).tobytes() == getattr(right, name).tobytes()
        for name in ("w0", "w", "V")
    )


@pytest.fixture
def loose(mxnet_models, tmp_path):
    """The three files of a model, out of their archive."""
    with zipfile.ZipFile(mxnet_models / "regression-k4-d30" / "model_algo-1") as archive:
        return write_files(
            tmp_path / "loose",
            params=archive.read("params"),
            meta=archive.read("meta.json"),
            symbol=archive.read("symbol.json"),
        )


def rows_of(folder):
    rows = json.loads((DATA / folder / "rows.json").read_text())["rows"]
    keys = [row["keys"] for row in rows]
    return CSRBatch(
        np.cumsum([0, *map(len, keys)]),
        np.concatenate(keys).astype(np.int32),
        np.concatenate([row["values"] for row in rows]).astype(np.float32),
        None,
        json.loads((DATA / folder / "expected.json").read_text())["feature_dim"],
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_model_of_mxnet_has_the_numbers_and_the_scores_mxnet_has(folder, mxnet_models):
    model = load_builtin_model(mxnet_models / folder)

    reference = np.load(DATA / folder / "reference-parameters.npz")
    assert model.w0.tobytes() == reference["w0_weight"].tobytes()
    assert model.w.tobytes() == reference["w1_weight"].tobytes()
    assert model.V.tobytes() == reference["v"].tobytes()
    expected = json.loads((DATA / folder / "expected.json").read_text())
    assert model.predictor_type == expected["predictor_type"]
    score = model.score(rows_of(folder))
    predictions = expected["predictions"]
    assert score == pytest.approx(
        [row["score"] for row in predictions], abs=expected["tolerance"], rel=0
    )
    if model.predictor_type == "binary_classifier":
        label = model.predicted_label(score)
        assert label is not None
        assert label.tolist() == [row["predicted_label"] for row in predictions]


def test_the_real_model_scores_its_real_test_file(builtin_job, tmp_path):
    with tarfile.open(builtin_job / "model.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")

    model, hyperparameters = read_builtin_model(tmp_path / "model_algo-1")

    data = (builtin_job / "test.protobuf").read_bytes()
    batch, _ = decode_records(data, feature_dim=model.feature_dim)
    _, labels = read_recordio(io.BytesIO(data), feature_dim=model.feature_dim)
    error = model.score(batch).astype(np.float64) - labels
    assert len(error) == 20_000
    metrics = {
        "rmse": np.sqrt(np.mean(error**2)),
        "mse": np.mean(error**2),
        "absolute_loss": np.mean(np.abs(error)),
    }
    # The job's own log, whose sums are float32: the ninth digit is its rounding.
    logged = json.loads((builtin_job / "log.json").read_text())["test"]
    assert metrics == pytest.approx(logged, abs=1e-8, rel=0)
    assert {name: f"{number:.7g}" for name, number in metrics.items()} == {
        "rmse": "1.000263",
        "mse": "1.000526",
        "absolute_loss": "0.7952481",
    }
    assert hyperparameters["factors_wd"] == "0.00001"


def test_the_real_model_is_written_again_byte_for_byte(builtin_job, tmp_path):
    with tarfile.open(builtin_job / "model.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")

    again = save_builtin_model(tmp_path, *read_builtin_model(tmp_path / "model_algo-1"))

    with tarfile.open(builtin_job / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "theirs", filter="data")
    with (
        zipfile.ZipFile(again) as ours,
        zipfile.ZipFile(tmp_path / "theirs" / "model_algo-1") as theirs,
    ):
        assert ours.namelist() == theirs.namelist()
        for name in theirs.namelist():
            assert ours.read(name) == theirs.read(name)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_model_written_and_loaded_is_the_same_bit_for_bit(folder, mxnet_models, tmp_path):
    model, hyperparameters = read_builtin_model(mxnet_models / folder)

    path = save_builtin_model(tmp_path, model, hyperparameters)

    assert path == tmp_path / "model_algo-1"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]
    again, same_hyperparameters = read_builtin_model(path)
    assert same(again, model)
    assert same_hyperparameters == hyperparameters


def test_the_same_model_gives_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()

    paths = [save_builtin_model(tmp_path / name, a_model(), {"epochs": 3}) for name in "ab"]

    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_model_is_written_in_slices_of_some_megabytes(tmp_path):
    class Elsewhere:
        """An array that is not in memory as a whole."""

        def __init__(self, array):
            self._array, self.shape = array, array.shape

        def __getitem__(self, rows):
            found = self._array[rows]
            assert found.nbytes <= 4 << 20
            return found

    random = np.random.default_rng(1)
    w0, w, V = (
        random.normal(size=shape).astype(np.float32) for shape in (1, 1_200_000, (1_200_000, 3))
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    spread = SimpleNamespace(
        predictor_type="regressor", w0=Elsewhere(w0), w=Elsewhere(w), V=Elsewhere(V)
    )

    paths = [
        save_builtin_model(tmp_path / "a", spread, {"epochs": 3}),
        save_builtin_model(tmp_path / "b", FMModel("regressor", w0, w, V), {"epochs": 3}),
    ]

    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert same(load_builtin_model(paths[0]), FMModel("regressor", w0, w, V))


def test_hyperparameters_become_the_strings_the_built_in_writes(tmp_path):
    typed = {
        "epochs": 50,
        "factors_wd": 1e-5,
        "factors_lr": 0.0001,
        "bias_lr": 1.0,
        "use_bias": True,
        "eps": None,
        "_kvstore": "auto",
        "num_factors": 999,
    }

    path = save_builtin_model(tmp_path, a_model(5, 3, "binary_classifier"), typed)

    with zipfile.ZipFile(path) as archive:
        meta = json.loads(archive.read("meta.json"))
    assert meta == {
        "version": 1,
        "epoch_number": 1,
        "training_parameters": {
            "epochs": "50",
            "factors_wd": "0.00001",
            "factors_lr": "0.0001",
            "bias_lr": "1.0",
            "use_bias": "true",
            "_kvstore": "auto",
            "num_factors": "3",
            "feature_dim": "5",
            "predictor_type": "binary_classifier",
        },
        "label_names": ["out_label"],
    }


def test_hyperparameters_that_need_others_are_written_without_them(tmp_path):
    """They need columns, which the layout leaves out."""
    given = {"loss": "bpr", "keep_seen": True, "columns": {"user": "category"}, "bias_lr": 0.25}

    path = save_builtin_model(tmp_path, a_model(), given)

    assert read_builtin_model(path)[1].items() >= {"loss": "bpr", "bias_lr": "0.25"}.items()


def test_a_hyperparameter_that_cannot_be_is_not_written(tmp_path):
    with pytest.raises(UserError, match="bias_lr='fast' is not"):
        save_builtin_model(tmp_path, a_model(), {"bias_lr": "fast"})

    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_the_machines_fault(tmp_path):
    with pytest.raises(PlatformError, match="could not be written"):
        save_builtin_model(tmp_path / "none", a_model(), {})


@pytest.mark.parametrize(
    "renamed", [{}, {"params": "model-0000.params", "symbol.json": "model-symbol.json"}]
)
def test_the_three_files_are_taken_without_their_archive(renamed, loose, mxnet_models):
    for old, new in renamed.items():
        (loose / old).rename(loose / new)

    assert same(load_builtin_model(loose), load_builtin_model(mxnet_models / "regression-k4-d30"))


def test_the_archive_may_be_named_after_another_host(mxnet_models, tmp_path):
    source = mxnet_models / "regression-k4-d30" / "model_algo-1"
    for host in (10, 2):
        shutil.copy(source, tmp_path / f"model_algo-{host}")

    assert find_builtin_model(tmp_path) == tmp_path / "model_algo-2"
    assert load_builtin_model(tmp_path).feature_dim == 30


def test_without_meta_json_the_network_tells_the_predictor_type(loose):
    (loose / "meta.json").unlink()

    model, hyperparameters = read_builtin_model(loose)

    assert model.predictor_type == "regressor"
    assert hyperparameters == {}


def test_meta_json_has_the_last_word(loose):
    meta = (loose / "meta.json").read_text().replace('"regressor"', '"binary_classifier"')
    (loose / "meta.json").write_text(meta)

    assert load_builtin_model(loose).predictor_type == "binary_classifier"


def test_without_symbol_json_meta_json_tells_the_predictor_type(loose):
    (loose / "symbol.json").unlink()

    assert load_builtin_model(loose).predictor_type == "regressor"


def test_the_older_dense_artifact_has_its_matrices_transposed(tmp_path):
    files = params(
        v=numbers(2, 3),
        Linear_Plus_Bias_weight=numbers(1, 3) * 10,
        Linear_Plus_Bias_bias=numbers(1) * 7,
    )

    model = load_builtin_model(write_files(tmp_path, params=files, meta=REGRESSOR))

    assert model.w0.tolist() == [7]
    assert model.w.tolist() == [10, 20, 30]
    assert model.V.tolist() == [[1, 4], [2, 5], [3, 6]]
    assert model.V.flags.c_contiguous


@pytest.mark.parametrize(
    "name", ["dense", "missing_rows", "v3", "float64", "float16", "other_dtypes"]
)
def test_whatever_storage_mxnet_chose_the_numbers_are_read(name, tmp_path):
    path = DATA / "ndarray" / f"{name}.params"

    model = load_builtin_model(write_files(tmp_path, params=path.read_bytes(), meta=REGRESSOR))

    expected = np.load(path.with_suffix(".npz"))
    assert model.V.tolist() == expected["arg:v"].astype(np.float32).tolist()
    assert model.w.tolist() == expected["arg:w1_weight"].astype(np.float32).ravel().tolist()
    assert model.w0.tolist() == expected["arg:w0_weight"].astype(np.float32).tolist()
    assert {array.dtype for array in (model.w0, model.w, model.V)} == {np.dtype(np.float32)}


def good(**changed):
    arrays = {"w1_weight": numbers(3, 1), "w0_weight": numbers(1), "v": numbers(3, 2)} | changed
    return params(**{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"meta": REGRESSOR}, "no model of the built-in algorithm at {}: expected model_algo-1"),
        (
            {"params": good()},
            "{}, predictor_type None, allowed are regressor, binary_classifier: it stands in "
            "meta.json, or else follows from symbol.json",
        ),
        (
            {"params": good(), "meta": b'{"training_parameters": {"predictor_type": 3}}'},
            "{}, predictor_type 3, allowed are regressor, binary_classifier: it stands in "
            "meta.json, or else follows from symbol.json",
        ),
        (
            {"params": good(), "meta": b"{"},
            "{}, meta.json cannot be read: Input data was truncated",
        ),
        (
            {"params": good(), "meta": b" " * (1 << 24) + b"{}"},
            "{}, meta.json of 16777218 bytes, allowed are 16777216",
        ),
        (
            {"params": b"", "meta": REGRESSOR},
            "{}, params, truncated: magic of 8 bytes at byte offset 0, 0 bytes are left",
        ),
        (
            {"params": good(w0_weight=None), "meta": REGRESSOR},
            "{}, params, arrays ['v', 'w1_weight'], expected w0_weight, w1_weight, v",
        ),
        (
            {"params": good(v=numbers(3, 2).astype(np.int32)), "meta": REGRESSOR},
            "{}, params, array v of dtype int32, allowed are floats",
        ),
        (
            {"params": good(v=numbers(3, 2) * np.float64(1e300)), "meta": REGRESSOR},
            "{}, params, array v holds numbers too large for float32",
        ),
        (
            {"params": good(v=numbers(4, 2)), "meta": REGRESSOR},
            "{}, params, shapes w0_weight (1,), w1_weight (3, 1), v (4, 2); expected those of a "
            "bias, linear weights and factors of the same features",
        ),
        (
            {"params": good(v=numbers(3, 0)), "meta": REGRESSOR},
            "{}, params, shapes w0_weight (1,), w1_weight (3, 1), v (3, 0); expected those of a "
            "bias, linear weights and factors of the same features",
        ),
        (
            {
                "params": good(v=StoredArray(numbers(1, 2), (2**40, 2), np.array([5], np.int64))),
                "meta": REGRESSOR,
            },
            "{}, params, array v, shape (1099511627776, 2) is 8796093022208 bytes for 8 stored, "
            "allowed are 1073741824",
        ),
    ],
)
def test_files_that_are_no_model_are_refused(files, message, tmp_path):
    directory = write_files(tmp_path / "m", **files)

    with pytest.raises(UserError) as error:
        load_builtin_model(directory)

    assert error.value.message == message.format(directory)


def test_an_archive_with_other_files_is_refused(tmp_path):
    path = tmp_path / "model_algo-1"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../params", good())
        archive.writestr("meta.json", REGRESSOR)

    with pytest.raises(UserError) as error:
        load_builtin_model(path)

    assert error.value.message == (
        f"{path}, files ['meta.json'], expected params, symbol.json and meta.json"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_there_is_no_model_where_there_is_no_file(tmp_path):
    with pytest.raises(UserError, match="no model of the built-in algorithm at"):
        load_builtin_model(tmp_path / "model_algo-1")


def test_the_hyperparameters_of_tables_are_left_out(tmp_path):
    zeros = np.zeros((3, 1), np.float32)
    model = FMModel("regressor", zeros[0], zeros[:, 0], zeros)
    of_tables = {"columns": {"y": "label", "u": "category"}, "min_count": 3, "keep_seen": True}

    path = save_builtin_model(tmp_path, model, {"epochs": 3, **of_tables})
    _, hyperparameters = read_builtin_model(path)

    assert hyperparameters["epochs"] == "3"
    assert hyperparameters["feature_dim"] == "3"
    assert not of_tables.keys() & hyperparameters.keys()
