"""What /metrics tells, whichever worker is asked."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

JSON = "application/json"
BODY = b'{"instances": [{"features": [1, 0, 0, 0.5, 0]}, {"features": [0, 0, 0, 0, 0]}]}'


def samples(server):
    reply = server.ask("GET", "/metrics")
    assert reply.status == 200
    assert reply.content_type.startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(sample.labels[name] for name in ("model", "status") if sample.labels[name]))
        if "status" in sample.labels
        else (
            sample.name,
            sample.labels.get("model", ""),
            sample.labels.get("le", ""),
        ): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def test_every_worker_tells_what_all_have_counted(start_server, models):
    server = start_server({"model": models["regressor"]}, SAGEMAKER_MODEL_SERVER_WORKERS="3")

    with ThreadPoolExecutor(8) as callers:
        for body in [BODY] * 40 + [b"{"] * 10:
            callers.submit(server.invoke, body, Content_Type=JSON)
    server.invoke(BODY, Content_Type="image/png")
    server.ask("GET", "/ping")

    for _ in range(6):
        found = samples(server)
        assert found["fm_requests_total", "200"] == 40
        assert found["fm_requests_total", "400"] == 10
        assert found["fm_requests_total", "415"] == 1
        assert found["fm_rows_total", "", ""] == 80
        assert found["fm_request_duration_seconds_count", "", ""] == 51
        assert found["fm_request_duration_seconds_bucket", "", "+Inf"] == 51
        assert found["fm_request_duration_seconds_sum", "", ""] > 0


def test_models_are_counted_by_name(multi_model_server):
    server = multi_model_server
    url = f"{server.base}/models/a/model"
    for name in ("x y", "z"):
        body = json.dumps({"model_name": name, "url": url})
        assert server.ask("POST", "/models", body, Content_Type=JSON).status == 200
    before = samples(server)

    server.ask("POST", "/models/x%20y/invoke", BODY, Content_Type=JSON)
    server.ask("POST", "/models/z/invoke", b"", Content_Type=JSON)
    server.ask("POST", "/models/unheard-of/invoke", BODY, Content_Type=JSON)

    found = samples(server)
    assert found["fm_requests_total", "x y", "200"] == 1
    assert found["fm_rows_total", "x y", ""] == 2
    assert found["fm_requests_total", "z", "400"] == 1
    assert found["fm_requests_total", "404"] == before.get(("fm_requests_total", "404"), 0) + 1
    assert not [key for key in found if "unheard-of" in key]
    for name in ("x%20y", "z"):
        assert server.ask("DELETE", f"/models/{name}").status == 200


def test_counters_leave_nothing_behind(start_server, models, request):
    if "image" in request.node.callspec.id:
        pytest.skip("what a container leaves ends with it")
    places = [Path("/dev/shm"), Path("/tmp")]  # noqa: S108
    before = {path for place in places for path in place.glob("fm-metrics-*")}
    server = start_server({"model": models["regressor"]})
    assert server.invoke(BODY, Content_Type=JSON).status == 200

    server.terminate()
    assert server.wait() == 0

    assert {path for place in places for path in place.glob("fm-metrics-*")} <= before
