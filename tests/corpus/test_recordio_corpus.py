"""Every file of tests/data/recordio: add one with its expectation beside it, and it is a test."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fm_algo import read_recordio
from fm_algo.data.formats.record import RecordIODecoder
from fm_algo.data.formats.record_request import decode_records
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

FOLDER = Path(__file__).parent.parent / "data" / "recordio"
VALID = sorted(FOLDER.glob("valid/*.json"))
INVALID = sorted(FOLDER.glob("invalid/*.txt"))

INVALID_FEATURE_DIM = 5
"""What the invalid files are read with."""


def names(paths):
    return [path.stem for path in paths]


def content(expectation: Path) -> bytes:
    """The bytes beside an expectation: name.pbr.json tells of name.pbr."""
    path = expectation.with_suffix("")
    data = (path if path.suffix else path.with_suffix(".pbr")).read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def decode(data, *, feature_dim, labelled, piece=None):
    decoder = RecordIODecoder(feature_dim=feature_dim, labelled=labelled)
    piece = piece or max(len(data), 1)
    pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
    return CSRBatch.join([*(decoder.feed(each) for each in pieces), decoder.close()])


def rows_of(batch):
    bounds = batch.indptr.tolist()
    return [
        dict(zip(batch.indices[a:b].tolist(), batch.values[a:b].tolist(), strict=True))
        for a, b in pairwise(bounds)
    ]


def float32(numbers):
    return np.array(numbers, np.float32).tolist()


def rows_expected(expectation):
    rows = json.loads(expectation.read_text())["rows"]
    return [{int(key): float32(value) for key, value in row.items()} for row in rows]


def test_there_are_files_to_read():
    assert len(VALID) > 20
    assert len(INVALID) > 20


@pytest.mark.parametrize("piece", [None, 1, 7])
@pytest.mark.parametrize("expectation", VALID, ids=names(VALID))
def test_a_valid_file_gives_its_rows(expectation, piece):
    expected = json.loads(expectation.read_text())
    batch = decode(
        content(expectation),
        feature_dim=expected["feature_dim"],
        labelled=expected["labels"] is not None,
        piece=piece,
    )
    assert rows_of(batch) == rows_expected(expectation)
    if expected["labels"] is not None:
        assert batch.labels.tolist() == float32(expected["labels"])


@pytest.mark.parametrize("expectation", VALID, ids=names(VALID))
def test_a_valid_file_is_a_valid_request(expectation):
    feature_dim = json.loads(expectation.read_text())["feature_dim"]
    batch, notes = decode_records(content(expectation), feature_dim=feature_dim)
    assert rows_of(batch) == rows_expected(expectation)
    assert batch.labels is None
    assert len(notes) == batch.num_rows


@pytest.mark.parametrize("expectation", VALID, ids=names(VALID))
def test_a_valid_file_is_read_as_a_matrix(expectation):
    expected = json.loads(expectation.read_text())
    rows, labels = read_recordio(expectation.with_suffix(""), feature_dim=expected["feature_dim"])
    dense = np.zeros(rows.shape, np.float32)
    for number, row in enumerate(rows_expected(expectation)):
        dense[number, list(row)] = list(row.values())
    assert rows.shape == (len(expected["rows"]), expected["feature_dim"])
    assert np.array_equal(rows.toarray(), dense)
    assert (labels is None) == (not expected["labels"])


@pytest.mark.parametrize("piece", [None, 1, 7])
@pytest.mark.parametrize("expectation", INVALID, ids=names(INVALID))
def test_an_invalid_file_is_refused_with_its_message(expectation, piece):
    with pytest.raises(UserError) as caught:
        decode(content(expectation), feature_dim=INVALID_FEATURE_DIM, labelled=True, piece=piece)
    assert caught.value.message == expectation.read_text().rstrip("\n")
    assert caught.value.http_status == 400
