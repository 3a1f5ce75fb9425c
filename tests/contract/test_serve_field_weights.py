"""A model whose pairs of columns have weights, saved and served."""

import itertools
import json

import numpy as np
import pytest

from fm_algo.artifacts.artifact import save_model
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.model import FieldWeights, FMModel

JSON = "application/json"
ITEMS = ("i2", "i1", "i9")  # the items table of `table_encoder` in tests/conftest.py
COLUMNS = ("user", "item", "genres", "price")


@pytest.fixture(scope="module")
def model(table_encoder):
    rng = np.random.default_rng(5)
    R = rng.normal(size=(4, 4)).astype(np.float32)
    R += R.T
    R[[0, 1, 3], [0, 1, 3]] = 1  # only genres are several
    w0, w, V = (rng.normal(size=shape).astype(np.float32) for shape in (1, 11, (11, 3)))
    return FMModel("regressor", w0, w, V, field_weights=FieldWeights(R, table_encoder.space))


@pytest.fixture(scope="module")
def server(launch, model, table_encoder, tmp_path_factory):
    base = tmp_path_factory.mktemp("weighted") / "ml"
    (base / "model").mkdir(parents=True)
    save_model(base / "model", model, {}, tables=Tables(table_encoder))
    return launch(base, {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"})


@pytest.fixture(scope="module")
def margin_of(model, table_encoder):
    """Return the margin of a row of cells as the sum over its pairs of features."""
    rows = RowEncoder(table_encoder)
    fields, R = table_encoder.space.field_map(), model.field_weights.R.astype(np.float64)
    V = model.V.astype(np.float64)

    def margin(cells):
        row = rows.encode([cells]).batch
        entries = [*zip(row.indices.tolist(), row.values.tolist(), strict=True)]
        found = float(model.w0[0]) + sum(float(model.w[i]) * x for i, x in entries)
        for (i, x), (j, y) in itertools.combinations(entries, 2):
            found += R[fields[i], fields[j]] * (V[i] @ V[j]) * x * y
        return found

    return margin


def ask(server, *instances):
    reply = server.invoke(json.dumps({"instances": instances}), Content_Type=JSON)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)["predictions"]


def test_scores_weigh_each_pair_of_columns(server, margin_of):
    rows = [{"user": user, "item": item} for user in ("u1", "new") for item in (*ITEMS, "i3")]

    scores = [prediction["score"] for prediction in ask(server, *rows)]

    np.testing.assert_allclose(scores, [margin_of(row) for row in rows], rtol=1e-5, atol=1e-5)
    alone = [ask(server, row)[0]["score"] for row in rows]
    assert alone == scores


def test_a_reason_names_both_columns_and_their_weight(server, model, margin_of):
    cells = {"user": "u2", "item": "i2"}

    (prediction,) = ask(server, {**cells, "configuration": {"explain": True}})

    told, space = prediction["explanation"], model.field_weights.space
    pairs = {tuple(part["features"]): part for part in told["pairwise"]}
    assert len(pairs) == 10
    assert pairs["user=u2", "genres=Drama"]["fields"] == ["user", "genres"]
    assert pairs["genres=Drama", "genres=War"]["fields"] == ["genres", "genres"]
    for part in pairs.values():
        first, second = map(space.fields.index, part["fields"])
        assert part["weight"] == float(model.field_weights.R[first, second])
    total = told["bias"] + sum(part["part"] for part in told["linear"] + told["pairwise"])
    assert total == pytest.approx(told["margin"]) == pytest.approx(margin_of(cells), rel=1e-5)


@pytest.mark.parametrize("user", ["u1", "u2", "new"])
def test_the_best_items_are_exactly_those_with_the_highest_scores(server, margin_of, user):
    (prediction,) = ask(server, {"user": user, "configuration": {"top_k": 3}})

    found = {its["name"]: its["score"] for its in prediction["recommendations"]}
    margins = {item: margin_of({"user": user, "item": item}) for item in ITEMS}
    assert [*found] == sorted(ITEMS, key=margins.__getitem__, reverse=True)
    np.testing.assert_allclose(
        [*found.values()], [margins[item] for item in found], rtol=1e-5, atol=1e-5
    )


def test_similar_items_are_near_by_the_vectors_that_are_searched(server, model, table_encoder):
    (prediction,) = ask(server, {"item": "i2", "configuration": {"similar": 2}})

    found = {its["name"]: its["similarity"] for its in prediction["similar"]}
    rows = RowEncoder(table_encoder)
    fields = table_encoder.space.field_map()

    def vector(item):
        row = rows.encode([{"item": item}]).batch
        blocks = np.zeros((4, 3))
        for feature, value in zip(row.indices.tolist(), row.values.tolist(), strict=True):
            if COLUMNS[fields[feature]] != "user":
                blocks[fields[feature]] += model.V[feature] * value
        return blocks.reshape(-1) / np.linalg.norm(blocks)

    for item, cosine in found.items():
        assert cosine == pytest.approx(vector("i2") @ vector(item), abs=1e-5)
    assert [*found.values()] == sorted(found.values(), reverse=True)
