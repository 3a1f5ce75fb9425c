"""Every form a request can have, times every type of answer."""

import json
import re
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from fm_algo.data.formats.record_pb2 import Record
from fm_algo.sparse import CSRBatch

JSON = "application/json"
JSONLINES = "application/jsonlines"
RECORDIO = "application/x-recordio-protobuf"
CSV = "text/csv"
LIBSVM = "text/libsvm"
LIBFFM = "text/libffm"

SPARSE = [{0: 1.0, 3: 0.5}, {}, {4: -1.0, 1: 2.0}]
"""The rows that every request below holds. The second is empty, which is no reason to drop it."""

DENSE = [[float(row.get(feature, 0)) for feature in range(5)] for row in SPARSE]


def sparse_features(row):
    return {"keys": list(row), "shape": [5], "values": list(row.values())}


def json_of(instances):
    return json.dumps({"instances": instances}).encode()


def lines_of(instances):
    return "".join(f"{json.dumps(instance)}\n" for instance in instances).encode()


def record(row, tensor="float32_tensor", *, sparse, label=None):
    built = Record()
    features = getattr(built.features["values"], tensor)
    if sparse:
        features.keys.extend(row)
        features.shape.append(5)
    values = row.values() if sparse else (row.get(feature, 0) for feature in range(5))
    features.values.extend(int(v) if tensor == "int32_tensor" else v for v in values)
    if label is not None:
        built.label["values"].float32_tensor.values.append(label)
    return built


def framed(*records):
    frames = []
    for built in records:
        payload = built.SerializeToString()
        padding = bytes(-len(payload) % 4)
        frames.append(struct.pack("<II", 0xCED7230A, len(payload)) + payload + padding)
    return b"".join(frames)


def unframed(body) -> Iterator[Record]:
    position = 0
    while position < len(body):
        magic, length = struct.unpack_from("<II", body, position)
        assert magic == 0xCED7230A
        position += 8
        yield Record.FromString(body[position : position + length])
        position += length + -length % 4


REQUESTS = {
    "json_features": (JSON, json_of([{"features": row} for row in DENSE])),
    "json_data_values": (
        JSON,
        json_of([{"data": {"features": {"values": row}}} for row in DENSE]),
    ),
    "json_sparse": (
        JSON,
        json_of([{"data": {"features": sparse_features(row)}} for row in SPARSE]),
    ),
    "json_configuration": (
        JSON,
        json_of([{"configuration": {}, "data": {"features": row}} for row in DENSE]),
    ),
    "json_mixed": (
        JSON,
        json_of(
            [
                {"features": DENSE[0]},
                {"features": sparse_features(SPARSE[1])},
                {"data": {"features": DENSE[2]}, "id": 3},
            ]
        ),
    ),
    "jsonlines_features": (JSONLINES, lines_of([{"features": row} for row in DENSE])),
    "jsonlines_sparse": (
        JSONLINES,
        lines_of([{"data": {"features": sparse_features(row)}} for row in SPARSE]),
    ),
    "jsonlines_without_last_newline": (
        JSONLINES,
        lines_of([{"features": row} for row in DENSE]).rstrip(),
    ),
    "recordio_sparse": (RECORDIO, framed(*(record(row, sparse=True) for row in SPARSE))),
    "recordio_dense": (RECORDIO, framed(*(record(row, sparse=False) for row in SPARSE))),
    "recordio_float64": (
        RECORDIO,
        framed(*(record(row, "float64_tensor", sparse=True) for row in SPARSE)),
    ),
    "recordio_labelled": (
        RECORDIO,
        framed(*(record(row, sparse=True, label=1.0) for row in SPARSE)),
    ),
    "csv": (CSV, "".join(f"{','.join(map(str, row))}\n" for row in DENSE).encode()),
    "csv_labelled": (
        f"{CSV};label_size=1",
        "".join(f"1,{','.join(map(str, row))}\n" for row in DENSE).encode(),
    ),
    "libsvm": (LIBSVM, b"1 0:1 3:0.5\n0\n1 1:2 4:-1\n"),
    "libsvm_without_labels": (LIBSVM, b"0:1 3:0.5\n\n1:2 4:-1\n"),
    "libsvm_from_1": (f"{LIBSVM};index_base=1", b"1:1 4:0.5\n\n2:2 5:-1\n"),
    "libffm": (LIBFFM, b"1 7:0:1 0:3:0.5\n0\n1 7:1:2 9:4:-1\n"),
    "libffm_without_labels": (LIBFFM, b"7:0:1 0:3:0.5\n\n7:1:2 9:4:-1\n"),
    "libffm_from_1": (f"{LIBFFM};index_base=1", b"0:1:1 1:4:0.5\n\n0:2:2 1:5:-1\n"),
}


