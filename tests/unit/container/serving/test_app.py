import dataclasses
import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from container.serving import invoker
from container.serving.app import create_app
from container.settings import Settings
from fm_algo.artifacts.artifact import save_model
from fm_algo.errors import AlgorithmError, PlatformError, UserError
from fm_algo.model import FMModel

BODY = b'{"instances": [{"features": [1, 0, 2]}]}'
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "model").mkdir()
    return {"SAGEMAKER_BASE_DIR": str(tmp_path)}


@pytest.fixture
def client_of(environment):
    def make(**more):
        return create_app(Settings.from_environment(environment | more)).test_client()

    return make


@pytest.fixture
def client(client_of, tmp_path):
    model = FMModel(
        "regressor",
        np.array([0.5], np.float32),
        np.array([1, 2, 3], np.float32),
        np.zeros((3, 2), np.float32),
    )
    save_model(tmp_path / "model", model, {})
    return client_of()


@pytest.fixture
def failing(client, monkeypatch):
    """Make scoring fail, and ask for a score."""

    def ask(error):
        def fail(*_):
            raise error

        monkeypatch.setattr(invoker, "Scorer", fail)
        return client.post("/invocations", data=BODY, content_type="application/json")

    return ask


def test_a_request_is_scored(client):
    answer = client.post("/invocations", data=BODY, content_type="application/json")

    assert answer.status_code == 200
    assert answer.json == {"predictions": [{"score": 7.5}]}


def test_the_log_says_how_many_samples_a_model_has(client_of, tmp_path, caplog):
    model = FMModel(
        "regressor", np.zeros(1, np.float32), np.zeros(3, np.float32), np.zeros((3, 2), np.float32)
    )
    save_model(tmp_path / "model", dataclasses.replace(model, samples=(model,) * 20), {})

    with caplog.at_level(logging.INFO):
        client_of()

    assert caplog.messages[-1].endswith("; regressor of feature_dim 3, num_factors 2, 20 samples")


def test_the_environment_is_read_where_no_settings_are_given(monkeypatch, environment):
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", environment["SAGEMAKER_BASE_DIR"])

    assert create_app().test_client().get("/ping").status_code == 503


def test_the_type_of_an_answer_has_no_parameters(client):
    answer = client.post(
        "/invocations",
        data=b"1,0,2\n",
        headers={"Content-Type": "text/csv; charset=utf-8", "Accept": "text/csv; header=absent"},
    )

    assert answer.headers["Content-Type"] == "text/csv"


@pytest.mark.parametrize(
    "error", [AlgorithmError("secret"), PlatformError("secret"), ZeroDivisionError("secret")]
)
def test_an_error_of_ours_is_500_and_only_the_log_says_more(failing, caplog, error):
    answer = failing(error)

    assert answer.status_code == 500
    assert answer.text == "internal error; the log of the server has the details"
    (entry,) = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert entry.exc_info[1] is error
    assert "POST /invocations" in entry.getMessage()


def test_an_error_of_the_caller_has_its_own_status_and_text(failing, caplog):
    answer = failing(UserError("row 3 is wrong", http_status=422))

    assert (answer.status_code, answer.text) == (422, "row 3 is wrong")
    (entry,) = [entry for entry in caplog.records if entry.levelno == logging.WARNING]
    assert entry.exc_info is None


def test_a_reason_is_one_line_of_at_most_2048_characters(failing):
    answer = failing(UserError("first\r\nsecond\u2028" + "é" * 3000))

    assert answer.text.startswith("first second é")
    assert len(answer.text) == 2048
    assert answer.mimetype == "text/plain"


@pytest.mark.parametrize(
    ("sent", "comes_back"),
    [
        ("trace=1; a,b", True),
        ("x" * 1024, True),
        ("x" * 1025, False),
        ("caf\xe9", False),
        ("a\tb", False),
        ("", False),
    ],
)
def test_custom_attributes_come_back_if_they_are_as_the_platform_has_them(client, sent, comes_back):
    answer = client.get("/ping", headers={ATTRIBUTES: sent})

    assert answer.headers.get(ATTRIBUTES) == (sent if comes_back else None)


@pytest.mark.parametrize(
    ("variables", "concurrency", "payload_mb"),
    [
        ({"SAGEMAKER_MODEL_SERVER_WORKERS": "4"}, 4, 6),
        ({"SAGEMAKER_MODEL_SERVER_WORKERS": "64"}, 16, 6),
        ({"SAGEMAKER_MODEL_SERVER_WORKERS": "4", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100"}, 1, 100),
        ({"SAGEMAKER_MODEL_SERVER_WORKERS": "4", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "200"}, 1, 200),
        ({"SAGEMAKER_MODEL_SERVER_WORKERS": "4", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "0"}, 4, 0),
    ],
)
def test_execution_parameters_stay_within_the_platforms_limit(
    client_of, variables, concurrency, payload_mb
):
    answer = client_of(**variables).get("/execution-parameters")

    assert answer.json == {"MaxConcurrentTransforms": concurrency, "MaxPayloadInMB": payload_mb}


def test_a_path_is_never_redirected(client):
    assert client.post("//invocations").status_code == 404
    assert client.get("/ping/").status_code == 404


def test_a_body_that_cannot_be_read_to_its_end_is_400(client):
    class BrokenOff:
        def read(self, size):
            raise OSError("the peer has gone")

    answer = client.post(
        "/invocations", content_type="text/csv", environ_overrides={"wsgi.input": BrokenOff()}
    )

    assert answer.status_code == 400
    assert answer.text == "the request's body broke off: the peer has gone"


def test_serving_imports_no_training(tmp_path):
    heavy = {"numba", "torch", "scipy", "fm_algo.training.gradient", "fm_algo.training.trainer"}
    code = (
        "import json, sys\n"
        "import container.serving.app, container.serving.server, fm_algo.artifacts.artifact\n"
        f"print(json.dumps(sorted({heavy!r} & sys.modules.keys())))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []
