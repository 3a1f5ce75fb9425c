import pytest

from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.formats.factory import make_decoder
from fm_algo.errors import UserError


def decode(content_type, data, *, labelled):
    decoder = make_decoder(parse_content_type(content_type), feature_dim=2, labelled=labelled)
    first, last = decoder.feed(data), decoder.close()
    return type(first).join([first, last])


RECORD = bytes.fromhex(  # dense [0.25, 0.0] without a label
    "0a23d7ce180000000a160a0676616c756573120c120a0a080000803e00000000"
)


@pytest.mark.parametrize(
    ("content_type", "data", "labelled", "indices", "values"),
    [
        ("text/csv", b"7,0,3\n", True, [1], [3]),
        ("text/csv", b"7,3\n", False, [0, 1], [7, 3]),
        ("text/CSV; label_size=1", b"7,0,3\n", False, [1], [3]),
        ('text/csv;label_size="0";charset=utf-8', b"7,3\n", False, [0, 1], [7, 3]),
        ("text/libsvm", b"1 1:2\n", True, [1], [2]),
        ("text/x-libsvm;index_base=0", b"1 1:2\n", False, [1], [2]),
        ("text/libsvm;index_base=1", b"1 1:2\n", True, [0], [2]),
        ("text/libffm", b"1 3:1:2\n", True, [1], [2]),
        ("text/x-libffm;index_base=1", b"3:1:2\n", False, [0], [2]),
        ("application/jsonlines", b'{"features": [0, 4], "label": 1}\n', True, [1], [4]),
        ("application/JSONLINES", b'{"features": [0, 4]}\n', False, [1], [4]),
        ("application/x-recordio-protobuf", RECORD, False, [0], [0.25]),
    ],
)
def test_a_content_type_has_its_decoder(content_type, data, labelled, indices, values):
    batch = decode(content_type, data, labelled=labelled)
    assert (batch.labels is not None) == labelled
    assert (batch.indices.tolist(), batch.values.tolist()) == (indices, values)


@pytest.mark.parametrize("name", ["text/plain", "", "application/json", "text/csv,text/csv"])
def test_another_type_is_refused_with_the_types_there_are(name):
    with pytest.raises(UserError) as raised:
        decode(name, b"", labelled=True)
    assert raised.value.http_status == 415
    assert raised.value.message == (
        f"content type {name!r} is not supported, allowed: application/x-recordio-protobuf, "
        "text/csv, text/libsvm, text/libffm, application/jsonlines"
    )


@pytest.mark.parametrize(
    "parameter", ["text/csv;label_size", "text/libsvm;index_base", "text/libffm;index_base"]
)
@pytest.mark.parametrize("value", ["2", "-1", "one", "", "01", "1.0"])
def test_a_parameter_of_another_value_is_refused(parameter, value):
    content_type, name = parameter.split(";")
    with pytest.raises(UserError) as raised:
        decode(f"{parameter}={value}", b"", labelled=True)
    assert raised.value.message == f"{content_type} has {name}={value!r}, allowed: 0 or 1"
    assert raised.value.http_status == 400


def test_training_on_csv_without_labels_is_refused():
    with pytest.raises(UserError, match=r"^text/csv;label_size=0 has no labels"):
        decode("text/csv;label_size=0", b"", labelled=True)
