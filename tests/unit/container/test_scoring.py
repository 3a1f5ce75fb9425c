import numpy as np
import pytest

from container.scoring import REQUEST_TYPES, Request, answer
from container.settings import Settings
from fm_algo.errors import UserError
from fm_algo.formats.content_type import CSV, JSON, JSONLINES, RECORDIO_PROTOBUF
from fm_algo.model import FMModel


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


def status_of(model, request):
    with pytest.raises(UserError) as caught:
        answer(model, request, settings_of())
    return caught.value.http_status


def test_a_request_is_answered_with_the_models_score(model):
    answered = answer(model, Request(b"3,0\n3,2\n", CSV, CSV), settings_of())

    # 0.5 + 3, and 0.5 + 3 + 2 * 2 + 3 * 2 for the pair
    assert answered.body == b"3.5\n13.5\n"
    assert answered.content_type == CSV


def test_types_are_checked_before_the_body_and_the_requests_before_the_answers(model):
    assert status_of(model, Request(b"", "image/png", "image/png")) == 415
    assert status_of(model, Request(b"", CSV, "image/png")) == 406
    assert status_of(model, Request(b"", CSV, CSV)) == 400


@pytest.mark.parametrize("content_type", REQUEST_TYPES)
def test_a_request_without_a_body_is_told_so(model, content_type):
    with pytest.raises(UserError, match="no body"):
        answer(model, Request(b"", content_type, None), settings_of())


@pytest.mark.parametrize("content_type", [CSV, JSONLINES])
def test_a_request_without_a_row_is_told_so(model, content_type):
    with pytest.raises(UserError, match="no row"):
        answer(model, Request(b"\n", content_type, None), settings_of())


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

    answered = answer(model, Request(body, JSON, None), settings_of(**environment))

    assert answered.content_type == answer_type
