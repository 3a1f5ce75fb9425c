import dataclasses
import io
import json

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from container.serving import work_limit
from container.serving.scoring import REQUEST_TYPES, Scorer
from container.settings import ANSWER_TYPES, Settings
from fm_algo import write_recordio
from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    RECORDIO_PROTOBUF,
)
from fm_algo.data.tables.named_model import NamedModel
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import AlgorithmError, UserError
from fm_algo.model import FMModel
from fm_algo.model.field_weights import FieldWeights
from fm_algo.sparse.feature_space import FeatureSpace


@pytest.fixture
def model():
    return FMModel(
        "regressor",
        np.array([0.5], np.float32),
        np.array([1, 2], np.float32),
        np.array([[1], [1]], np.float32),
    )


def settings_of(**environment):
    return Settings.from_environment(environment)


def answer(model, body, content_type, accept, *, piece_bytes=1 << 20, **environment):
    scorer = Scorer(model, content_type, accept, settings_of(**environment))
    pieces = []
    for start in range(0, len(body), piece_bytes):
        pieces += scorer.feed(body[start : start + piece_bytes])
    pieces += scorer.close()
    return scorer, b"".join(pieces)


def with_samples(model, *weights):
    """The model beside samples that each have another weight for both features."""
    samples = (
        FMModel(model.predictor_type, model.w0, np.full(2, weight, np.float32), model.V * 0)
        for weight in weights
    )
    return dataclasses.replace(model, samples=tuple(samples))


def status_of(model, body, content_type, accept):
    with pytest.raises(UserError) as caught:
        answer(model, body, content_type, accept)
    return caught.value.http_status


def test_a_request_is_answered_with_the_models_score(model):
    scorer, body = answer(model, b"3,0\n3,2\n", CSV, CSV)

    # 0.5 + 3, and 0.5 + 3 + 2 * 2 + 3 * 2 for the pair
    assert body == b"3.5\n13.5\n"
    assert (scorer.answer_type, scorer.num_rows) == (CSV, 2)


def test_types_are_checked_before_the_body_and_the_requests_before_the_answers(model):
    assert status_of(model, b"", "image/png", "image/png") == 415
    assert status_of(model, b"", CSV, "image/png") == 406
    assert status_of(model, b"", CSV, CSV) == 400


@pytest.mark.parametrize("content_type", REQUEST_TYPES)
def test_a_request_without_a_body_is_told_so(model, content_type):
    with pytest.raises(UserError, match="no body"):
        answer(model, b"", content_type, None)


@pytest.mark.parametrize("content_type", [CSV, JSONLINES])
def test_a_request_without_a_row_is_told_so(model, content_type):
    with pytest.raises(UserError, match="no row"):
        answer(model, b"\n", content_type, None)


