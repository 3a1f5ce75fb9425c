"""What an instance gets beside its score where its configuration asks for it."""

import dataclasses
import json

import numpy as np
import pytest

from fm_algo.sparse import CSRBatch

JSON = "application/json"
JSONLINES = "application/jsonlines"

ROW = {"keys": [0, 3], "values": [1, 0.5], "shape": [5]}
TOP_2 = {"top_k": 2, "candidates": {"first": 1, "last": 3}}


@pytest.fixture(params=["regressor", "binary_classifier"])
def predictor_type(request):
    return request.param


@pytest.fixture
def served(server_of, predictor_type):
    def predictions(content_type, *instances):
        if content_type == JSON:
            body = json.dumps({"instances": instances})
        else:
            body = "".join(f"{json.dumps(instance)}\n" for instance in instances)
        reply = server_of(predictor_type).invoke(body, Content_Type=content_type)
        assert (reply.status, reply.content_type) == (200, content_type)
        if content_type == JSON:
            return json.loads(reply.body)["predictions"]
        return [json.loads(line) for line in reply.body.splitlines()]

    return predictions


@pytest.mark.parametrize("content_type", [JSON, JSONLINES])
def test_an_explanation_sums_to_the_margin(served, models, predictor_type, content_type):
    plain, explained = served(
        content_type,
        {"features": ROW},
        {"configuration": {"explain": True}, "data": {"features": ROW}},
    )

    explanation = explained.pop("explanation")
    assert explained == plain
    parts = explanation["linear"] + explanation["pairwise"]
    assert [part.get("feature", part.get("features")) for part in parts][2:] == [[0, 3]]
    total = explanation["bias"] + sum(part["part"] for part in parts)
    assert total + sum(explanation["rest"].values()) == pytest.approx(explanation["margin"])
    model = models[predictor_type]
    score = model.link(np.array([explanation["margin"]], np.float32))
    assert score[0] == pytest.approx(plain["score"], rel=1e-6)


@pytest.mark.parametrize("content_type", [JSON, JSONLINES])
def test_recommendations_are_the_best_candidates(served, models, predictor_type, content_type):
    (prediction,) = served(content_type, {"configuration": TOP_2, "features": ROW})

    rows = [{0: 1.0, 3: 0.5} | {candidate: 1.0} for candidate in (1, 2, 3)]
    batch = CSRBatch(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([feature for row in rows for feature in row], np.int32),
        np.array([value for row in rows for value in row.values()], np.float32),
        None,
        5,
    )
    score = models[predictor_type].score(batch)
    best = np.argsort(-score)[:2]
    told = prediction["recommendations"]
    assert [item["feature"] for item in told] == (best + 1).tolist()
    assert [item["score"] for item in told] == pytest.approx(score[best].tolist(), rel=1e-6)
    assert all(("predicted_label" in item) == ("predicted_label" in prediction) for item in told)


def test_more_recommendations_than_candidates_are_all_of_them(served):
    asked = {"top_k": 10, "candidates": {"first": 0, "last": 4}, "explain": True}

    (prediction,) = served(JSON, {"configuration": asked, "features": {"shape": [5]}})

    assert sorted(item["feature"] for item in prediction["recommendations"]) == [0, 1, 2, 3, 4]
    assert prediction["explanation"]["linear"] == []


@pytest.mark.parametrize("nothing", [{}, None, {"explain": False}, {"else": 1}])
def test_nothing_asked_is_nothing_answered(served, nothing):
    (prediction,) = served(JSON, {"configuration": nothing, "features": ROW})

    assert prediction.keys() <= {"score", "predicted_label"}


