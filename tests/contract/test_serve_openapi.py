"""docs/openapi.yaml is true: of every route, and of what comes back from it.

FM_OPENAPI_EXAMPLES=2000 pytest tests/contract/test_serve_openapi.py     a longer run
"""

import os

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from container.serving.app import create_app
from container.settings import Settings

NUM_EXAMPLES = int(os.environ.get("FM_OPENAPI_EXAMPLES", "40"))  # noqa: TID251 - of the test alone
CHECKS = [
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]
OPERATIONS = [
    ("GET", "/ping"),
    ("POST", "/invocations"),
    ("GET", "/execution-parameters"),
    ("GET", "/metrics"),
    ("GET", "/models"),
    ("POST", "/models"),
    ("GET", "/models/{name}"),
    ("DELETE", "/models/{name}"),
    ("POST", "/models/{name}/invoke"),
]
# Where there is nothing to get wrong, nothing is got wrong.
CASES = [(*operation, GenerationMode.POSITIVE) for operation in OPERATIONS] + [
    (*operation, GenerationMode.NEGATIVE)
    for operation in OPERATIONS
    if operation[0] == "POST" or operation == ("GET", "/models")
]


@pytest.fixture(scope="module")
def description(root):
    return yaml.safe_load((root / "docs" / "openapi.yaml").read_text())


def test_it_describes_every_route(description, tmp_path):
    described = {
        (method.upper(), path)
        for path, item in description["paths"].items()
        for method in item.keys() - {"parameters"}
    }

    routes = set()
    for is_multi_model in ("true", "false"):
        app = create_app(
            Settings.from_environment(
                {"SAGEMAKER_BASE_DIR": str(tmp_path), "SAGEMAKER_MULTI_MODEL": is_multi_model}
            )
        )
        routes |= {
            (method, rule.rule.replace("<path:name>", "{name}"))
            for rule in app.url_map.iter_rules()
            for method in rule.methods - {"HEAD", "OPTIONS"}
        }
    assert routes == described == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_answers_are_as_described(description, server_of, multi_model_server, method, path, mode):
    server = multi_model_server if path.startswith("/models") else server_of("binary_classifier")
    cases = from_dict(description)[path][method].as_strategy(generation_mode=mode)

    @seed(20)
    @settings(
        max_examples=NUM_EXAMPLES,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def ask(case):
        case.call_and_validate(base_url=f"http://127.0.0.1:{server.port}", checks=CHECKS)

    ask()


ONE_UNCERTAIN = {
    "features": [1, 0, -1, 0.5, 0],
    "configuration": {"uncertainty": True, "explain": True},
}
WELL_FORMED = st.fixed_dictionaries(
    {"features": st.lists(st.floats(-9, 9, width=32), min_size=5, max_size=5)},
    optional={
        "configuration": st.sampled_from(
            [
                {},
                {"explain": True},
                {"uncertainty": False},
                {"top_k": 3, "candidates": {"first": 0, "last": 4}},
                {"explain": True, "top_k": 1, "candidates": {"first": 2, "last": 2}},
            ]
        )
    },
)


@pytest.mark.parametrize(
    "predictor_type",
    ["regressor", "binary_classifier", "sampled regressor", "sampled binary_classifier"],
)
def test_predictions_are_as_described(description, server_of, predictor_type):
    server = server_of(predictor_type)
    operation = from_dict(description)["/invocations"]["POST"]
    always = [ONE_UNCERTAIN] if predictor_type.startswith("sampled") else []

    @seed(20)
    @settings(max_examples=NUM_EXAMPLES, deadline=None, database=None)
    @given(st.lists(WELL_FORMED, min_size=1, max_size=3).map(always.__add__))
    def ask(instances):
        case = operation.Case(
            body={"instances": instances}, media_type="application/json", headers={}
        )
        answer = case.call(base_url=f"http://127.0.0.1:{server.port}")
        assert answer.status_code == 200
        case.validate_response(answer, checks=CHECKS)

    ask()
