"""Commands on a model whose pairs of columns have weights."""

import json

import numpy as np
import pytest

from fm_algo.artifacts.artifact import load_model, load_stored_model, save_model
from fm_algo.artifacts.builtin.artifact import load_builtin_model
from fm_algo.cli import program
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.model import FieldWeights, FMModel
from fm_algo.sparse import CSRBatch

ROWS = [{"user": user, "item": item} for user in ("u1", "u2", "new") for item in ("i1", "i2", "i3")]
ITEMS = ("i2", "i1", "i9")  # the items table of `table_encoder` in tests/conftest.py


@pytest.fixture
def model(table_encoder):
    """A model whose pairs of genres count little, and whose users and items count most."""
    random = np.random.default_rng(4)
    R = random.normal(size=(4, 4)).astype(np.float32)
    R += R.T
    R[0, 1] = R[1, 0] = -5
    R[range(4), range(4)] = [1, 1, 2, 1]
    shapes = (1, 11, (11, 3))
    w0, w, V = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    return FMModel("regressor", w0, w, V, field_weights=FieldWeights(R, table_encoder.space))


@pytest.fixture
def saved(model, table_encoder, tmp_path):
    (tmp_path / "model").mkdir()
    hyperparameters = {"epochs": 7, "interaction": "field_weighted", "num_factors": 3}
    save_model(tmp_path / "model", model, hyperparameters, tables=Tables(table_encoder))
    return tmp_path / "model"


@pytest.fixture
def run(capsys):
    def run_it(*arguments):
        program.main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return streams.out, streams.err

    return run_it


def rows_of(encoder):
    return RowEncoder(encoder).encode(ROWS).batch


def test_ours_stays_as_it_is(saved, run, model, table_encoder, tmp_path):
    _, said = run("convert", saved, tmp_path / "ours.tar.gz")
    run("convert", tmp_path / "ours.tar.gz", tmp_path / "ours")

    assert said == ""
    again = load_model(tmp_path / "ours")
    np.testing.assert_array_equal(again.field_weights.R, model.field_weights.R)
    batch = rows_of(table_encoder)
    assert again.margin(batch).tolist() == model.margin(batch).tolist()


@pytest.mark.parametrize("layout", ["builtin", "plain", "npy"])
def test_other_layouts_hold_an_ordinary_machine_with_the_same_scores(
    saved, run, model, table_encoder, tmp_path, layout
):
    _, said = run("convert", saved, tmp_path / "new", "--to", layout)

    assert "the weights of pairs of fields became factors, 3 times as many" in said
    if layout == "npy":
        w0, w, V = (np.load(tmp_path / "new" / f"{name}.npy") for name in ("w0", "w", "V"))
        plain = FMModel("regressor", w0, w, V)
    else:
        plain = (load_model if layout == "plain" else load_builtin_model)(tmp_path / "new")
    assert plain.field_weights is None
    assert plain.num_factors == 9
    batch = rows_of(table_encoder)
    np.testing.assert_allclose(plain.margin(batch), model.margin(batch), rtol=1e-5, atol=1e-5)


def test_a_plain_model_of_tables_is_asked_by_name_as_before(saved, run, tmp_path):
    run("convert", saved, tmp_path / "new", "--to", "plain")

    told = [
        run("recommend", source, "--user", "u1", "--json")[0]
        for source in (saved, tmp_path / "new")
    ]
    assert told[0]
    before, after = ([json.loads(line) for line in lines.splitlines()] for lines in told)
    assert [its["name"] for its in before] == [its["name"] for its in after]
    tables = load_stored_model(tmp_path / "new").tables
    assert tables is not None
    assert tables.candidates.V.shape == (3, 9)


