import json

import numpy as np
import pytest

from fm_algo.data.formats import jsonio
from fm_algo.data.formats.jsonio import JSONLinesDecoder, decode_json
from fm_algo.errors import UserError

FEATURE_DIM = 4

INSTANCES = [
    ('{"features": [1.5, 0.0, 2, -0.0]}', [(0, 1.5), (2, 2.0)]),
    ('{"data": {"features": {"values": [1.5, 0.0, 2, 0]}}}', [(0, 1.5), (2, 2.0)]),
    ('{"data": {"features": {"values": [1, 0, 0, 0], "shape": [4]}}}', [(0, 1.0)]),
    ('{"data": {"features": {"keys": [1, 3], "shape": [4], "values": [1, 1]}}}', [(1, 1), (3, 1)]),
    ('{"configuration": {"a": [1]}, "data": {"features": [0, 1, 0, 0]}}', [(1, 1.0)]),
    ('{"features": {"keys": [2], "values": [7]}}', [(2, 7.0)]),
    ('{"features": {"keys": [3.0, 0], "values": [1, 2]}}', [(3, 1.0), (0, 2.0)]),
    ('{"features": {"keys": [3, 0, 3], "values": [1, 2, 0.5]}}', [(3, 1.5), (0, 2.0)]),
    ('{"features": {"keys": [3], "values": [0]}}', [(3, 0.0)]),
    ('{"features": {"keys": [3], "shape": [4000], "values": [1]}}', [(3, 1.0)]),
    ('{"features": {"keys": [3], "shape": [2, 2], "values": [1]}}', [(3, 1.0)]),
    ('{"features": {"keys": [], "shape": [4], "values": []}}', []),
    ('{"features": {"shape": [4]}}', []),
    ('{"features": {"keys": null, "shape": null, "values": [0, 0, 1e2, 0]}}', [(2, 100.0)]),
    ('{"id": "x", "features": [0, 0, 0, 0], "label": "none"}', []),
]

WRONG = [
    ("{}", "neither 'features' nor 'data', expected one of them"),
    ('{"features": [1, 2, 3, 4], "data": {"features": []}}', "both 'features' and 'data', expected "
     "one of them"),
    ('{"features": [1, 2, 3]}', "3 values without keys, expected 4, which is feature_dim"),
    ('{"features": {}}', "0 values without keys, expected 4, which is feature_dim"),
    ('{"features": {"keys": [1, 2], "values": [1]}}', "2 keys and 1 values, expected as many"),
    ('{"features": {"keys": [1]}}', "1 keys and 0 values, expected as many"),
    ('{"features": {"keys": [4], "values": [1]}}',
     "feature 4 is outside [0, 4), the range feature_dim allows"),
    ('{"features": {"keys": [-1], "values": [1]}}',
     "feature -1 is outside [0, 4), the range feature_dim allows"),
    ('{"features": {"keys": [1e300], "values": [1]}}',
     f"feature {1e300:.17g} is outside [0, 4), the range feature_dim allows"),
    ('{"features": {"keys": [0, 0.5], "values": [1, 1]}}', "feature 0.5 is not a whole number"),
    ('{"features": [0, 0, 1e39, 0]}', f"value {1e39:.17g} of feature 2 is too large for float32"),
    ('{"features": {"keys": [1, 1], "values": [3e38, 3e38]}}', "the values of feature 1, which "
     "stands more than once in a row, add up to more than a float32 holds"),
    ('{"features": {"shape": [3, 2]}}', "the product of shape [3.0, 2.0] is not 4, which is "
     "feature_dim"),
    ('{"features": [1, true, 3, 4]}', "expected number, got 'bool' at features[1]"),
    ('{"features": [1, "2", 3, 4]}', "expected number, got 'str' at features[1]"),
    ('{"features": [1, null, 3, 4]}', "expected number, got 'null' at features[1]"),
    ('{"features": [[1, 2, 3, 4]]}', "expected number, got 'array' at features[0]"),
    ('{"features": [1e999, 2, 3, 4]}', "number out of range at features[0]"),
    ('{"features": "1 2 3 4"}', "expected 'object | array', got 'str' at features"),
    ('{"features": null}', "expected 'object | array', got 'null' at features"),
    ('{"data": {}}', "object missing required field 'features' at data"),
    ('{"data": {"features": {"keys": ["1"], "values": [1]}}}',
     "expected number, got 'str' at data.features.keys[0]"),
    ('[1, 2, 3, 4]', "expected 'object', got 'array'"),
    ('7', "expected 'object', got 'int'"),
]  # fmt: skip