@pytest.mark.parametrize(
    ("configuration", "cause"),
    [
        ("explain", "expected 'object | null', got 'str' at configuration"),
        ({"uncertainty": 1}, "expected 'bool', got 'int' at configuration.uncertainty"),
        ({"explain": 1}, "expected 'bool', got 'int' at configuration.explain"),
        ({"top_k": 3}, "configuration has top_k without candidates"),
        ({"candidates": {"first": 0, "last": 1}}, "configuration has candidates without top_k"),
        ({"top_k": 1, "candidates": {"first": 0}}, "missing required field 'last'"),
        ({"top_k": 0, "candidates": {"first": 0, "last": 1}}, "top_k is 0, allowed: 1 to 1000"),
        ({"top_k": 1001, "candidates": {"first": 0, "last": 1}}, "top_k is 1001"),
        ({"top_k": 1, "candidates": {"first": 2, "last": 1}}, "2 to 1, allowed"),
        ({"top_k": 1, "candidates": {"first": -1, "last": 1}}, "-1 to 1, allowed"),
        ({"top_k": 1, "candidates": {"first": 0, "last": 5}}, "0 <= first <= last < 5"),
    ],
)
def test_a_configuration_that_cannot_be_answered_is_400_with_the_cause(
    server_of, configuration, cause
):
    good = {"features": ROW}
    bad = {"features": ROW, "configuration": configuration}
    server = server_of("regressor")

    body = json.dumps({"instances": [good, bad]})
    reply = server.invoke(body, Content_Type=JSON)
    assert reply.status == 400
    assert reply.reason.startswith("instance 1: ")
    assert cause in reply.reason
    lines = f"{json.dumps(good)}\n{json.dumps(bad)}\n"
    reply = server.invoke(lines, Content_Type=JSONLINES)
    assert reply.status == 400
    assert reply.reason.startswith("line 2: ")


UNCERTAIN = {"features": ROW, "configuration": {"uncertainty": True}}


@pytest.mark.parametrize("content_type", [JSON, JSONLINES])
def test_a_model_with_samples_tells_how_sure_it_is(server_of, models, predictor_type, content_type):
    instances = [{"features": ROW}, UNCERTAIN]
    lines = "".join(f"{json.dumps(instance)}\n" for instance in instances)
    body = json.dumps({"instances": instances}) if content_type == JSON else lines

    reply = server_of(f"sampled {predictor_type}").invoke(body, Content_Type=content_type)

    assert (reply.status, reply.content_type) == (200, content_type)
    plain, told = (
        json.loads(reply.body)["predictions"]
        if content_type == JSON
        else map(json.loads, reply.body.splitlines())
    )
    model = models[f"sampled {predictor_type}"]
    row = CSRBatch.of(np.float32([[1, 0, 0, 0.5, 0]]))
    scores = np.array([sample.score(row)[0] for sample in model.samples], np.float64)
    assert plain["score"] == pytest.approx(scores.mean(), rel=1e-6)
    assert plain["score"] != pytest.approx(
        float(dataclasses.replace(model, samples=()).score(row)[0])
    )
    assert told.pop("score_std") == pytest.approx(scores.std(ddof=1), rel=1e-5)
    interval = np.quantile(scores, [0.05, 0.95])
    assert told.pop("score_interval") == pytest.approx(interval.tolist(), rel=1e-5)
    assert told == plain


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("text/csv", "1,0,0,0.5,0\n"), ("text/libsvm", "0:1 3:0.5\n"), (JSON, None)],
)
def test_each_type_of_request_is_scored_by_the_samples(server_of, models, content_type, body):
    body = body or json.dumps({"instances": [{"features": ROW}]})
    rows = CSRBatch.of(np.float32([[1, 0, 0, 0.5, 0]]))

    reply = server_of("sampled regressor").invoke(
        body, Content_Type=content_type, Accept="text/csv"
    )

    expected = float(models["sampled regressor"].score(rows)[0])
    assert float(reply.body) == pytest.approx(expected, rel=1e-6)


def test_a_model_without_samples_answers_400_with_what_to_set(server_of, predictor_type):
    body = json.dumps({"instances": [{"features": ROW}, UNCERTAIN]})

    reply = server_of(predictor_type).invoke(body, Content_Type=JSON)

    assert reply.status == 400
    assert reply.reason == (
        "the model holds 0 posterior samples, uncertainty needs 2 or more: train it with "
        "optimizer=mcmc and posterior_samples=20, say"
    )


@pytest.mark.parametrize("accept", ["text/csv", "application/x-recordio-protobuf"])
def test_uncertainty_in_an_answer_without_place_for_it_is_406(server_of, accept):
    body = json.dumps({"instances": [UNCERTAIN]})

    reply = server_of("sampled regressor").invoke(body, Content_Type=JSON, Accept=accept)

    assert reply.status == 406
    assert "uncertainty" in reply.reason


@pytest.mark.parametrize("accept", ["text/csv", "application/x-recordio-protobuf"])
def test_an_answer_without_place_for_extras_is_406(server_of, accept):
    body = json.dumps({"instances": [{"features": ROW, "configuration": {"explain": True}}]})

    reply = server_of("regressor").invoke(body, Content_Type=JSON, Accept=accept)

    assert reply.status == 406
    assert accept in reply.reason
    assert "application/jsonlines" in reply.reason