def test_fewer_factors_are_had_for_an_error_that_is_told(saved, run, tmp_path, capsys):
    _, said = run("convert", saved, tmp_path / "new", "--to", "npy", "--max-factors", 5)

    assert np.load(tmp_path / "new" / "V.npy").shape == (11, 3)
    assert "became factors, 1 times as many; the one that moved most, of " in said
    for flags, cause in (
        (["--to", "npy", "--max-factors", "2"], "2 factors, allowed are 3, as the model has"),
        (["--max-factors", "5"], "--max-factors: the layout ours keeps a model as it is"),
    ):
        with pytest.raises(SystemExit):
            run("convert", saved, tmp_path / "other", *flags)
        assert cause in capsys.readouterr().err


def test_vectors_of_users_and_items_rank_as_the_model_does(saved, run, model, tmp_path):
    _, said = run("export-vectors", saved, tmp_path / "new", "--items", "3:7", "--users", "0:3")

    assert "became factors, 1 times as many" in said
    items, users = (np.load(tmp_path / "new" / f"{name}.npy") for name in ("items", "users"))
    rows = np.zeros((12, 11))
    for row, (user, item) in enumerate(np.ndindex(3, 4)):
        rows[row, [user, 3 + item]] = 1
    margins = model.margin(CSRBatch.of(rows)).reshape(3, 4)
    expected = margins - model.w0 - model.w[:3, np.newaxis]
    np.testing.assert_allclose(users @ items.T, expected, rtol=1e-5, atol=1e-5)


def test_inspect_tells_the_fields_and_the_pairs_that_count_most(saved, run, model):
    found = json.loads(run("inspect", saved, "--json")[0])
    lines, _ = run("inspect", saved)

    assert found["num_fields"] == 4
    assert found["largest_field_weights"][0] == {"fields": ["user", "item"], "weight": -5}
    told = [tuple(its["fields"]) for its in found["largest_field_weights"]]
    assert ("genres", "genres") in told
    assert ("user", "user") not in told
    assert len(told) == 7
    sizes = [abs(its["weight"]) for its in found["largest_field_weights"]]
    assert sizes == sorted(sizes, reverse=True)
    words = [line.split() for line in lines.splitlines()]
    assert ["num_fields", "4"] in words
    assert ["weight", "of", "user", "×", "item", "-5"] in words


def test_scores_reasons_and_recommendations_are_those_of_the_weighted_pairs(
    saved, run, model, table_encoder, tmp_path
):
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    scores, _ = run("score", saved, tmp_path / "rows.jsonl")
    explained, _ = run("explain", saved, "--user", "u2", "--item", "i2", "--json")
    text, _ = run("explain", saved, "--user", "u2", "--item", "i2")
    best, _ = run("recommend", saved, "--user", "u2", "--json")
    near, _ = run("similar", saved, "--item", "i2", "--json")

    margins = model.margin(rows_of(table_encoder))
    found = [json.loads(line)["score"] for line in scores.splitlines()]
    np.testing.assert_allclose(found, margins, rtol=1e-5)
    parts = {its["of"]: its for its in map(json.loads, explained.splitlines())}
    assert parts["user=u2 × item=i2"]["weight"] == -5
    assert parts["genres=Drama × genres=War"]["weight"] == 2
    assert parts["margin"]["weight"] is None
    np.testing.assert_allclose(parts["margin"]["part"], margins[4], rtol=1e-5)
    line = next(line for line in text.splitlines() if line.startswith("user=u2 × item=i2 "))
    assert line.split()[-1] == "-5.0000"
    assert "None" not in text
    ranked = [json.loads(line) for line in best.splitlines()]
    rows = RowEncoder(table_encoder).encode([{"user": "u2", "item": item} for item in ITEMS])
    every = dict(zip(ITEMS, model.margin(rows.batch).tolist(), strict=True))
    assert [its["name"] for its in ranked] == sorted(ITEMS, key=every.__getitem__, reverse=True)
    np.testing.assert_allclose(
        [its["score"] for its in ranked], sorted(every.values(), reverse=True), rtol=1e-5
    )
    assert {json.loads(line)["name"] for line in near.splitlines()} == {"i1", "i9"}
