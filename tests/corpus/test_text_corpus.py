"""Each file below tests/data/<format>/ with what stands beside it in <file>.expected.json.

`rows` holds [feature, value] pairs, `labels` and perhaps `weights` one number a row; `error` is the
whole message.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from fm_algo.data.formats.content_type import JSON, parse_content_type
from fm_algo.data.formats.factory import make_decoder
from fm_algo.data.formats.jsonio import decode_json
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

DATA = Path(__file__).resolve().parent.parent / "data"


def cases(outcome):
    return [
        pytest.param(path, id=f"{path.parent.parent.name}/{path.name}")
        for kind in ("csv", "json", "jsonlines", "libsvm", "libffm")
        for path in sorted((DATA / kind / outcome).iterdir())
        if not path.name.endswith(".expected.json")
    ]


def load(path):
    return json.loads(path.with_name(f"{path.name}.expected.json").read_text(encoding="utf-8"))


def decode(path, expected, size):
    data = path.read_bytes()
    content_type = parse_content_type(expected["content_type"])
    if content_type.name == JSON:
        return decode_json(data, feature_dim=expected["feature_dim"])[0]
    decoder = make_decoder(
        content_type, feature_dim=expected["feature_dim"], labelled=expected["labelled"]
    )
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return CSRBatch.join([*map(decoder.feed, pieces), decoder.close()])


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("path", cases("valid"))
def test_a_valid_file_gives_its_rows(path, size):
    expected = load(path)
    batch = decode(path, expected, size)
    rows = [batch.rows(row, row + 1) for row in range(batch.num_rows)]
    assert [row.indices.tolist() for row in rows] == [
        [feature for feature, _ in row] for row in expected["rows"]
    ]
    values = [value for row in expected["rows"] for _, value in row]
    np.testing.assert_array_equal(batch.values, np.array(values, np.float32))
    if expected["labelled"]:
        np.testing.assert_array_equal(batch.labels, np.array(expected["labels"], np.float32))
    else:
        assert batch.labels is None
    if "weights" in expected:
        np.testing.assert_array_equal(batch.weights, np.array(expected["weights"], np.float32))
    else:
        assert batch.weights is None


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("path", cases("invalid"))
def test_an_invalid_file_gives_its_message(path, size):
    expected = load(path)
    with pytest.raises(UserError) as raised:
        decode(path, expected, size)
    assert raised.value.message == expected["error"]
