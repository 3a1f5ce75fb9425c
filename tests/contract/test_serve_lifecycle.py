"""A server from its start to its end."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

JSON = "application/json"
JSONLINES = "application/jsonlines"
BODY = b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}]}'


def begin_request(server):
    """Send a request but for the last byte of its body."""
    connection = server.connect()
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Type", JSON)
    connection.putheader("Content-Length", str(len(BODY)))
    connection.endheaders(BODY[:-1])
    return connection


def test_a_server_with_a_model_is_healthy(server_of):
    reply = server_of("regressor").ask("GET", "/ping")

    assert (reply.status, reply.body) == (200, b"")


def test_one_line_says_what_was_started(start_server, models):
    server = start_server({"model": models["regressor"]}, SAGEMAKER_MODEL_SERVER_WORKERS="2")

    (line,) = [line for line in server.log().splitlines() if "feature_dim" in line]
    assert re.search(
        r"Python 3[\d.]+, NumPy [\d.]+, gunicorn [\d.]+; workers: 2, port: \d+; "
        r"regressor of feature_dim 5, num_factors 2$",
        line,
    )


@pytest.mark.parametrize("directory", ["model", "elsewhere"], ids=["empty", "absent"])
def test_a_server_without_a_model_says_so(start_server, tmp_path, directory):
    (tmp_path / "ml" / directory).mkdir(parents=True)
    server = start_server()

    ping = server.ask("GET", "/ping")
    assert ping.status == 503
    assert "no model in" in ping.reason
    reply = server.invoke(BODY, Content_Type=JSON)
    assert reply.status == 500
    assert reply.reason.startswith("Unable to load model: no model in ")


def test_a_server_whose_model_cannot_be_read_says_why(start_server, tmp_path):
    (tmp_path / "ml" / "model").mkdir(parents=True)
    (tmp_path / "ml" / "model" / "model.safetensors").write_bytes(b"not a model at all")
    server = start_server()

    assert server.ask("GET", "/ping").status == 503
    reply = server.invoke(BODY, Content_Type=JSON)
    assert reply.status == 500
    assert reply.reason.startswith("Unable to load model: ")
    (line,) = [line for line in server.log().splitlines() if "ERROR" in line]
    assert reply.reason in line


def test_nothing_is_written_beside_the_model(start_server, models, tmp_path):
    directory = tmp_path / "ml" / "model"
    server = start_server({"model": models["regressor"]})
    directory.chmod(0o555)

    assert server.invoke(BODY, Content_Type=JSON).status == 200
    assert server.invoke(b"{", Content_Type=JSON).status == 400
    assert [str(path.relative_to(tmp_path / "ml")) for path in (tmp_path / "ml").rglob("*")] == [
        "model",
        "model/model.safetensors",
    ]
    directory.chmod(0o755)


def test_answered_requests_leave_no_line_in_the_log(server_of):
    server = server_of("regressor")

    assert server.ask("POST", "/invocations?unheard", BODY, Content_Type=JSON).status == 200
    assert server.ask("GET", "/ping?unheard").status == 200
    assert "unheard" not in server.log()


def test_a_refused_request_leaves_a_warning_without_a_traceback(server_of):
    server = server_of("regressor")
    reply = server.invoke(b"{", Content_Type=JSON)

    lines = [line for line in server.log().splitlines() if reply.reason in line]
    assert lines
    assert all("WARNING" in line for line in lines)
    assert "Traceback" not in server.log()


def test_execution_parameters_without_a_word_from_the_job(server_of):
    server = server_of("regressor", SAGEMAKER_MODEL_SERVER_WORKERS="3")

    reply = server.ask("GET", "/execution-parameters")

    assert reply.content_type == JSON
    assert json.loads(reply.body) == {"MaxConcurrentTransforms": 3, "MaxPayloadInMB": 6}


def test_execution_parameters_of_a_job_that_says_its_own(start_server):
    server = start_server(
        SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="50", SAGEMAKER_MODEL_SERVER_WORKERS="3"
    )

    reply = server.ask("GET", "/execution-parameters")

    assert json.loads(reply.body) == {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": 50}


def test_a_running_request_is_finished_after_sigterm(start_server, models):
    server = start_server({"model": models["regressor"]})
    with contextlib.closing(begin_request(server)) as connection:
        time.sleep(0.3)
        server.terminate()
        time.sleep(1)
        assert server.is_running()
        connection.send(BODY[-1:])
        answer = connection.getresponse()
        assert answer.status == 200
        assert len(json.load(answer)["predictions"]) == 1
    started = time.monotonic()
    assert server.wait() == 0
    assert time.monotonic() - started < 5


def test_sigterm_ends_a_server_in_time_whatever_its_clients_do(start_server, models):
    # What the unit tests find to be 20 s is cut short here.
    server = start_server({"model": models["regressor"]}, GUNICORN_CMD_ARGS="--graceful-timeout 2")
    with contextlib.closing(server.connect()) as idle, contextlib.closing(begin_request(server)):
        idle.request("GET", "/ping")
        assert idle.getresponse().read() == b""
        started = time.monotonic()
        server.terminate()
        server.wait()
        assert time.monotonic() - started < 5


def test_ping_is_answered_while_every_worker_scores(server_of):
    server = server_of("regressor", SAGEMAKER_MODEL_SERVER_WORKERS="2")
    row = b'{"features": {"keys": [0, 4], "values": [1, 1], "shape": [5]}}\n'
    body = row * 15_000
    slowest_s = 0.0
    with ThreadPoolExecutor(16) as callers:
        running = [
            callers.submit(server.invoke, body, Content_Type=JSONLINES, Accept="text/csv")
            for _ in range(16)
        ]
        while not all(request.done() for request in running):
            started = time.monotonic()
            assert server.ask("GET", "/ping").status == 200
            slowest_s = max(slowest_s, time.monotonic() - started)
            time.sleep(0.02)
    assert {request.result().status for request in running} == {200}
    assert slowest_s < 2


def test_callers_at_the_same_time_each_get_their_own_answer(server_of, models):
    server = server_of("regressor", SAGEMAKER_MODEL_SERVER_WORKERS="2")

    def score(value):
        body = json.dumps({"instances": [{"features": [value, 0, 0, 0, 0]}]})
        reply = server.invoke(body.encode(), Content_Type=JSON)
        return json.loads(reply.body)["predictions"][0]["score"]

    with ThreadPoolExecutor(8) as callers:
        scores = list(callers.map(score, range(200)))

    # One feature has no pair: the score is linear.
    slope = models["regressor"].w[0]
    assert scores == pytest.approx([0.25 + slope * value for value in range(200)], rel=1e-5)


def test_a_worker_with_its_hands_full_says_so_and_still_answers_ping(server_of):
    server = server_of("regressor", SAGEMAKER_MODEL_SERVER_WORKERS="1")
    with contextlib.ExitStack() as stack:
        waiting = [
            stack.enter_context(contextlib.closing(begin_request(server))) for _ in range(62)
        ]
        time.sleep(0.5)
        refused = server.invoke(BODY, Content_Type=JSON)
        assert refused.status == 503
        assert "62" in refused.reason
        assert server.ask("GET", "/ping").status == 200
        for connection in waiting:
            connection.send(BODY[-1:])
            assert connection.getresponse().status == 200
    assert server.invoke(BODY, Content_Type=JSON).status == 200


def test_a_mistake_in_the_environment_ends_the_start_with_its_reason(root):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"

    done = subprocess.run(
        [root / "serve"],
        env={"PATH": path, "SAGEMAKER_BIND_TO_PORT": "http"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert done.returncode == 1
    assert "SAGEMAKER_BIND_TO_PORT is 'http', allowed: " in done.stderr
    assert "Traceback" not in done.stderr