def expected(model, rows=SPARSE):
    """Score and, for a classifier, label of each row, by the model itself."""
    batch = CSRBatch(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([feature for row in rows for feature in row], np.int32),
        np.array([value for row in rows for value in row.values()], np.float32),
        None,
        5,
    )
    score = model.score(batch)
    label = model.predicted_label(score)
    return [
        {"score": float(s)} | ({} if label is None else {"predicted_label": float(label[i])})
        for i, s in enumerate(score)
    ]


def parse(reply):
    """The predictions of an answer of any type, as `expected` has them."""
    if reply.content_type == JSON:
        document = json.loads(reply.body)
        assert document.keys() == {"predictions"}
        return document["predictions"]
    if reply.content_type == JSONLINES:
        assert reply.body.endswith(b"\n")
        return [json.loads(line) for line in reply.body.splitlines()]
    if reply.content_type == CSV:
        assert reply.body.endswith(b"\n")
        names = ("score",), ("predicted_label", "score")
        rows = [[float(field) for field in line.split(b",")] for line in reply.body.splitlines()]
        return [dict(zip(names[len(row) - 1], row, strict=True)) for row in rows]
    assert reply.content_type == RECORDIO
    return [
        {name: value.float32_tensor.values[0] for name, value in built.label.items()}
        for built in unframed(reply.body)
    ]


def same(found, wanted):
    assert [row.keys() for row in found] == [row.keys() for row in wanted]
    for found_row, wanted_row in zip(found, wanted, strict=True):
        assert found_row == pytest.approx(wanted_row, rel=1e-6)


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
@pytest.mark.parametrize("accept", [JSON, JSONLINES, RECORDIO, CSV])
@pytest.mark.parametrize("request_name", REQUESTS)
def test_every_request_is_answered_in_every_type(
    server_of, models, predictor_type, accept, request_name
):
    content_type, body = REQUESTS[request_name]

    reply = server_of(predictor_type).invoke(body, Content_Type=content_type, Accept=accept)

    assert reply.status == 200, reply.body
    assert reply.content_type == accept
    same(parse(reply), expected(models[predictor_type]))


@pytest.mark.parametrize("predictor_type", ["regressor", "binary_classifier"])
def test_an_empty_sparse_record_is_answered_by_the_bias(server_of, predictor_type):
    body = framed(record({}, sparse=True))

    reply = server_of(predictor_type).invoke(body, Content_Type=RECORDIO, Accept=JSONLINES)

    w0 = 0.25
    bias = {"regressor": w0, "binary_classifier": 1 / (1 + np.exp(-w0))}[predictor_type]
    (row,) = parse(reply)
    assert row["score"] == pytest.approx(bias)


def test_one_record_may_come_without_its_frame(server_of, models):
    body = record(SPARSE[0], sparse=True).SerializeToString()

    reply = server_of("regressor").invoke(body, Content_Type=RECORDIO, Accept=RECORDIO)

    same(parse(reply), expected(models["regressor"], SPARSE[:1]))


def test_integer_tensors_are_read(server_of, models):
    rows = [{0: 3.0, 2: -2.0}]
    body = framed(record(rows[0], "int32_tensor", sparse=True))

    reply = server_of("regressor").invoke(body, Content_Type=RECORDIO, Accept=JSON)

    same(parse(reply), expected(models["regressor"], rows))


def test_records_get_their_uid_and_metadata_back(server_of):
    records = [record(row, sparse=True) for row in SPARSE]
    records[0].uid, records[2].metadata = "first", '{"row": 3}'

    reply = server_of("regressor").invoke(framed(*records), Content_Type=RECORDIO, Accept=RECORDIO)

    answered = list(unframed(reply.body))
    assert [built.uid for built in answered] == ["first", "", ""]
    assert [built.metadata for built in answered] == ["", "", '{"row": 3}']
    assert all(not built.features for built in answered)


def test_rows_keep_their_order(server_of, models):
    rows = [{0: float(number)} for number in range(5000)]
    body = lines_of([{"features": sparse_features(row)} for row in rows])

    reply = server_of("regressor").invoke(body, Content_Type=JSONLINES)

    same(parse(reply), expected(models["regressor"], rows))


def test_labels_are_floats_and_scores_read_back_as_they_were(server_of, models):
    reply = server_of("binary_classifier").invoke(
        REQUESTS["json_features"][1], Content_Type=JSON, Accept=JSON
    )

    wanted = expected(models["binary_classifier"])
    assert json.loads(reply.body)["predictions"] == wanted
    labels = re.findall(rb'"predicted_label": ?([^,}]+)', reply.body)
    assert len(labels) == 3
    assert set(labels) <= {b"0.0", b"1.0"}


@pytest.mark.parametrize(
    ("request_name", "answer_type"),
    [
        ("json_features", JSON),
        ("jsonlines_features", JSONLINES),
        ("recordio_sparse", JSON),
        ("csv", CSV),
        ("libsvm", CSV),
        ("libffm", CSV),
    ],
)
@pytest.mark.parametrize("accept", [{}, {"Accept": "*/*"}], ids=["absent", "any"])
def test_a_request_that_wants_no_type_gets_the_one_of_its_kind(
    server_of, request_name, answer_type, accept
):
    content_type, body = REQUESTS[request_name]

    reply = server_of("regressor").invoke(body, Content_Type=content_type, **accept)

    assert reply.content_type == answer_type


@pytest.mark.parametrize(
    ("accept", "answer_type"),
    [
        ("Application/JSONLines; verbose=true", JSONLINES),
        ("text/csv;q=0.5, application/x-recordio-protobuf", RECORDIO),
        ("image/png, text/*;q=0.1", CSV),
        ("application/jsonlines;q=0.9, */*;q=0.8", JSONLINES),
    ],
)
def test_an_accept_list_is_weighed(server_of, accept, answer_type):
    content_type, body = REQUESTS["json_features"]

    reply = server_of("regressor").invoke(body, Content_Type=content_type, Accept=accept)

    assert (reply.status, reply.content_type) == (200, answer_type)


@pytest.mark.parametrize(
    "content_type", ["application/JSON", "application/json; charset=utf-8", "APPLICATION/json;x=y"]
)
def test_case_and_parameters_of_a_content_type_do_not_matter(server_of, content_type):
    body = REQUESTS["json_features"][1]

    assert server_of("regressor").invoke(body, Content_Type=content_type).status == 200


@pytest.mark.parametrize(
    ("request_name", "answer_type"),
    [("json_features", JSONLINES), ("recordio_sparse", JSONLINES), ("csv", CSV)],
)
def test_a_batch_job_gets_a_line_a_row(server_of, models, request_name, answer_type):
    content_type, body = REQUESTS[request_name]

    reply = server_of("regressor", SAGEMAKER_BATCH="True").invoke(body, Content_Type=content_type)

    assert reply.content_type == answer_type
    same(parse(reply), expected(models["regressor"]))


def test_the_default_type_can_be_set(server_of):
    server = server_of("regressor", SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/csv")
    content_type, body = REQUESTS["json_features"]

    assert server.invoke(body, Content_Type=content_type).content_type == CSV
    assert server.invoke(body, Content_Type=content_type, Accept=JSON).content_type == JSON


def test_a_body_may_come_in_chunks(server_of, models):
    content_type, body = REQUESTS["recordio_sparse"]
    chunks = (body[i : i + 7] for i in range(0, len(body), 7))

    reply = server_of("regressor").invoke(chunks, Content_Type=content_type, Accept=JSON)

    same(parse(reply), expected(models["regressor"]))


def test_custom_attributes_come_back(server_of):
    content_type, body = REQUESTS["json_features"]
    attributes = {"X_Amzn_SageMaker_Custom_Attributes": "trace=1, c4"}

    reply = server_of("regressor").invoke(body, Content_Type=content_type, **attributes)
    assert reply.headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace=1, c4"

    refused = server_of("regressor").invoke(b"{", Content_Type=content_type, **attributes)
    assert refused.headers["X-Amzn-SageMaker-Custom-Attributes"] == "trace=1, c4"


def test_a_connection_serves_many_requests(server_of):
    content_type, body = REQUESTS["json_features"]
    connection = server_of("regressor").connect()
    connection.connect()
    sock = connection.sock

    for _ in range(3):
        connection.request("POST", "/invocations", body, {"Content-Type": content_type})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        connection.request("GET", "/nowhere")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 404
    assert connection.sock is sock
    connection.close()
