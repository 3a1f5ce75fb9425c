"""A model that the built-in trained keeps serving, as it is."""

import json
import shutil

import pytest

FOLDERS = ["binary-k8-d100", "regression-k4-d30"]

BIAS_SCORE = 0.5192977
"""What MXNet makes of a row without entries, with the classifier's model."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_built_ins_model_is_served(folder, launch, mxnet_models, root, tmp_path):
    data = root / "tests" / "data" / "builtin" / folder
    model = tmp_path / "ml" / "model"
    model.mkdir(parents=True)
    shutil.copy(mxnet_models / folder / "model_algo-1", model)
    expected = json.loads((data / "expected.json").read_text())
    rows = json.loads((data / "rows.json").read_text())["rows"]
    instances = [
        {
            "data": {
                "features": {
                    "keys": row["keys"],
                    "values": row["values"],
                    "shape": [expected["feature_dim"]],
                }
            }
        }
        for row in rows
    ]

    server = launch(tmp_path / "ml", {})

    assert server.ask("GET", "/ping").status == 200
    reply = server.invoke(json.dumps({"instances": instances}), Content_Type="application/json")
    assert reply.status == 200
    predictions = json.loads(reply.body)["predictions"]
    assert [row["score"] for row in predictions] == pytest.approx(
        [row["score"] for row in expected["predictions"]], abs=expected["tolerance"]
    )
    assert [row.get("predicted_label") for row in predictions] == [
        row.get("predicted_label") for row in expected["predictions"]
    ]


def test_the_built_ins_model_is_one_of_many(launch, mxnet_models, tmp_path):
    (tmp_path / "ml" / "models").mkdir(parents=True)
    for folder in FOLDERS:
        shutil.copytree(mxnet_models / folder, tmp_path / "ml" / "models" / folder)
    server = launch(tmp_path / "ml", {"SAGEMAKER_MULTI_MODEL": "true"})

    for folder in FOLDERS:
        url = str(server.base / "models" / folder)
        loaded = server.ask("POST", "/models", json.dumps({"model_name": folder, "url": url}))
        assert loaded.status == 200
    reply = server.ask(
        "POST",
        "/models/binary-k8-d100/invoke",
        b'{"data": {"features": {"keys": [], "shape": [100], "values": []}}}',
        Content_Type="application/jsonlines",
    )
    assert reply.status == 200
    assert json.loads(reply.body)["score"] == pytest.approx(BIAS_SCORE)