@pytest.mark.parametrize(
    ("environment", "answer_type"),
    [
        ({}, JSON),
        ({"SAGEMAKER_BATCH": "true"}, JSONLINES),
        ({"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": RECORDIO_PROTOBUF}, RECORDIO_PROTOBUF),
        (
            {"SAGEMAKER_BATCH": "true", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": JSON},
            JSON,
        ),
    ],
)
def test_where_a_request_wants_no_type_the_settings_decide(model, environment, answer_type):
    body = b'{"instances": [{"features": [1, 1]}]}'

    scorer, _ = answer(model, body, JSON, None, **environment)

    assert scorer.answer_type == answer_type


RECORDS = io.BytesIO()
write_recordio(RECORDS, csr_matrix(np.float32([[3, 0], [0, 0], [0, 4]])))
THREE_ROWS = {
    JSON: b'{"instances": [{"features": [3, 0]}, {"features": [0, 0]}, {"features": [0, 4]}]}',
    JSONLINES: b'{"features": [3, 0]}\n{"features": [0, 0]}\n{"features": [0, 4]}\n',
    RECORDIO_PROTOBUF: RECORDS.getvalue(),
    CSV: b"3,0\n0,0\n0,4",
    LIBSVM: b"0:3\n\n1:4\n",
    LIBFFM: b"7:0:3\n\n9:1:4\n",
}


@pytest.mark.parametrize("accept", ANSWER_TYPES)
@pytest.mark.parametrize("content_type", REQUEST_TYPES)
@pytest.mark.parametrize("piece_bytes", [1, 3, 7])
def test_how_a_request_is_cut_into_pieces_does_not_show(model, content_type, accept, piece_bytes):
    body = THREE_ROWS[content_type]

    scorer, cut = answer(model, body, content_type, accept, piece_bytes=piece_bytes)

    assert scorer.num_rows == 3
    assert cut == answer(model, body, content_type, accept)[1]


def test_an_answer_in_json_is_one_document_however_many_blocks_it_is_made_of(model):
    instances = ", ".join(f'{{"features": [{row}, 0]}}' for row in range(3000))

    _, body = answer(model, f'{{"instances": [{instances}]}}'.encode(), JSON, JSON)

    assert json.loads(body) == {"predictions": [{"score": 0.5 + row} for row in range(3000)]}


def test_a_record_without_a_frame_is_told_by_its_first_bytes_wherever_they_are_cut(model):
    framed = io.BytesIO()
    write_recordio(framed, csr_matrix(np.float32([[3, 2]])))
    frame = framed.getvalue()
    bare = frame[8 : 8 + int.from_bytes(frame[4:8], "little")]

    for piece_bytes in (1, 2, 100):
        _, body = answer(model, bare, RECORDIO_PROTOBUF, CSV, piece_bytes=piece_bytes)
        assert body == b"13.5\n"


def test_a_row_whose_score_is_infinite_is_told_by_its_number_in_the_request(model):
    body = b"1,1\n" * 5 + b"3e38,3e38\n"

    with pytest.raises(UserError, match=r"the score of row 5 \(from 0\) is infinite"):
        answer(model, body, CSV, CSV, piece_bytes=4)


def test_what_rows_ask_for_is_limited_for_all_pieces_together(model, monkeypatch):
    monkeypatch.setattr(work_limit, "_MAX_CANDIDATES", 4)
    asked = {"top_k": 1, "candidates": {"first": 0, "last": 1}}
    line = json.dumps({"features": [1, 1], "configuration": asked}).encode() + b"\n"

    assert answer(model, 2 * line, JSONLINES, None, piece_bytes=len(line))[0].num_rows == 2
    with pytest.raises(UserError, match="6 candidates, allowed: 4 a request"):
        answer(model, 3 * line, JSONLINES, None, piece_bytes=len(line))


def test_a_candidate_counts_once_per_column_where_pairs_of_columns_have_weights(
    model, table_encoder, monkeypatch
):
    monkeypatch.setattr(work_limit, "_MAX_CANDIDATES", 9)
    n = table_encoder.feature_dim
    weighted = FMModel(
        *("regressor", model.w0, np.ones(n, np.float32), np.ones((n, 2), np.float32)),
        field_weights=FieldWeights.of_ones(table_encoder.space),
    )
    tables = Tables(table_encoder).with_candidates(weighted)
    line = json.dumps({"user": "u1", "configuration": {"top_k": 1}}).encode() + b"\n"
    plain = dataclasses.replace(weighted, field_weights=None)
    plain = NamedModel.of(plain, Tables(table_encoder).with_candidates(plain))

    # Three items, with features in item, genres and price.
    assert answer(plain, 3 * line, JSONLINES, None)[0].num_rows == 3
    assert answer(NamedModel.of(weighted, tables), line, JSONLINES, None)[0].num_rows == 1
    with pytest.raises(
        UserError, match=r"18 candidates, each counted per column of its own, allowed: 9 a request"
    ):
        answer(NamedModel.of(weighted, tables), 2 * line, JSONLINES, None)


def test_weights_of_fields_that_are_no_numbers_are_not_the_rows_fault(model):
    space = FeatureSpace.of_map(("a", "b"), np.arange(2, dtype=np.int32))
    weights = FieldWeights(np.full((2, 2), np.nan, np.float32), space)

    with pytest.raises(AlgorithmError, match="expected a finite number"):
        answer(
            dataclasses.replace(model, field_weights=weights),
            b'{"instances": [{"features": [1, 1]}]}', JSON, None,
        )  # fmt: skip


UNCERTAIN = {"features": [2, 0], "configuration": {"uncertainty": True}}
PLAIN = {"features": [2, 0]}


def asked(content_type, *instances):
    if content_type == JSON:
        return json.dumps({"instances": instances}).encode()
    return "".join(f"{json.dumps(instance)}\n" for instance in instances).encode()


@pytest.mark.parametrize(("content_type", "accept"), [(JSON, JSON), (JSONLINES, JSONLINES)])
@pytest.mark.parametrize("piece_bytes", [5, 1 << 20])
def test_who_asks_for_it_is_told_the_uncertainty(model, content_type, accept, piece_bytes):
    body = asked(content_type, PLAIN, UNCERTAIN, PLAIN, UNCERTAIN)

    _, answered = answer(
        with_samples(model, 1, 2, 3), body, content_type, accept, piece_bytes=piece_bytes
    )

    told = (
        json.loads(answered)["predictions"]
        if accept == JSON
        else [json.loads(line) for line in answered.splitlines()]
    )
    interval = np.float32([2.7, 6.3]).tolist()
    known = {"score": 4.5, "score_std": 2.0, "score_interval": interval}
    assert told == [{"score": 4.5}, known, {"score": 4.5}, known]


def test_the_uncertainty_of_a_row_stands_beside_its_explanation(model):
    both = {"features": [2, 0], "configuration": {"uncertainty": True, "explain": True}}

    _, body = answer(with_samples(model, 1, 3), asked(JSON, both), JSON, JSON)

    (told,) = json.loads(body)["predictions"]
    assert list(told) == ["score", "score_std", "score_interval", "explanation"]
    assert (told["score"], told["explanation"]["margin"]) == (4.5, 2.5)  # of w, not the samples


@pytest.mark.parametrize("num_samples", [0, 1])
def test_a_model_without_samples_says_what_to_set(model, num_samples):
    with pytest.raises(
        UserError, match=rf"^the model holds {num_samples} posterior samples, .*s"
    ) as caught:
        answer(with_samples(model, *range(num_samples)), asked(JSON, UNCERTAIN), JSON, JSON)

    assert caught.value.http_status == 400
    assert "posterior_samples" in caught.value.message


def test_uncertainty_that_has_no_place_in_an_answer_is_406(model):
    with pytest.raises(
        UserError, match=r"^explain, top_k and uncertainty cannot be answered in te"
    ) as caught:
        answer(with_samples(model, 1, 2), asked(JSON, UNCERTAIN), JSON, CSV)

    assert caught.value.http_status == 406


def test_the_entries_whose_uncertainty_is_asked_for_are_limited(model, monkeypatch):
    monkeypatch.setattr(work_limit, "_MAX_SAMPLED_ENTRIES", 8)
    sampled = with_samples(model, 1, 2, 3)
    line = asked(JSONLINES, UNCERTAIN)

    assert answer(sampled, 2 * line, JSONLINES, None, piece_bytes=len(line))[0].num_rows == 2
    with pytest.raises(
        UserError, match="have 3 entries, allowed: 2 a request with the model's 3 samples"
    ):
        answer(sampled, 3 * line, JSONLINES, None, piece_bytes=len(line))


def test_samples_whose_scores_are_infinite_are_the_rows_fault(model):
    far = {"features": [3e38, 0], "configuration": {"uncertainty": True}}
    sampled = with_samples(model, 4, -4)

    assert json.loads(answer(sampled, asked(JSON, PLAIN), JSON, JSON)[1])
    with pytest.raises(UserError, match="the samples' scores are infinite: the values of the row"):
        answer(sampled, asked(JSON, far), JSON, JSON)


def test_a_score_that_the_samples_make_infinite_is_told_by_its_row(model):
    with pytest.raises(UserError, match=r"the score of row 1 \(from 0\) is infinite"):
        answer(with_samples(model, 4, 4), b"1,1\n3e38,0\n", CSV, CSV)
    with pytest.raises(AlgorithmError):
        answer(with_samples(model, np.inf, 4), b"1,1\n", CSV, CSV)


def test_fields_are_compared_with_those_of_a_model_that_has_them(model):
    body = b"7:0:3\n7:0:3 7:1:2\n"
    assert answer(model, body, LIBFFM, CSV)[1] == b"3.5\n13.5\n"
    space = FeatureSpace.of_columns(("7", "9"), np.array([0, 1]), 2)
    weighted = dataclasses.replace(model, field_weights=FieldWeights.of_ones(space))

    with pytest.raises(UserError) as caught:
        answer(weighted, body, LIBFFM, CSV)

    assert caught.value.http_status == 400
    assert caught.value.message == "line 2: feature 1 is in field 7; in the model, it is in field 9"
    right = body.replace(b"7:1", b"9:1")
    assert answer(weighted, right, LIBFFM, CSV)[1] == b"3.5\n13.5\n"
    assert answer(weighted, b"0:3\n", LIBSVM, CSV)[1] == b"3.5\n"


@pytest.mark.parametrize("piece_bytes", [1, 1 << 20])
def test_a_request_that_cannot_be_read_is_told_what_to_do(model, piece_bytes):
    with pytest.raises(UserError) as told:
        answer(model, b"[[1, 2]]", JSON, None, piece_bytes=piece_bytes)

    assert told.value.message == (
        "request: expected 'object', got 'array'; the shape is "
        '{"instances": [{"features": [1.5, 0]}]}'
    )


@pytest.mark.parametrize("content_type", [None, "", "application/octet-stream"])
def test_a_request_that_says_no_type_is_told_to(model, content_type):
    with pytest.raises(UserError) as told:
        answer(model, b"1,2", content_type, None)

    assert told.value.message.endswith("; say what the body is, such as ContentType=text/csv")
