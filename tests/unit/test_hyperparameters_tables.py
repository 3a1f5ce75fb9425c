"""The hyperparameters of a job that is given tables: columns, min_count and keep_seen."""

import json

import msgspec
import pytest

from fm_algo.errors import UserError
from fm_algo.hyperparameters import Hyperparameters, parse_hyperparameters

COLUMNS = {"rating": "label", "user": "category", "genres": {"set": "|", "min_count": 5}}
GIVEN = {"num_factors": "4", "predictor_type": "regressor", "columns": json.dumps(COLUMNS)}


def problem(**changes):
    with pytest.raises(UserError) as caught:
        parse_hyperparameters(GIVEN | changes)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(COLUMNS),
        f"  {json.dumps(COLUMNS, indent=2)}\n",
        f'"{json.dumps(COLUMNS)}"',
        json.dumps(json.dumps(COLUMNS)),
        str(COLUMNS),
        COLUMNS,
    ],
    ids=["plain", "indented", "quoted", "encoded_twice", "as_python_writes_it", "an_object"],
)
def test_columns_come_in_the_encodings_of_every_client(text):
    parsed = parse_hyperparameters(GIVEN | {"columns": text})

    assert parsed.columns == COLUMNS
    assert list(parsed.table_columns) == ["rating", "user", "genres"]
    assert parsed.table_columns["genres"].separator == "|"


def test_without_columns_there_are_none():
    parsed = parse_hyperparameters(
        {"num_factors": 4, "predictor_type": "regressor", "feature_dim": 9, "columns": ""}
    )

    assert parsed.columns is None
    assert parsed.table_columns is None
    assert (parsed.min_count, parsed.keep_seen) == (2, False)


def test_min_count_is_for_columns_that_do_not_say_it():
    columns = parse_hyperparameters(GIVEN | {"min_count": "3"}).table_columns

    assert {name: column.min_count for name, column in columns.items()} == {
        "rating": 2,
        "user": 3,
        "genres": 5,
    }


def test_feature_dim_follows_and_is_set_later():
    parsed = parse_hyperparameters(GIVEN)

    assert parsed.feature_dim == 1
    assert msgspec.structs.replace(parsed, feature_dim=77).feature_dim == 77


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"feature_dim": "9"}, "feature_dim=9 must not be given: it follows from columns"),
        ({"columns": "rating"}, "columns='rating' is not a JSON object, such as "),
        ({"columns": "[1]"}, "columns='[1]' is not a JSON object"),
        ({"columns": "{}"}, "columns: no column is named"),
        ({"columns": '{"rating": "label", "age": "int"}'}, "columns: age: 'int' is no kind of"),
        ({"columns": '{"user": "category"}'}, "columns: none is the label, expected one"),
        ({"min_count": "0"}, "min_count='0' is not a whole number >= 1"),
        ({"optimizer": "mcmc", "feature_groups": "[0]"}, "feature_groups must not be given with"),
    ],
)
def test_a_mistake_is_told(changes, told):
    message = problem(**changes)

    assert message.startswith("1 problem in the hyperparameters: ")
    assert told in message


@pytest.mark.parametrize(("name", "value"), [("min_count", "5"), ("keep_seen", "true")])
def test_what_is_for_tables_needs_columns(name, value):
    assert problem(columns="", feature_dim="3", **{name: value}).endswith(
        f": {name}={value} needs columns"
    )


def test_every_mistake_is_told_at_once():
    message = problem(columns='{"user": "word"}', num_factors="0", feature_dim="x")

    assert message.startswith("3 problems in the hyperparameters: ")
    for part in ("feature_dim='x' is not", "num_factors='0' is not", "columns: user: 'word' is no"):
        assert part in message


def test_typed_columns_are_checked_too():
    with pytest.raises(UserError, match="columns: user: 'word' is no kind of column"):
        Hyperparameters(
            feature_dim=3, num_factors=1, predictor_type="regressor", columns={"user": "word"}
        )
