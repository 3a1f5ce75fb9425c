"""What `inspect` tells of models of every kind."""

import json
from pathlib import Path

import numpy as np

from fm_algo.artifacts.artifact import save_model
from fm_algo.cli import program
from fm_algo.model import FMModel

BUILTIN = Path(__file__).parents[2] / "data" / "builtin" / "binary-k8-d100" / "model.tar.gz"


def inspect(capsys, *arguments):
    program.main(["inspect", *map(str, arguments)])
    return capsys.readouterr().out


def rows_of(text):
    return {line.partition("  ")[0]: line.partition("  ")[2] for line in text.splitlines()}


def test_a_model_of_tables_tells_its_columns_values_and_weights(of_tables, capsys):
    rows = {name: cell.strip() for name, cell in rows_of(inspect(capsys, of_tables.path)).items()}

    assert rows["predictor_type"] == "regressor"
    assert (rows["feature_dim"], rows["num_factors"], rows["bias"]) == ("11", "3", "0.25")
    assert rows["hyperparameter epochs"] == "7"
    assert rows["hyperparameter columns"] == '{"a":1}'
    assert rows["column item"] == "category, 3 values, most often i1, i2, i3"
    assert rows["column genres"] == "set, of the table items, 2 values, most often Drama, War"
    assert rows["column price"] == "number, of the table items, mean 4, standard deviation 2"
    assert rows["column rating"] == "label"
    assert rows["table items"] == "3 rows, joined by item"
    assert rows["seen item by user"] == "2 pairs, 1 values of user"
    weights = [name for name in rows if name.startswith("weight ")]
    assert weights[0] == "weight item=i2"
    assert rows["weight item=i2"] == "-9"
    assert len(weights) == 10


def test_json_has_the_same_as_one_object(of_tables, capsys):
    found = json.loads(inspect(capsys, of_tables.path, "--json"))

    assert found["columns"][1]["most_frequent"] == ["i1", "i2", "i3"]
    assert found["seen"] == {"user": "user", "item": "item", "num_users": 1, "num_pairs": 2}
    assert found["largest_weights"][0] == {"feature": "item=i2", "weight": -9.0}
    assert found["hyperparameters"] == {"epochs": 7, "columns": {"a": 1}}


def test_the_built_ins_model_tells_its_largest_weights_by_number(capsys):
    found = json.loads(inspect(capsys, BUILTIN, "--json"))
    rows = rows_of(inspect(capsys, BUILTIN))

    assert (found["feature_dim"], found["num_factors"]) == (100, 8)
    assert "columns" not in found
    sizes = [abs(weight["weight"]) for weight in found["largest_weights"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == 10
    assert all(isinstance(weight["feature"], int) for weight in found["largest_weights"])
    assert rows["predictor_type"].strip() == "binary_classifier"
    assert any(name.startswith("hyperparameter ") for name in rows)


def test_what_a_terminal_cannot_show_is_written_out(tmp_path, capsys):
    parameters = (np.ones(shape, np.float32) for shape in ((1,), (2,), (2, 1)))
    model = FMModel("binary_classifier", *parameters)
    save_model(tmp_path, model, {"a": "x\n\x1b[1m", "b": "ä" * 100}, labels=("no", "yes"))

    text = inspect(capsys, tmp_path)

    assert "x\\n\\x1b[1m" in text
    assert f"{'ä' * 39}…" in text
    assert '["no","yes"]' in text
    assert "weight 1" in text
