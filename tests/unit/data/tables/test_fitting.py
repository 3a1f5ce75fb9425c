"""What is learnt of a table, and how an earlier encoder is gone on from."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fm_algo.data.tables.arrow.encoding import ArrowEncoder, encode_table
from fm_algo.data.tables.arrow.fitting import Side, fit_encoder
from fm_algo.data.tables.arrow.moments import NumberSketch
from fm_algo.data.tables.arrow.reading import read_frame
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.errors import UserError


def fit(table, columns, **options):
    return fit_encoder(parse_columns(columns), read_frame(table), **options)


def test_frequent_values_come_first_and_rare_ones_share_a_feature():
    users = ["b"] * 3 + ["a"] * 5 + ["once", None, ""]
    encoder = fit(pa.table({"user": users}), {"user": "category"})

    names = ["user=a", "user=b", "user=(rare)", "user=(missing)"]
    assert encoder.get_feature_names_out().tolist() == names
    assert [encoder.feature_name(feature) for feature in range(4)] == names
    (rows,) = encode_table(
        read_frame(pa.table({"user": users})), ArrowEncoder(encoder), labelled=False
    )
    assert rows.indices.tolist() == [1] * 3 + [0] * 5 + [2, 3, 3]


def test_where_nothing_was_missing_a_missing_cell_is_a_rare_one():
    encoder = fit(pa.table({"user": ["a", "a"]}), {"user": "category"})
    encoded = RowEncoder(encoder).encode([{"user": None}, {"user": "new"}, {"user": "a"}])

    assert encoded.batch.indices.tolist() == [1, 1, 0]
    assert encoded.unknown == {1: ["user"]}


def test_numbers_are_standardised_and_missing_ones_are_the_mean():
    numbers = [1.0, 2.0, None, 6.0, float("nan")]
    encoder = fit(pa.table({"x": numbers}), {"x": "number"})
    (block,) = encoder.blocks

    assert block.mean == 3
    assert block.deviation == pytest.approx(np.std([1, 2, 6]), rel=1e-15)
    rows = RowEncoder(encoder).encode([{"x": 6}, {"x": None}, {"x": 3}]).batch
    assert rows.indptr.tolist() == [0, 1, 1, 1]
    assert rows.values[0] == np.float32(3 / block.deviation)


def test_bins_hold_about_as_many_rows_each():
    numbers = np.random.default_rng(0).exponential(size=300_000)
    encoder = fit(pa.table({"x": numbers}), {"x": {"bins": 8}})
    batches = encode_table(
        read_frame(pa.table({"x": numbers})), ArrowEncoder(encoder), labelled=False
    )
    counts = sum(np.bincount(rows.indices, minlength=9) for rows in batches)

    assert counts[8] == 0, "nothing is missing"
    assert counts[:8] == pytest.approx(300_000 / 8, rel=0.03)


def test_moments_do_not_depend_on_how_rows_are_cut():
    numbers = np.random.default_rng(0).normal(1e6, 1, 10_000)
    numbers[::7] = np.nan
    sketch = NumberSketch()
    for part in np.array_split(numbers, 13):
        sketch.add(part)

    mean, deviation = sketch.moments()
    assert mean == pytest.approx(np.nanmean(numbers), rel=1e-12)
    assert deviation == pytest.approx(np.nanstd(numbers), rel=1e-9)
    there = np.sort(numbers[~np.isnan(numbers)])
    assert sketch.edges(4) == tuple(np.quantile(there, [0.25, 0.5, 0.75], method="higher"))


def test_few_different_numbers_have_few_bins():
    encoder = fit(pa.table({"x": [1, 1, 1, 2, None]}), {"x": {"bins": 8}})

    assert encoder.get_feature_names_out().tolist() == ["x<2", "x>=2", "x=(missing)"]
    nothing = fit(
        pa.table({"x": pa.nulls(2), "y": ["a", "a"]}), {"x": {"bins": 8}, "y": "category"}
    )
    assert nothing.feature_name(0) == "x=(any)"


def test_going_on_from_an_encoder_keeps_what_its_features_mean():
    columns = {
        "user": "category",
        "tags": {"set": "|"},
        "x": "number",
        "age": {"bins": 2},
    }
    first = pa.table(
        {
            "user": ["a", "a", "a", "b", "b"],
            "tags": ["p", "p", "q", "q", None],
            "x": [0, 1, 2, 3, 4],
            "age": [1, 2, 3, 4, 4],
        }
    )
    then = pa.table(
        {
            "user": ["c", "c", "c", None],
            "tags": ["r", "r", "p", None],
            "x": [7, 8, 9, 9],
            "age": [8, 8, 9, 9],
        }
    )
    before = fit(first, columns)
    after = fit(then, columns, earlier=before)

    old, new = set(before.get_feature_names_out()), set(after.get_feature_names_out())
    assert new - old == {"user=c", "user=(missing)", "tags=r"}
    assert not old - new
    assert after.block_of["x"].mean == before.block_of["x"].mean
    assert after.block_of["age"].edges == before.block_of["age"].edges
    assert [after.dictionaries["user"].find(value) for value in (b"a", b"b", b"c")] == [0, 1, 2]

    with pytest.raises(
        UserError, match="column x is a bins, but in the earlier model it is a number"
    ):
        fit(then, columns | {"x": {"bins": 2}}, earlier=before)


def test_side_columns_are_joined_by_key_and_come_after_the_rows_own():
    rows = pa.table({"user": ["a", "a", "b"], "item": [1, 2, 9]})
    items = pa.table(
        {"item": ["1", "2", "3"], "genres": [["x", "y"], ["x"], None], "title": list("ABC")}
    )
    users = pa.table({"user": ["a"], "age": [30.0]})
    columns = {
        "user": {"kind": "category", "min_count": 1},
        "item": {"kind": "category", "min_count": 1},
        "genres": {"kind": "set", "min_count": 1},
        "age": {"bins": 2},
        "title": "ignore",
    }
    encoder = fit(rows, columns, sides=[Side("users", users), Side("items", items)])
    (encoded,) = encode_table(read_frame(rows), ArrowEncoder(encoder), labelled=False)
    names = [
        [encoder.feature_name(f) for f in encoded.indices[start:stop]]
        for start, stop in zip(encoded.indptr, encoded.indptr[1:], strict=False)
    ]
    assert names == [
        ["user=a", "item=1", "age=(any)", "genres=x", "genres=y"],
        ["user=a", "item=2", "age=(any)", "genres=x"],
        ["user=b", "item=9", "age=(missing)"],
    ]
    served = RowEncoder(encoder).encode([{"user": "new", "age": 31, "item": "3", "genres": ["y"]}])
    assert [encoder.feature_name(f) for f in served.batch.indices] == [
        "user=(rare)",
        "item=(rare)",
        "age=(any)",
        "genres=y",
    ]
    assert served.unknown == {0: ["user", "item"]}


def test_frames_of_every_library_are_read_alike():
    cells = {"user": ["a", "a", "b"], "x": [1.5, None, 3.0]}
    columns = {"user": "category", "x": "number"}
    frames = [pa.table(cells), pd.DataFrame(cells), pl.DataFrame(cells)]
    frames.append(
        pa.table(cells).set_column(0, "user", pa.array(cells["user"]).dictionary_encode())
    )

    found = [fit(frame, columns) for frame in frames]
    assert len({str(encoder.describe()) for encoder in found}) == 1
    encoded = [
        next(encode_table(read_frame(frame), ArrowEncoder(found[0]), labelled=False))
        for frame in frames
    ]
    for rows in encoded:
        assert rows.indices.tolist() == encoded[0].indices.tolist()
        assert rows.values.tolist() == encoded[0].values.tolist()


def test_more_threads_learn_the_same():
    random = np.random.default_rng(0)
    cells = {f"c{number}": random.integers(0, 500, 100_000).astype(str) for number in range(5)}
    one, two = (fit(pa.table(cells), {"c0": "category"}, num_threads=number) for number in (1, 3))

    assert one.describe() == two.describe()
    for name, array in one.arrays().items():
        assert array.tobytes() == two.arrays()[name].tobytes()


def test_a_star_says_what_all_other_columns_are():
    table = pa.table({"user": ["a", "a"], "age": [1, 2], "ts": [5, 6], "rating": [1, 0]})
    ignoring = fit(table, {"rating": "label", "user": "category", "*": "ignore"})
    hashing = fit(table, {"rating": "label", "*": {"hash": 3}})

    assert [column.kind for column in ignoring.columns] == ["category", "ignore", "ignore", "label"]
    assert ignoring.feature_dim == 2
    assert [block.name for block in hashing.blocks] == ["user", "age", "ts"]


def rows_of(table, columns):
    (rows,) = encode_table(read_frame(table), ArrowEncoder(fit(table, columns)), labelled=True)
    return rows


def test_a_label_can_be_a_word_and_rows_can_have_weights():
    table = pa.table({"x": [1.0, 2.0, 3.0], "paid": ["no", "yes", "no"], "times": [1, 0, 2.5]})
    columns = {"x": "number", "paid": {"label": "yes"}, "times": "weight"}

    rows = rows_of(table, columns)
    assert rows.labels.tolist() == [0, 1, 0]
    assert rows.weights.tolist() == [1, 0, 2.5]
    in_numbers = table.set_column(1, "paid", pa.array([True, False, True]))
    assert rows_of(in_numbers, columns | {"paid": {"label": "true"}}).labels.tolist() == [1, 0, 1]
    assert rows_of(in_numbers, columns | {"paid": "label"}).labels.tolist() == [1, 0, 1]
    in_codes = table.set_column(1, "paid", table["paid"].dictionary_encode())
    assert rows_of(in_codes, columns).labels.tolist() == [0, 1, 0]


def test_blanks_around_words_and_numbers_do_not_count():
    table = pa.table(
        {
            "job": [" clerk", "clerk ", "\tclerk", " "],
            "age": [" 18", "20 ", " ", "22"],
            "y": [1, 0, 1, 0],
        }
    )
    encoder = fit(table, {"job": "category", "age": "number", "y": "label"})
    assert encoder.get_feature_names_out().tolist() == [
        "job=clerk",
        "job=(rare)",
        "job=(missing)",
        "age",
    ]
    assert encoder.block_of["age"].mean == 20
    assert RowEncoder(encoder).encode([{"job": "clerk  "}]).unknown == {}
    words = pa.table({"x": [1.0, 2.0], "paid": [" >50K", " <=50K"]})
    assert rows_of(words, {"x": "number", "paid": {"label": ">50K"}}).labels.tolist() == [1, 0]


def test_a_label_that_training_does_not_have_is_refused():
    table = pa.table({"x": [1.0, 2.0, 3.0], "paid": ["no", "yes", "no"]})

    with pytest.raises(UserError, match="column paid: no row has the label 'Yes', which would be"):
        rows_of(table, {"x": "number", "paid": {"label": "Yes"}})
    encoder = fit(table, {"x": "number", "paid": {"label": "yes"}})
    encoder = type(encoder).of_arrays(encoder.describe(), encoder.arrays())
    other = read_frame(pa.table({"x": [1.0, 2.0], "paid": ["yes ", "yes."]}))
    message = "row 1 (from 0): column paid: 'yes.' is no label of the training rows: 'no', 'yes'"
    with pytest.raises(UserError, match=re.escape(message)):
        list(encode_table(other, ArrowEncoder(encoder), labelled=True))


@pytest.mark.parametrize(
    ("name", "cells", "message"),
    [
        ("paid", ["yes", None, "no"], "row 1 (from 0): column paid: a label is missing"),
        ("times", [1, None, 1], "row 1 (from 0): column times: a weight is missing"),
        ("times", [1, 1, -0.5], "row 2 (from 0): column times: the weight -0.5 is below 0"),
    ],
)
def test_labels_and_weights_are_needed(name, cells, message):
    table = pa.table({"x": [1.0, 2.0, 3.0], "paid": ["no", "yes", "no"], "times": [1, 0, 2.5]})
    table = table.set_column(table.column_names.index(name), name, pa.array(cells))

    with pytest.raises(UserError, match=re.escape(message)):
        rows_of(table, {"x": "number", "paid": {"label": "yes"}, "times": "weight"})