MALFORMED = [
    (b'{"features": [1, NaN, 3, 4]}', "JSON is malformed: invalid character (byte 17)"),
    (b'{"features": [1, Infinity, 3, 4]}', "JSON is malformed: invalid character (byte 17)"),
    (b'{"features": [1, 2, 3, 4,]}', "JSON is malformed: trailing comma in array (byte 25)"),
    (b'{"features": [01, 2, 3, 4]}', "JSON is malformed: invalid number (byte 15)"),
    (b'{"features": [1, 2, 3, 4]} {}', "JSON is malformed: trailing characters (byte 28)"),
    (b'{"features": [1, 2, 3, 4]', "JSON ends too early (byte 25)"),
    (b"\xff", "JSON is malformed: invalid character (byte 0)"),
]


def rows(batch):
    parts = [batch.rows(row, row + 1) for row in range(batch.num_rows)]
    return [list(zip(part.indices.tolist(), part.values.tolist(), strict=True)) for part in parts]


def request(*instances):
    return f'{{"instances": [{", ".join(instances)}]}}'.encode()


def decode_lines(data, *, labelled=False):
    decoder = JSONLinesDecoder(feature_dim=FEATURE_DIM, labelled=labelled)
    first, last = decoder.feed(data), decoder.close()
    return type(first).join([first, last])


@pytest.mark.parametrize(("text", "expected"), INSTANCES)
def test_an_instance_is_a_row(text, expected):
    for batch in (
        decode_json(request(text), feature_dim=FEATURE_DIM)[0],
        decode_lines(text.encode()),
    ):
        assert rows(batch) == [expected]
        assert batch.labels is None
        dtypes = [batch.indptr.dtype, batch.indices.dtype, batch.values.dtype]
        assert dtypes == [np.int64, np.int32, np.float32]
        assert batch.feature_dim == FEATURE_DIM


def test_forms_may_be_mixed_and_keep_their_order(monkeypatch):
    texts = [text for text, _ in INSTANCES]
    expected = [row for _, row in INSTANCES]
    assert rows(decode_lines("\n".join(texts).encode())) == expected
    for at_once in (1, 4, 1024):
        monkeypatch.setattr(jsonio, "_INSTANCES_AT_ONCE", at_once)
        assert rows(decode_json(request(*texts), feature_dim=FEATURE_DIM)[0]) == expected


GOOD = INSTANCES[0][0]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_mistake_in_a_request_is_told_with_its_instance(text, message, monkeypatch):
    for at_once in (1, 2, 1024):
        monkeypatch.setattr(jsonio, "_INSTANCES_AT_ONCE", at_once)
        with pytest.raises(UserError) as raised:
            decode_json(request(GOOD, GOOD, text, GOOD, "7"), feature_dim=FEATURE_DIM)
        assert raised.value.message == f"instance 2: {message}"
        assert raised.value.http_status == 400


