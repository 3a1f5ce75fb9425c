import re

import pytest

from fm_algo.data.tables.columns import Column, parse_columns
from fm_algo.errors import UserError


def test_every_kind_has_a_word_or_an_object():
    columns = parse_columns(
        {
            "rating": "label",
            "times": "weight",
            "ts": "ignore",
            "user": "category",
            "item": {"kind": "category", "min_count": 5},
            "genres": {"set": "|"},
            "tags": {"kind": "set", "scale": "one"},
            "price": "number",
            "age": {"bins": 8},
            "url": {"hash": 20},
            "words": {"hash": 20, "separator": " "},
        }
    )

    assert list(columns) == [column.name for column in columns.values()]
    assert columns["item"] == Column(name="item", kind="category", min_count=5)
    assert columns["genres"] == Column(name="genres", kind="set", separator="|")
    assert columns["tags"].separator is None
    assert columns["tags"].scale == "one"
    assert columns["age"].bins == 8
    assert columns["words"] == Column(name="words", kind="hash", bits=20, separator=" ")
    assert columns["user"].min_count == 2


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ({}, "columns: no column is named, expected one at least"),
        ({"a": "categry"}, "columns: a: 'categry' is no kind of column, allowed: label, {"),
        ({"a": 7}, "columns: a: 7 is no kind of column"),
        ({"a": {"bins": 1}}, "columns: a: bins=1: expected int >= 2"),
        ({"a": {"bins": "x"}}, "columns: a: bins='x': expected int, got str"),
        ({"a": {"hash": 31}}, "columns: a: bits=31: expected int <= 30"),
        ({"a": {"set": ""}}, "columns: a: separator='': expected str of length >= 1"),
        ({"a": {"set": "|", "bins": 3}}, "columns: a: {'set': '|', 'bins': 3} is no kind"),
        ({"a": {"set": "|", "mincount": 3}}, "columns: a: set has no option mincount; allowed: "),
        ({"a": {"kind": "number", "bins": 3}}, "number has no option bins; allowed: none"),
        ({"": "number"}, "columns: : name='': expected str of length >= 1"),
        ({"features": "number"}, "columns: features: a column cannot have this name; not allowed"),
        ({"*": "label"}, "columns: *: other columns cannot all be labels or weights"),
        ({"a": "label", "b": "label"}, "columns: a and b are label columns, allowed is one"),
        ({"a": "x", "b": {"bins": 0}}, "; b: bins=0: expected int >= 2"),
    ],
)
def test_a_mistake_is_told_by_column(described, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse_columns(described)
