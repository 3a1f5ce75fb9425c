import pytest

from container.serving.request_metrics import Answered, RequestMetrics


def samples(page):
    lines = (line for line in page.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.fixture
def metrics():
    return RequestMetrics(None)


def test_before_the_first_invocation_nothing_is_counted(metrics):
    assert samples(metrics.page()) == {}


def test_invocations_rows_and_seconds_are_counted_by_model_and_status(metrics):
    metrics.count(Answered(model="a", status=200, num_rows=3, elapsed_s=0.002))
    metrics.count(Answered(model="a", status=200, num_rows=2, elapsed_s=0.2))
    metrics.count(Answered(model="a", status=400, num_rows=0, elapsed_s=0.0002))
    metrics.count(Answered(model="", status=500, num_rows=0, elapsed_s=0.1))

    found = samples(metrics.page())

    assert found['fm_requests_total{model="a",status="200"}'] == 2
    assert found['fm_requests_total{model="a",status="400"}'] == 1
    assert found['fm_requests_total{model="",status="500"}'] == 1
    assert found['fm_rows_total{model="a"}'] == 5
    assert found['fm_request_duration_seconds_count{model="a"}'] == 3
    assert found['fm_request_duration_seconds_sum{model="a"}'] == pytest.approx(0.2022)
    assert found['fm_request_duration_seconds_bucket{le="0.0025",model="a"}'] == 2
