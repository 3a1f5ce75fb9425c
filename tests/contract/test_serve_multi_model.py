"""A multi-model endpoint: models come and go while the server runs."""

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
import pytest

from fm_algo.answers.uncertainty import score_uncertainty
from fm_algo.sparse import CSRBatch

JSON = "application/json"
BODY = b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}]}'


@pytest.fixture
def server(multi_model_server):
    yield multi_model_server
    while listed := json.loads(multi_model_server.ask("GET", "/models").body)["models"]:
        for model in listed:
            path = f"/models/{quote(model['modelName'], safe='')}"
            assert multi_model_server.ask("DELETE", path).status == 200


def url_of(server, name):
    return f"{server.base}/models/{name}/model"


def load(server, name, directory=None):
    body = json.dumps({"model_name": name, "url": url_of(server, directory or name)})
    return server.ask("POST", "/models", body, Content_Type=JSON)


def invoke(server, name):
    return server.ask("POST", f"/models/{quote(name, safe='')}/invoke", BODY, Content_Type=JSON)


def test_it_is_healthy_before_any_model_is_loaded(server):
    assert server.ask("GET", "/ping").status == 200
    assert server.ask("GET", "/models").body == b'{"models":[]}'


def test_a_model_is_loaded_invoked_and_unloaded(server):
    assert load(server, "a").status == 200
    assert load(server, "b").status == 200

    assert json.loads(server.ask("GET", "/models/a").body) == {
        "modelName": "a",
        "modelUrl": url_of(server, "a"),
    }
    assert json.loads(invoke(server, "a").body)["predictions"][0].keys() == {"score"}
    assert "predicted_label" in json.loads(invoke(server, "b").body)["predictions"][0]

    assert server.ask("DELETE", "/models/a").status == 200
    assert invoke(server, "a").status == 404
    assert invoke(server, "b").status == 200
    assert load(server, "a").status == 200


def test_a_model_with_samples_tells_how_sure_it_is_and_another_that_it_cannot(server, models):
    asked = {"features": [1, 0, 0, 0.5, 0], "configuration": {"uncertainty": True}}
    body = json.dumps({"instances": [asked]})
    assert load(server, "s").status == load(server, "b").status == 200

    told = server.ask("POST", "/models/s/invoke", body, Content_Type=JSON)
    refused = server.ask("POST", "/models/b/invoke", body, Content_Type=JSON)

    (prediction,) = json.loads(told.body)["predictions"]
    row = CSRBatch.of(np.float32([[1, 0, 0, 0.5, 0]]))
    known = score_uncertainty(models["sampled binary_classifier"], row)
    assert prediction["score_std"] == pytest.approx(float(known.score_std[0]), rel=1e-6)
    assert json.loads(invoke(server, "s").body)["predictions"][0]["score"] == prediction["score"]
    assert refused.status == 400
    assert "posterior_samples" in refused.reason


def test_a_model_that_is_not_loaded_is_404(server):
    replies = [
        invoke(server, "nobody"),
        server.ask("GET", "/models/nobody"),
        server.ask("DELETE", "/models/nobody"),
    ]

    assert [reply.status for reply in replies] == [404, 404, 404]
    assert {reply.reason for reply in replies} == {"model 'nobody' is not loaded"}


def test_a_model_that_is_loaded_already_is_409(server):
    load(server, "a")

    reply = load(server, "a", "b")

    assert reply.status == 409
    assert "'a'" in reply.reason
    assert json.loads(server.ask("GET", "/models/a").body)["modelUrl"] == url_of(server, "a")


def test_a_model_that_cannot_be_read_is_500_and_may_be_tried_again(server):
    reply = load(server, "c", "nowhere")

    assert reply.status == 500
    assert reply.reason.startswith("Unable to load model: no model in ")
    assert load(server, "c", "a").status == 200


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'{"model_name": 1, "url": "/"}'])
def test_a_request_to_load_that_cannot_be_read_is_400(server, body):
    assert server.ask("POST", "/models", body, Content_Type=JSON).status == 400


def test_a_request_to_load_that_is_too_long_is_413(server):
    body = json.dumps({"model_name": "x" * 70_000, "url": url_of(server, "a")})

    assert server.ask("POST", "/models", body, Content_Type=JSON).status == 413


@pytest.mark.parametrize("url", ["/", "{base}", "{base}/models/../model", "model"])
def test_a_model_outside_of_the_platforms_directory_is_refused(server, url):
    body = json.dumps({"model_name": "x", "url": url.format(base=server.base)})

    reply = server.ask("POST", "/models", body, Content_Type=JSON)

    assert reply.status == 400
    assert "expected a directory below" in reply.reason
    assert server.ask("GET", "/models/x").status == 404


def test_the_list_comes_in_pages(server):
    names = [f"model-{number:03}" for number in range(120)]
    for name in names:
        assert load(server, name, "a").status == 200

    first = json.loads(server.ask("GET", "/models").body)
    assert len(first["models"]) == 100
    rest = json.loads(
        server.ask("GET", f"/models?limit=15&next_page_token={first['nextPageToken']}").body
    )
    last = json.loads(
        server.ask("GET", f"/models?limit=15&next_page_token={rest['nextPageToken']}").body
    )
    assert "nextPageToken" not in last
    listed = [model["modelName"] for page in (first, rest, last) for model in page["models"]]
    assert listed == names
    assert server.ask("GET", "/models?limit=0").status == 400


def test_a_name_may_hold_anything(server):
    name = "a/b c%2F?#é//"
    assert load(server, name, "a").status == 200

    assert invoke(server, name).status == 200
    path = f"/models/{quote(name, safe='')}"
    assert json.loads(server.ask("GET", path).body)["modelName"] == name
    assert server.ask("DELETE", path).status == 200
    assert server.ask("GET", path).status == 404


def test_a_model_is_unloaded_once_its_requests_are_answered(server):
    load(server, "a")
    with contextlib.closing(server.connect()) as connection, ThreadPoolExecutor(1) as other:
        connection.putrequest("POST", "/models/a/invoke")
        connection.putheader("Content-Type", JSON)
        connection.putheader("Content-Length", str(len(BODY)))
        connection.endheaders(BODY[:-1])
        time.sleep(0.3)
        unloading = other.submit(server.ask, "DELETE", "/models/a")
        time.sleep(0.3)
        assert not unloading.done()
        assert invoke(server, "a").status == 404

        connection.send(BODY[-1:])
        assert connection.getresponse().status == 200
        assert unloading.result().status == 200


def test_a_multi_model_server_has_no_model_of_its_own(server):
    assert server.invoke(BODY, Content_Type=JSON).status == 404
