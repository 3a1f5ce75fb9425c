import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

from fm_algo import read_recordio, write_recordio
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

VALID = Path(__file__).parents[2] / "data" / "recordio" / "valid"

FLOAT32_FILES = [
    "dense_float32.pbr",
    "dense_no_label.pbr",
    "dense_one_record.pbr",
    "sparse_empty_rows.pbr",
    "sparse_float32.pbr",
    "sparse_many.pbr",
    "sparse_no_label.pbr",
    "sparse_wide.pbr",
]
"""Written by SageMaker's Python SDK from float32 arrays and matrices."""


def written(rows, labels=None):
    file = io.BytesIO()
    write_recordio(file, rows, labels)
    return file.getvalue()


@pytest.mark.parametrize("name", FLOAT32_FILES)
def test_what_is_written_is_what_the_sdk_writes(name):
    expected = json.loads((VALID / f"{name}.json").read_text())
    dense = np.zeros((len(expected["rows"]), expected["feature_dim"]), np.float32)
    for number, row in enumerate(expected["rows"]):
        dense[number, [int(key) for key in row]] = list(row.values())
    rows = dense if name.startswith("dense") else scipy.sparse.csr_matrix(dense)
    labels = expected["labels"] and np.float32(expected["labels"])
    assert written(rows, labels) == (VALID / name).read_bytes()


@pytest.mark.parametrize("kind", ["csr_array", "csr_matrix", "csc_matrix", "coo_array"])
def test_every_sparse_matrix_comes_back_as_it_was(kind):
    dense = np.float32([[0, 1.5, 0], [0, 0, 0], [2, 0, -3]])
    labels = np.float32([1, 0, 1])
    data = written(getattr(scipy.sparse, kind)(dense), labels)
    rows, got = read_recordio(io.BytesIO(data))
    assert isinstance(rows, scipy.sparse.csr_array)
    assert rows.dtype == np.float32
    assert np.array_equal(rows.toarray(), dense)
    assert np.array_equal(got, labels)
    assert got.dtype == np.float32


def test_a_dense_array_comes_back_as_it_was():
    dense = np.float32([[0, 1.5, 0], [0, 0, 0], [2, 0, -3]])
    rows, labels = read_recordio(io.BytesIO(written(dense)))
    assert np.array_equal(rows.toarray(), dense)
    assert rows.nnz == 3
    assert labels is None


def test_an_array_of_one_dimension_is_one_row():
    assert written(np.float32([1, 0, 2])) == written(np.float32([[1, 0, 2]]))
    assert written([1, 0, 2], [3]) == written(np.float32([[1, 0, 2]]), np.float32([3]))


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int8, np.bool_, np.float16])
def test_other_numbers_are_written_as_float32(dtype):
    dense = np.array([[0, 1, 1], [1, 0, 0]], dtype)
    labels = np.array([0, 1], dtype)
    assert written(dense, labels) == written(dense.astype(np.float32), np.float32([0, 1]))
    sparse = scipy.sparse.csr_array(dense.astype(np.float32))
    assert written(scipy.sparse.csr_array(np.array(dense, np.int64)), labels) == written(
        sparse, np.float32([0, 1])
    )


def test_a_batch_is_written_with_its_labels_or_those_given():
    batch = CSRBatch(
        np.int64([0, 2, 2]), np.int32([4, 1]), np.float32([0, 2]), np.float32([1, 0]), 5
    )
    own, _ = read_recordio(io.BytesIO(written(batch)))
    assert own.indices.tolist() == [4, 1]  # order and explicit zeros are kept
    assert own.data.tolist() == [0, 2]
    assert read_recordio(io.BytesIO(written(batch)))[1].tolist() == [1, 0]
    assert read_recordio(io.BytesIO(written(batch, [7, 8])))[1].tolist() == [7, 8]


def test_values_of_a_feature_that_stands_twice_are_added_up():
    rows = scipy.sparse.csr_array((np.float32([1, 2, 4]), [2, 0, 2], [0, 3]), shape=(1, 3))
    assert written(rows) == written(
        scipy.sparse.csr_array((np.float32([5, 2]), [2, 0], [0, 2]), shape=(1, 3))
    )


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_matrices_without_rows_or_columns_are_matrices(shape):
    for rows in (np.zeros(shape, np.float32), scipy.sparse.csr_array(np.zeros(shape, np.float32))):
        got, _ = read_recordio(io.BytesIO(written(rows)))
        assert got.shape == (shape[0], shape[1] if shape[0] else 0)


def test_the_width_read_may_be_given():
    data = written(np.float32([[1, 2]]))
    sparse = written(scipy.sparse.csr_array(np.float32([[1, 2]])))
    assert read_recordio(io.BytesIO(sparse), feature_dim=9)[0].shape == (1, 9)
    with pytest.raises(UserError, match="2 values without keys, a dense record has as many as"):
        read_recordio(io.BytesIO(data), feature_dim=9)
    with pytest.raises(UserError, match=r"feature 1 is outside \[0, 1\)"):
        read_recordio(io.BytesIO(sparse), feature_dim=1)


@pytest.mark.parametrize("as_text", [True, False])
def test_paths_are_written_and_read(tmp_path, as_text):
    path = tmp_path / "train.pbr"
    target = str(path) if as_text else path
    write_recordio(target, np.float32([[1, 0], [0, 2]]), [1, 0])
    rows, labels = read_recordio(target)
    assert (rows.toarray().tolist(), labels.tolist()) == ([[1, 0], [0, 2]], [1, 0])
    assert list(tmp_path.iterdir()) == [path]


def test_a_gzipped_file_is_read_by_its_magic(tmp_path):
    path = tmp_path / "no-suffix"
    data = written(np.float32([[1, 0]]))
    path.write_bytes(gzip.compress(data[:20]) + gzip.compress(data[20:]))
    assert read_recordio(path)[0].toarray().tolist() == [[1, 0]]


@pytest.mark.parametrize("damage", [slice(0, -3), slice(0, 12)])
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path, damage):
    path = tmp_path / "train.gz"
    path.write_bytes(gzip.compress(written(np.float32([[1, 0]])))[damage])
    with pytest.raises(UserError, match=r"train\.gz, damaged gzip data: "):
        read_recordio(path)


def test_a_bad_record_is_reported_with_its_file(tmp_path):
    path = tmp_path / "train.pbr"
    path.write_bytes(written(np.float32([[1, 0]]))[:-1])
    with pytest.raises(UserError) as caught:
        read_recordio(path)
    assert caught.value.message == (
        f"{path}, record 0 (byte offset 0): truncated: 24 bytes announced, 23 are there"
    )


def test_a_bare_record_is_no_file():
    with pytest.raises(UserError, match="a RecordIO frame with its magic"):
        read_recordio(io.BytesIO(written(np.float32([[1, 0]]))[8:]))


def test_records_with_and_without_labels_are_not_mixed():
    data = written(np.float32([[1, 0]])) + written(np.float32([[1, 0]]), [1])
    with pytest.raises(UserError, match=r"record 0 \(byte offset 0\): no label"):
        read_recordio(io.BytesIO(data))


@pytest.mark.parametrize(
    ("rows", "labels", "problem"),
    [
        (np.zeros((2, 2, 2)), None, "rows of 3 dimensions, allowed are two"),
        (np.float32(3), None, "rows of 0 dimensions, allowed are two"),
        ([["a"]], None, "rows of dtype <U1, allowed are real numbers"),
        (np.zeros((1, 1), complex), None, "rows of dtype complex128, allowed are real numbers"),
        ([[1.0, np.nan]], None, r"rows hold nan at \(0, 1\), allowed are finite float32 numbers"),
        ([[1e39]], None, r"rows hold 1e\+39 at \(0, 0\), allowed are finite float32 numbers"),
        (
            scipy.sparse.csr_array([[0, np.inf]]),
            None,
            r"rows hold inf at \(0,\), allowed are finite float32 numbers",
        ),
        ([[1]], [1, 2], r"labels of shape \(2,\), allowed is one a row: \(1,\)"),
        ([[1]], [[1]], r"labels of shape \(1, 1\), allowed is one a row: \(1,\)"),
        ([[1]], [np.nan], r"labels hold nan at \(0,\), allowed are finite float32 numbers"),
        (scipy.sparse.coo_array((1, 2**31)), None, "rows of 2147483648 columns, allowed are 2147"),
        ([[1], [1, 2]], None, "rows are no array of numbers"),
        (
            CSRBatch(np.int64([0, 1]), np.int32([5]), np.float32([1]), None, 5),
            None,
            r"row 0: feature 5 is outside \[0, 5\)",
        ),
        (CSRBatch.of([[1]], [1], sample_weight=[2]), None, "have weights, which RecordIO-protobuf"),
    ],
)
def test_rows_that_no_reader_would_take_are_not_written(tmp_path, rows, labels, problem):
    with pytest.raises(UserError, match=problem):
        write_recordio(tmp_path / "train.pbr", rows, labels)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path, monkeypatch):
    path = tmp_path / "train.pbr"
    path.write_bytes(b"what was there before")

    def fail(_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_recordio(path, np.float32([[1, 0]]))
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


def test_importing_the_library_does_not_import_scipy():
    code = "import sys, fm_algo; sys.exit('scipy' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
