"""Every file of the corpus through the compiled decoders: the rows and messages beside it hold."""

import json

import numpy as np
import pytest
from test_recordio_corpus import (
    FOLDER,
    INVALID,
    INVALID_FEATURE_DIM,
    VALID,
    content,
    float32,
    names,
    rows_expected,
    rows_of,
)
from test_text_corpus import cases, load

from fm_algo.data.bulk.factory import make_bulk_decoder
from fm_algo.data.formats.content_type import RECORDIO_PROTOBUF, ContentType, parse_content_type
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

RECORDIO = ContentType(RECORDIO_PROTOBUF, {})
SIZES = [1, 7, 1 << 20]


def decode(content_type, data, size, **options):
    decoder = make_bulk_decoder(content_type, **options)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return CSRBatch.join([*map(decoder.feed, pieces), decoder.close()])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("expectation", VALID, ids=names(VALID))
def test_a_valid_recordio_file_gives_its_rows(expectation, size):
    expected = json.loads(expectation.read_text())
    labelled = expected["labels"] is not None
    batch = decode(
        RECORDIO,
        content(expectation),
        size,
        feature_dim=expected["feature_dim"],
        labelled=labelled,
    )
    assert rows_of(batch) == rows_expected(expectation)
    assert not labelled or batch.labels.tolist() == float32(expected["labels"])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("expectation", INVALID, ids=names(INVALID))
def test_an_invalid_recordio_file_is_refused_with_its_message(expectation, size):
    with pytest.raises(UserError) as caught:
        decode(RECORDIO, content(expectation), size, feature_dim=INVALID_FEATURE_DIM)
    assert caught.value.message == expectation.read_text().rstrip("\n")


def test_an_answer_has_no_features():
    data = (FOLDER / "response_binary_classifier.pbr").read_bytes()
    with pytest.raises(UserError, match=r"^record 0 \(byte offset 0\): "):
        decode(RECORDIO, data, len(data), feature_dim=INVALID_FEATURE_DIM)


TEXT = ("csv", "libsvm", "libffm")


def text_cases(outcome):
    return [case for case in cases(outcome) if case.values[0].parent.parent.name in TEXT]


def decode_text(path, expected, size):
    return decode(
        parse_content_type(expected["content_type"]),
        path.read_bytes(),
        size,
        feature_dim=expected["feature_dim"],
        labelled=expected["labelled"],
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", text_cases("valid"))
def test_a_valid_text_file_gives_its_rows(path, size):
    expected = load(path)
    batch = decode_text(path, expected, size)
    assert np.diff(batch.indptr).tolist() == [len(row) for row in expected["rows"]]
    entries = [entry for row in expected["rows"] for entry in row]
    assert batch.indices.tolist() == [feature for feature, _ in entries]
    assert batch.values.tolist() == float32([value for _, value in entries])
    if expected["labelled"]:
        assert batch.labels.tolist() == float32(expected["labels"])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", text_cases("invalid"))
def test_an_invalid_text_file_gives_its_message(path, size):
    expected = load(path)
    with pytest.raises(UserError) as raised:
        decode_text(path, expected, size)
    assert raised.value.message == expected["error"]
