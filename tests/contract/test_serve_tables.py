"""Requests by name: to a model of tables, in every format that has names."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import response_schema_conformance

from fm_algo.artifacts.artifact import save_model
from fm_algo.data.tables.dictionary import hash_text
from fm_algo.data.tables.tables import Seen, Tables
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

JSON = "application/json"
JSONLINES = "application/jsonlines"
CSV = "text/csv"
PARQUET = "application/x-parquet"
RECORDIO = "application/x-recordio-protobuf"

# Feature numbers and items: `table_encoder` in tests/conftest.py.
ROWS = {
    ("u1", "i1"): ([0, 3, 10], [1, 1, 2]),
    ("u2", "i2"): ([1, 4, 7, 8, 10], [1, 1, 0.5, 0.5, -1.5]),
    ("new", "i9"): ([2, 6, 9], [1, 1, 1]),
    ("", "i3"): ([2, 5], [1, 1]),
}
NAMED = [{"user": user, "item": item} for user, item in ROWS]


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(7)
    w0, w, V = np.array([0.25]), rng.normal(size=11), rng.normal(size=(11, 2))
    parameters = [array.astype(np.float32) for array in (w0, w, V)]
    samples = [
        FMModel("binary_classifier", *(array + np.float32(number) for array in parameters))
        for number in range(2)
    ]
    return FMModel("binary_classifier", *parameters, tuple(samples))


@pytest.fixture(scope="module")
def tables(table_encoder):
    users = np.array(sorted(hash_text(user) for user in (b"u1", b"u2")), np.uint64)
    of_u1 = int(users[0] != hash_text(b"u1"))
    items = [1, 1]
    items[of_u1] = 0  # u1 has seen i2, u2 i1
    seen = Seen("user", "item", users, np.array([0, 1, 2]), np.array(items, np.int32))
    return Tables(table_encoder, seen)


def lay_out(directory, model, tables):
    directory.mkdir(parents=True)
    save_model(directory, model, {}, tables=tables)


@pytest.fixture(scope="module")
def server(launch, model, tables, tmp_path_factory):
    base = tmp_path_factory.mktemp("tables") / "ml"
    lay_out(base / "model", model, tables)
    return launch(base, {"SAGEMAKER_MODEL_SERVER_WORKERS": "2"})


@pytest.fixture(scope="module")
def bare_server(launch, model, table_encoder, tmp_path_factory):
    """A server of a model without a table of items, that did not keep what was seen."""
    blocks = tuple(block for block in table_encoder.blocks if block.table == "rows")
    encoder = type(table_encoder)(table_encoder.columns, blocks, table_encoder.dictionaries)
    base = tmp_path_factory.mktemp("bare") / "ml"
    small = FMModel("regressor", model.w0, model.w[:7], model.V[:7])
    lay_out(base / "model", small, Tables(encoder))
    return launch(base, {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"})


def json_of(*instances):
    return json.dumps({"instances": instances})


def lines_of(*instances):
    return "".join(f"{json.dumps(instance)}\n" for instance in instances)


def parquet_of(rows, **columns):
    target = io.BytesIO()
    table = pa.Table.from_pylist(rows) if rows else pa.table(columns)
    pyarrow.parquet.write_table(table, target)
    return target.getvalue()


def predictions_of(reply):
    assert reply.status == 200, reply.body
    if reply.content_type == JSON:
        return json.loads(reply.body)["predictions"]
    return [json.loads(line) for line in reply.body.splitlines()]


def ask(server, *instances):
    return predictions_of(server.invoke(json_of(*instances), Content_Type=JSON))


def numbered(features, values):
    return {"features": {"keys": features, "values": values, "shape": [11]}}


@pytest.fixture(scope="module")
def scores(model):
    entries = list(ROWS.values())
    batch = CSRBatch(
        np.cumsum([0, *(len(features) for features, _ in entries)], dtype=np.int64),
        np.concatenate([features for features, _ in entries]).astype(np.int32),
        np.concatenate([values for _, values in entries]).astype(np.float32),
        None,
        11,
    )
    return model.score(batch).tolist()


def told(predictions):
    return [prediction["score"] for prediction in predictions]


def test_a_row_by_name_is_scored_as_the_features_it_stands_for(server, scores):
    by_name = ask(server, *NAMED)
    by_number = ask(server, *(numbered(*entries) for entries in ROWS.values()))

    assert told(by_name) == told(by_number) == pytest.approx(scores, rel=1e-6)
    assert [its["predicted_label"] for its in by_name] == [score >= 0.5 for score in scores]


def test_what_the_model_does_not_know_is_told(server):
    known, _, new, missing = ask(server, *NAMED)
    odd, both = ask(server, {"user": "u1", "genres": "Drama|Opera"}, {"user": "x", "item": "y"})

    assert "unknown" not in known
    assert new["unknown"] == ["user", "item"]
    assert "unknown" not in missing
    assert odd["unknown"] == ["genres"]
    assert both["unknown"] == ["user", "item"]


def test_named_and_numbered_instances_may_stand_in_one_request(server, scores):
    mixed = [NAMED[0], numbered(*ROWS["u2", "i2"]), NAMED[2], NAMED[3]]

    assert told(ask(server, *mixed)) == pytest.approx(scores, rel=1e-6)
    reply = server.invoke(lines_of(*mixed), Content_Type=JSONLINES)
    assert told(predictions_of(reply)) == pytest.approx(scores, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "entries"),
    [
        ({"price": 6}, ([0, 4, 7, 8, 10], [1, 1, 0.5, 0.5, 1])),
        ({"price": "6", "genres": None}, ([0, 4, 7, 8, 10], [1, 1, 0.5, 0.5, 1])),
        ({"genres": ["War"]}, ([0, 4, 8, 10], [1, 1, 1, -1.5])),
        (
            {"genres": "War|Drama", "price": ""},
            ([0, 4, 7, 8, 10], [1, 1, 0.5**0.5, 0.5**0.5, -1.5]),
        ),
        ({"genres": []}, ([0, 4, 10], [1, 1, -1.5])),
    ],
)
def test_a_side_columns_cell_counts_before_the_side_tables(server, given, entries):
    by_name, by_number = ask(server, {"user": "u1", "item": "i2", **given}, numbered(*entries))

    assert by_name["score"] == pytest.approx(by_number["score"], rel=1e-6)


def as_csv(rows, *names, header=True):
    lines = [",".join(names)] if header else []
    lines += [",".join(row.get(name, "") for name in names) for row in rows]
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, json_of(*NAMED)),
        (JSONLINES, lines_of(*NAMED)),
        (f"{CSV};header=present", as_csv(NAMED, "user", "item")),
        (f"{CSV}; header=present", as_csv(NAMED, "item", "price", "user")),
        (
            f"{CSV}; charset=utf-8; HEADER=Present",
            b"\xef\xbb\xbf" + as_csv(NAMED, "rating", "item", "user").encode(),
        ),
        (CSV, as_csv(NAMED, "user", "item", header=False)),
        (f"{CSV};header=absent", as_csv(NAMED, "rating", "user", "item", header=False)),
        (CSV, '"u1",i1\r\nu2,"i2"\r\n"new","i9"\r\n,i3'),
        (PARQUET, parquet_of(NAMED)),
        ("application/vnd.apache.parquet", parquet_of([{"genres": None, **row} for row in NAMED])),
    ],
)
@pytest.mark.parametrize("accept", [JSON, JSONLINES, CSV, RECORDIO, None])
def test_every_format_and_answer_has_the_same_scores(server, scores, content_type, body, accept):
    headers = {"Content_Type": content_type} | ({"Accept": accept} if accept else {})

    reply = server.invoke(body, **headers)

    assert reply.status == 200
    text_by_rows = CSV if content_type.startswith(CSV) else JSON
    default = JSONLINES if content_type == JSONLINES else text_by_rows
    assert reply.content_type == (accept or default)
    if reply.content_type == CSV:
        found = [float(line.split(b",")[1]) for line in reply.body.splitlines()]
    elif reply.content_type == RECORDIO:
        assert reply.body.startswith(b"\x0a\x23\xd7\xce")
        return
    else:
        predictions = predictions_of(reply)
        assert predictions[2]["unknown"] == ["user", "item"]
        found = told(predictions)
    assert found == pytest.approx(scores, rel=1e-6)


def test_libsvm_and_records_are_numbered_features_as_ever(server, scores):
    lines = [
        " ".join(f"{feature}:{value}" for feature, value in zip(*entries, strict=True))
        for entries in ROWS.values()
    ]

    reply = server.invoke("\n".join(lines), Content_Type="text/libsvm", Accept=JSON)

    assert told(predictions_of(reply)) == pytest.approx(scores, rel=1e-6)

    with_fields = [" ".join(f"7:{word}" for word in line.split()) for line in lines]
    reply = server.invoke("\n".join(with_fields), Content_Type="text/libffm", Accept=JSON)

    assert told(predictions_of(reply)) == pytest.approx(scores, rel=1e-6)


def test_an_explanation_names_columns_and_values(server):
    row = {"user": "u2", "item": "i2", "price": 9, "configuration": {"explain": True}}

    (prediction,) = ask(server, row)

    explanation = prediction["explanation"]
    linear = {part["feature"] for part in explanation["linear"]}
    pairs = {tuple(part["features"]) for part in explanation["pairwise"]}
    assert linear == {"user=u2", "item=i2", "genres=Drama", "genres=War", "price"}
    assert ("user=u2", "genres=Drama") in pairs
    assert len(pairs) == 10
    parts = explanation["linear"] + explanation["pairwise"]
    total = explanation["bias"] + sum(part["part"] for part in parts)
    assert total == pytest.approx(explanation["margin"])
    (by_number,) = ask(server, {**numbered([0], [1]), "configuration": {"explain": True}})
    assert by_number["explanation"]["linear"][0]["feature"] == 0


def best_by_scores(server, user, items):
    """The items in the order of their scores, by the single model: explanations have its margin."""
    rows = [{"user": user, "item": item, "configuration": {"explain": True}} for item in items]
    margins = [its["explanation"]["margin"] for its in ask(server, *rows)]
    order = np.argsort(-np.array(margins), kind="stable")
    return [items[place] for place in order], np.array(margins)[order]


@pytest.mark.parametrize("user", ["u1", "new", None])
def test_the_best_items_are_those_with_the_highest_scores(server, user):
    expected, margins = best_by_scores(server, user, ["i2", "i1", "i9"])

    (prediction,) = ask(server, {"user": user, "configuration": {"top_k": 2}})
    (whatever,) = ask(server, {"user": user, "item": "i1", "configuration": {"top_k": 9}})

    recommendations = prediction["recommendations"]
    assert [its["name"] for its in recommendations] == expected[:2]
    assert [its["name"] for its in whatever["recommendations"]] == expected
    sigmoid = 1 / (1 + np.exp(-margins[:2]))
    assert [its["score"] for its in recommendations] == pytest.approx(sigmoid.tolist(), rel=1e-5)
    assert [its["predicted_label"] for its in recommendations] == (sigmoid >= 0.5).tolist()


def test_excluded_items_and_those_seen_are_left_out(server):
    def best(user, **configuration):
        asked = {"top_k": 10, **configuration}
        (prediction,) = ask(server, {"user": user, "configuration": asked})
        return sorted(its["name"] for its in prediction["recommendations"])

    assert best("u1") == ["i1", "i2", "i9"]
    assert best("u1", exclude=["i9", "no item", None, 3]) == ["i1", "i2"]
    assert best("u1", exclude_seen=True) == ["i1", "i9"]
    assert best("u2", exclude_seen=True) == ["i2", "i9"]
    assert best("new", exclude_seen=True) == best(None, exclude_seen=True) == ["i1", "i2", "i9"]
    assert best("u1", exclude_seen=True, exclude=["i1", "i2", "i9"]) == []


def test_candidates_can_be_the_values_of_a_column(bare_server):
    def best(**configuration):
        (prediction,) = ask(
            bare_server, {"user": "u1", "configuration": {"top_k": 3, **configuration}}
        )
        return [its["name"] for its in prediction["recommendations"]]

    expected, _ = best_by_scores(bare_server, "u1", ["i1", "i2", "i3"])
    assert best(candidates="item") == expected
    assert best(candidates="item", exclude=[expected[0]]) == expected[1:]
    assert sorted(best(candidates="user")) == ["u1", "u2"]


def test_similar_items_are_near_by_the_cosine_of_their_vectors(server, model):
    def vector(item):
        entries = {
            "i2": ([4, 7, 8, 10], [1, 0.5, 0.5, -1.5]),
            "i1": ([3, 10], [1, 2]),
            "i9": ([6, 9], [1, 1]),
        }
        features, values = entries[item]
        return np.array(values) @ model.V[features]

    def cosine(one, other):
        one, other = vector(one), vector(other)
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    (prediction,) = ask(server, {"item": "i1", "configuration": {"similar": 5}})
    (unknown,) = ask(server, {"item": "new", "configuration": {"similar": 5}})

    expected = sorted(["i2", "i9"], key=lambda item: -cosine("i1", item))
    assert [its["name"] for its in prediction["similar"]] == expected
    found = [its["similarity"] for its in prediction["similar"]]
    assert found == pytest.approx([cosine("i1", item) for item in expected], rel=1e-5)
    assert (unknown["similar"], unknown["unknown"]) == ([], ["item"])


def test_all_can_be_asked_for_at_once_in_json_lines(server):
    asked = {"explain": True, "uncertainty": True, "top_k": 1, "similar": 1}
    row = {"user": "u1", "item": "i1", "configuration": asked}

    reply = server.invoke(lines_of(NAMED[0], row), Content_Type=JSONLINES)

    plain, told_all = predictions_of(reply)
    extras = {"explanation", "score_std", "score_interval", "recommendations", "similar"}
    assert told_all.keys() == plain.keys() | extras


BAD_INSTANCES = [
    ({"user": "u1", "itme": "i1"}, "itme is no column of the model; allowed: genres, item, price,"),
    ({"user": {"a": 1}}, "column user: an object, expected one text or number"),
    ({"user": ["u1"]}, "column user: a list, expected one text or number"),
    ({"genres": [["War"]]}, "column genres: a list, expected one text or number"),
    ({"price": "n/a"}, "column price: 'n/a' is not a number; empty means missing"),
    ({"price": [1]}, "column price: a list, expected a number"),
    ({"price": 1e39}, "column price: 1e+39 is too large for float32"),
    ([], "expected 'object', got 'array'"),
    ("u1", "expected 'object', got 'str'"),
    ({"configuration": 3}, "expected 'object | null', got 'int' at configuration"),
    ({"configuration": {"explain": 1}}, "expected 'bool', got 'int' at configuration.explain"),
    ({"configuration": {"top": 1}}, "configuration has the key top, allowed: explain, uncertain"),
    ({"configuration": {"a\nb": 1}}, r"configuration has the key 'a\nb', allowed: explain, uncer"),
    ({"configuration": {"top_k": 0}}, "configuration: top_k is 0, allowed: 1 to 1000"),
    ({"configuration": {"similar": 1001}}, "configuration: similar is 1001, allowed: 1 to 1000"),
    ({"configuration": {"exclude": ["i1"]}}, "configuration has exclude without top_k"),
    ({"configuration": {"exclude_seen": True}}, "configuration has exclude_seen without top_k"),
    ({"configuration": {"candidates": "item"}}, "has candidates without top_k or similar"),
    ({"configuration": {"top_k": 1, "candidates": "x"}}, "candidates is x, allowed: user, item"),
    ({"configuration": {"top_k": 1, "candidates": {"first": 0, "last": 1}}}, "got 'object'"),
    ({"configuration": {"top_k": 1, "exclude": [{}]}}, "at configuration.exclude[0]"),
    ({"configuration": {"similar": 1}}, "configuration has similar, but the row has no item"),
    ({"item": [], "configuration": {"similar": 1}}, "column item: a list, expected one text"),
    (
        {"configuration": {"top_k": 1, "candidates": "user", "exclude_seen": True}},
        "the model keeps which values of item a user has seen, so exclude_seen cannot tell",
    ),
    ({"features": [1]}, "1 values without keys, expected 11"),
]


def test_a_request_of_another_shape_is_shown_an_instance_of_the_models_columns(server):
    reply = server.invoke(b'[{"user": "u1"}]', Content_Type=JSON)

    assert reply.status == 400
    assert reply.reason == (
        "request: expected 'object', got 'array'; the shape is "
        '{"instances": [{"user": …, "item": …}]}'
    )


@pytest.mark.parametrize(("bad", "cause"), BAD_INSTANCES)
def test_a_wrong_instance_is_400_with_its_place_and_cause(server, bad, cause):
    reply = server.invoke(json_of(*NAMED, bad, *NAMED), Content_Type=JSON)
    assert reply.status == 400
    assert reply.reason.startswith("instance 4: ")
    assert cause in reply.reason

    reply = server.invoke(lines_of(*NAMED, bad, *NAMED), Content_Type=JSONLINES)
    assert reply.status == 400
    assert reply.reason.startswith("line 5: ")
    assert cause in reply.reason


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        (
            {"top_k": 1},
            "instance 0: configuration: the model has no items table, so candidates must name a "
            "column; allowed: user, item",
        ),
        (
            {"top_k": 1, "candidates": "item", "exclude_seen": True},
            "instance 0: configuration: exclude_seen needs a model trained with keep_seen=true",
        ),
    ],
)
def test_what_a_model_was_not_trained_for_is_told(bare_server, asked, cause):
    reply = bare_server.invoke(json_of({"user": "u1", "configuration": asked}), Content_Type=JSON)

    assert (reply.status, reply.reason) == (400, cause)


HEADER = f"{CSV};header=present"
BAD_TABLES = [
    (HEADER, "user,item,user\nu1,i1,u2\n", "line 1: two columns are named user"),
    (HEADER, "user,itme\nu1,i1\n", "line 1: itme is no column of the model; allowed: genres,"),
    (HEADER, "user,price\nu1,3\n", "line 1: no column item; expected are user, item"),
    (HEADER, "user,item\nu1,i1\nu2\n", "line 3: 1 columns, expected 2: user, item"),
    (HEADER, "user,item\nu1,i1,\n", "line 2: 3 columns, expected 2: user, item"),
    (HEADER, "user,item\n\nu1,i1\n", "line 2: blank, expected a row"),
    (HEADER, "item,user,price\ni1,u1,\ni2,u2,n/a\n", "line 3: column price: 'n/a' is not a number"),
    (HEADER, 'user,item\n"u\n1",i1\nu2,"i1\n', "line 4: a quote is not closed"),
    (HEADER, 'user,item\n"u1"x,i1\n', "line 2: text behind a closing quote"),
    (HEADER, "user,item\nu\r1,i1\n", "line 2: a carriage return (CR)"),
    (HEADER, b"user,item\nu1,i1\n\xff,i2\n", "line 3: not UTF-8"),
    (HEADER, "u1,i1\nu2,i2\n", "line 1: u1 is no column of the model"),
    (HEADER, "\n", "line 1: no header, expected the names of the columns"),
    (CSV, "user,item\nu1,i1\n", "line 1: the names of the columns; if it is a header"),
    (CSV, "u1\n", "line 1: 1 columns, expected 3: rating, user, item; or 2, without rating"),
    (CSV, "u1,i1\n4,u1,i1\n", "line 2: 3 columns, expected 2: user, item"),
    (f"{CSV};header=yes", "u1,i1\n", "text/csv has header='yes', allowed: present or absent"),
    (PARQUET, b"PAR1", "the request is no Parquet file that can be read: "),
    (PARQUET, parquet_of(NAMED)[:-9], "the request is no Parquet file that can be read: "),
    (PARQUET, parquet_of([{"user": "u1"}]), "no column item; expected are user, item"),
    (PARQUET, parquet_of([{**NAMED[0], "x": 1}]), "x is no column of the model; allowed: genres,"),
    (
        PARQUET,
        parquet_of([{**row, "price": price} for row in NAMED for price in ("1", "n/a")]),
        "row 1: column price: 'n/a' is not a number; empty means missing",
    ),
    (PARQUET, parquet_of([{"user": {"a": 1}, "item": "i"}]), "row 0: column user: an object"),
    (PARQUET, parquet_of([{"user": b"u1", "item": "i"}]), "row 0: column user: a bytes, expected"),
]


@pytest.mark.parametrize(("content_type", "body", "cause"), BAD_TABLES)
def test_a_wrong_table_is_400_with_its_line_and_cause(server, content_type, body, cause):
    reply = server.invoke(body, Content_Type=content_type)

    assert reply.status == 400
    assert cause in reply.reason


cells = st.none() | st.sampled_from(["u1", "i1", "i2", "i9", "War", "new", "日本", 7, True])
named_rows = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("user", "item", "rating"), cells),
        "genres": st.lists(cells, max_size=3),
        "price": st.none() | st.floats(-9, 9, width=32),
        "configuration": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "explain": st.booleans(),
                "uncertainty": st.booleans(),
                "top_k": st.none() | st.integers(1, 4),
            },
        ),
    },
)
SIMILAR = {"item": "i1", "configuration": {"similar": 2, "top_k": 3, "exclude": ["i9", 7]}}


def test_predictions_are_as_described(root, server):
    description = yaml.safe_load((root / "docs" / "openapi.yaml").read_text())
    operation = from_dict(description)["/invocations"]["POST"]

    @settings(max_examples=60, deadline=None)
    @given(st.lists(named_rows, max_size=3).map([SIMILAR].__add__))
    def ask_as_described(instances):
        case = operation.Case(
            body={"instances": instances}, media_type="application/json", headers={}
        )
        answer = case.call(base_url=f"http://127.0.0.1:{server.port}")
        assert answer.status_code == 200
        case.validate_response(answer, checks=[response_schema_conformance])

    ask_as_described()


WORDS = [
    "Ünïcödé",
    "日本語",
    "العربية",
    "🎬🍿",
    "a\0b",
    'q"uote, comma',
    "line\nbreak",
    "x" * 1_000_000,
]


@pytest.mark.parametrize("word", WORDS, ids=lambda word: ascii(word[:9]))
def test_words_of_every_script_and_length_are_words(server, word):
    expected = ask(server, {"user": "new", "item": "i1"})

    assert ask(server, {"user": word, "item": "i1"}) == expected
    quoted = word.replace('"', '""')
    table = f'user,item\n"{quoted}",i1\n'.encode()
    reply = server.invoke(table, Content_Type=HEADER, Accept=JSON)
    assert predictions_of(reply) == expected
    reply = server.invoke(parquet_of([{"user": word, "item": "i1"}]), Content_Type=PARQUET)
    assert predictions_of(reply) == expected


def test_a_long_table_in_pieces_has_a_row_for_each_line(server, scores):
    rows = NAMED * 50_000
    body = as_csv(rows, "user", "item").encode()
    pieces = (body[start : start + 77_777] for start in range(0, len(body), 77_777))

    reply = server.invoke(pieces, Content_Type=HEADER)

    assert reply.status == 200
    found = np.array([float(line.split(b",")[1]) for line in reply.body.splitlines()])
    np.testing.assert_allclose(found, np.tile(scores, 50_000), rtol=1e-6)


def test_a_batch_job_answers_a_parquet_file_in_json_lines(launch, model, tables, scores, tmp_path):
    lay_out(tmp_path / "ml" / "model", model, tables)
    server = launch(
        tmp_path / "ml", {"SAGEMAKER_BATCH": "true", "SAGEMAKER_MAX_PAYLOAD_IN_MB": "1"}
    )

    reply = server.invoke(parquet_of(NAMED), Content_Type=PARQUET)
    too_long = server.invoke(b"PAR1" * (1 << 19), Content_Type=PARQUET)

    assert reply.content_type == JSONLINES
    assert told(predictions_of(reply)) == pytest.approx(scores, rel=1e-6)
    assert too_long.status == 413


def test_a_model_of_numbered_features_reads_no_parquet(server_of):
    reply = server_of("regressor").invoke(parquet_of(NAMED), Content_Type=PARQUET)

    assert reply.status == 415
    assert "application/x-parquet' is not read" in reply.reason


def test_models_by_name_know_their_own_columns(launch, model, tables, models, tmp_path, scores):
    base = tmp_path / "ml"
    lay_out(base / "models" / "t", model, tables)
    lay_out(base / "models" / "n", models["regressor"], None)
    server = launch(base, {"SAGEMAKER_MULTI_MODEL": "true"})
    for name in ("t", "n"):
        body = json.dumps({"model_name": name, "url": f"{server.base}/models/{name}"})
        assert server.ask("POST", "/models", body, Content_Type=JSON).status == 200

    reply = server.ask("POST", "/models/t/invoke", json_of(*NAMED), Content_Type=JSON)
    refused = server.ask("POST", "/models/n/invoke", json_of(*NAMED), Content_Type=JSON)

    assert told(predictions_of(reply)) == pytest.approx(scores, rel=1e-6)
    assert refused.reason == ("instance 0: neither 'features' nor 'data', expected one of them")
    metrics = server.ask("GET", "/metrics").body.decode()
    assert 'fm_rows_total{model="t"} 4.0' in metrics
    assert server.ask("DELETE", "/models/t").status == 200


def libraries_of(server):
    """What the server's processes have loaded, by the files that they map."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    maps = [Path(f"/proc/{pid}/maps").read_text() for pid in (server.pid, *children)]
    return {name for name in ("libarrow", "llvmlite", "torch") for text in maps if name in text}


def test_pyarrow_is_loaded_for_parquet_and_numba_never(launch, model, tables, tmp_path):
    lay_out(tmp_path / "ml" / "model", model, tables)
    server = launch(tmp_path / "ml", {"SAGEMAKER_MODEL_SERVER_WORKERS": "1"})
    if not hasattr(server, "pid"):
        pytest.skip("the processes of a container are not ours to look at")
    for content_type, body in (
        (JSON, json_of(*NAMED, {"item": "i1", "configuration": {"top_k": 1, "similar": 1}})),
        (JSONLINES, lines_of(*NAMED)),
        (HEADER, as_csv(NAMED, "user", "item")),
    ):
        assert server.invoke(body, Content_Type=content_type, Accept=JSON).status == 200
    assert libraries_of(server) == set()

    assert server.invoke(parquet_of(NAMED), Content_Type=PARQUET).status == 200
    assert libraries_of(server) == {"libarrow"}