@pytest.mark.parametrize(
    ("text", "message"), [*((text.encode(), message) for text, message in WRONG), *MALFORMED]
)
def test_a_mistake_in_json_lines_is_told_with_its_line(text, message):
    for end in (b"", b"\n", b"\n7\n", b"\n\n\n"):
        with pytest.raises(UserError) as raised:
            decode_lines(GOOD.encode() + b"\n" + text + end)
        assert raised.value.message == f"line 2: {message}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "request: JSON ends too early (byte 0)"),
        (b'{"instances": [', "request: JSON ends too early (byte 15)"),
        (b'{"instances": [{"features": [NaN]}]}', "request: JSON is malformed: invalid character "
         "(byte 29)"),
        (b'{"instances": [{"features": [1],}]}', "request: JSON is malformed: trailing comma in "
         "object (byte 32)"),
        (b'{"instances": []}, 1', "request: JSON is malformed: trailing characters (byte 18)"),
        (b"[]", "request: expected 'object', got 'array'"),
        (b"{}", "request: object missing required field 'instances'"),
        (b'{"features": [1, 2, 3, 4]}', "request: object missing required field 'instances'"),
        (b'{"instances": {}}', "request: expected 'array', got 'object' at instances"),
        (b'{"instances": []}', "request: 'instances' is empty, expected one at least"),
        (b'{"a": ' + b"[" * 100_000, "request: JSON is nested too deeply"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_told_so(body, message):
    with pytest.raises(UserError) as raised:
        decode_json(body, feature_dim=FEATURE_DIM)
    assert raised.value.message == message


def test_deep_nesting_in_a_line_is_an_error():
    with pytest.raises(UserError, match=r"^line 1: JSON is nested too deeply$"):
        decode_lines(b'{"a": ' + b"[" * 100_000)


def test_other_keys_of_a_request_do_not_matter():
    body = b'\xef\xbb\xbf {"x": {"instances": 1}, "instances": [%b], "y": null}\r\n' % GOOD.encode()
    assert decode_json(body, feature_dim=FEATURE_DIM)[0].num_rows == 1


def test_json_lines_to_train_on_have_a_label():
    text = b'{"features": [1, 0, 0, 0], "label": 5}\n{"label": 0.5, "features": {"shape": [4]}}\n'
    batch = decode_lines(text, labelled=True)
    assert rows(batch) == [[(0, 1.0)], []]
    assert batch.labels.dtype == np.float32
    assert batch.labels.tolist() == [5, 0.5]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, "object missing required field 'label'"),
        ('"1"', "expected number, got 'str' at label"),
        ("true", "expected number, got 'bool' at label"),
        ("[1]", "expected number, got 'array' at label"),
        ("-1e39", f"label {-1e39:.17g} is too large for float32"),
    ],
)
def test_a_wrong_label_is_an_error(label, message):
    line = '{"features": [1, 0, 0, 0]}'
    if label:
        line = line[:-1] + f', "label": {label}}}'
    with pytest.raises(UserError) as raised:
        decode_lines(b'{"features": [1, 0, 0, 0], "label": 1}\n' + line.encode(), labelled=True)
    assert raised.value.message == f"line 2: {message}"


def test_json_lines_to_train_on_may_have_a_weight():
    line = b'{"features": [1, 0, 0, 0], "label": 5, "weight": 2}\n'
    plain = b'{"features": [1, 0, 0, 0], "label": 5}\n'
    assert decode_lines(line, labelled=True).weights.tolist() == [2]
    assert decode_lines(plain + line + plain, labelled=True).weights.tolist() == [1, 2, 1]
    assert decode_lines(line + plain, labelled=True).weights.dtype == np.float32
    assert decode_lines(plain, labelled=True).weights is None
    assert decode_lines(line).weights is None


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ('"1"', "expected number, got 'str' at weight"),
        ("null", "expected number, got 'null' at weight"),
        ("1e39", f"weight {1e39:.17g} is too large for float32"),
        ("-1", "weight -1 is below 0"),
        ("-1e39", f"weight {-1e39:.17g} is below 0"),
    ],
)
@pytest.mark.parametrize("features", ["[1, 0, 0, 0]", '{"keys": [0], "values": [1]}'])
def test_a_wrong_weight_is_an_error(features, weight, message):
    good = b'{"features": [1, 0, 0, 0], "label": 1, "weight": 1}\n'
    line = f'{{"features": {features}, "label": 1, "weight": {weight}}}'
    with pytest.raises(UserError) as raised:
        decode_lines(good + line.encode(), labelled=True)
    assert raised.value.message == f"line 2: {message}"


def test_a_blank_line_is_no_row():
    text = GOOD.encode()
    assert decode_lines(text + b"\r\n\r\n\n").num_rows == 1
    with pytest.raises(UserError, match=r"^line 2: blank"):
        decode_lines(text + b"\n \n" + text)
    assert decode_lines(b"").num_rows == 0


def test_numbers_are_rounded_once_to_float32():
    values = np.array([0.1, 1e-45, 3.4028234e38, 1 / 3], np.float32)
    body = json.dumps({"instances": [{"features": values.tolist()}]}).encode()
    np.testing.assert_array_equal(decode_json(body, feature_dim=4)[0].values, values)
