"""Commands that ask a model of tables by name, and score tables."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fm_algo.cli import program

BUILTIN = Path(__file__).parents[2] / "data" / "builtin" / "binary-k8-d100" / "model.tar.gz"

ROWS = [
    {"user": "u1", "item": "i2"},
    {"user": "new", "item": "i1"},
    {"user": "u2", "item": None},
]


@pytest.fixture
def run(capsys):
    """Run a command; return its lines, and what it said aside."""

    def run_it(*arguments):
        program.main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        return streams.out.splitlines(), streams.err

    return run_it


@pytest.fixture
def refused(capsys):
    """Run a command that must fail; return its exit code and its line."""

    def run_it(*arguments):
        with pytest.raises(SystemExit) as stop:
            program.main([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        assert streams.out == ""
        return stop.value.code, streams.err

    return run_it


def write_csv(path):
    lines = [",".join(cell or "" for cell in row.values()) for row in ROWS]
    path.write_text("\n".join(["user,item", *lines]) + "\n")


def write_json_lines(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_parquet(path):
    pq.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("rows.csv", write_csv),
        ("rows.jsonl", write_json_lines),
        ("rows.ndjson", write_json_lines),
        ("rows.parquet", write_parquet),
    ],
)
def test_a_table_is_scored_and_what_is_unknown_is_told(of_tables, run, tmp_path, name, write):
    write(tmp_path / name)

    lines, _ = run("score", of_tables.path, tmp_path / name)

    answers = [json.loads(line) for line in lines]
    scores = of_tables.scores(*ROWS)
    np.testing.assert_allclose([answer["score"] for answer in answers], scores, rtol=1e-6)
    assert [answer.get("unknown") for answer in answers] == [None, ["user"], None]


def test_the_type_of_a_table_can_be_given_and_rows_can_be_numbered(of_tables, run, tmp_path):
    write_csv(tmp_path / "table")
    (tmp_path / "numbered").write_text("0:1 4:1 7:0.5 8:0.5 10:-1.5\n")

    (first, *_), _ = run(
        "score", of_tables.path, tmp_path / "table", "--content-type", "text/csv;header=present"
    )
    (numbered,), _ = run(
        "score", of_tables.path, tmp_path / "numbered", "--content-type", "text/libsvm"
    )

    assert json.loads(numbered)["score"] == pytest.approx(json.loads(first)["score"], rel=1e-6)


def test_a_wrong_table_is_told_in_one_line(of_tables, refused, tmp_path):
    (tmp_path / "typo.csv").write_text("usr,item\nu1,i2\n")
    (tmp_path / "asks.jsonl").write_text(
        '{"user": "u1", "item": "i2", "configuration": {"explain": true}}\n'
    )

    code, line = refused("score", of_tables.path, tmp_path / "typo.csv")
    assert code == 1
    assert f"{tmp_path}/typo.csv, line 1: usr is no column of the model; allowed: " in line
    code, line = refused("score", of_tables.path, tmp_path / "asks.jsonl")
    assert "a row has a configuration, which only servers answer" in line


def best_items(of_tables, user):
    items = ["i2", "i1", "i9"]
    scores = of_tables.scores(*({"user": user, "item": item} for item in items))
    return sorted(zip(items, scores.tolist(), strict=True), key=lambda pair: -pair[1])


def test_the_best_items_are_those_with_the_best_scores(of_tables, run):
    lines, said = run("recommend", of_tables.path, "--user", "u1")
    objects, _ = run("recommend", of_tables.path, "--user", "u1", "--top", "2", "--json")

    expected = best_items(of_tables, "u1")
    assert [line.split() for line in lines] == [[name, f"{score:.4f}"] for name, score in expected]
    assert said == ""
    found = [json.loads(line) for line in objects]
    assert [answer["name"] for answer in found] == [name for name, _ in expected[:2]]
    np.testing.assert_allclose(
        [answer["score"] for answer in found], [score for _, score in expected[:2]], rtol=1e-5
    )


def test_items_are_left_out_and_a_new_user_is_told(of_tables, run):
    unseen, _ = run("recommend", of_tables.path, "--user", "u1", "--exclude-seen")
    without, said = run("recommend", of_tables.path, "--user", "new", "--exclude", "i1")
    by_column, _ = run("recommend", of_tables.path, "--column", "user=u1", "--exclude-seen")

    assert [line.split()[0] for line in unseen] == ["i1"]
    assert by_column == unseen
    assert {line.split()[0] for line in without} == {"i2", "i9"}
    assert "does not know this user" in said


def test_values_of_a_column_can_be_candidates(of_tables, run):
    lines, _ = run("recommend", of_tables.path, "--column", "item=i2", "--candidates", "user")
    assert {line.split()[0] for line in lines} == {"u1", "u2"}


def test_similar_items_come_without_the_item_itself(of_tables, run):
    lines, _ = run("similar", of_tables.path, "--item", "i1", "--json")

    found = [json.loads(line) for line in lines]
    assert {answer["name"] for answer in found} == {"i2", "i9"}
    assert found[0]["similarity"] >= found[1]["similarity"]
    assert all(abs(answer["similarity"]) <= 1 for answer in found)


def test_the_parts_of_a_score_add_up_by_name(of_tables, run):
    lines, _ = run("explain", of_tables.path, "--user", "u1", "--item", "i2", "--json")

    *parts, margin = (json.loads(line) for line in lines)
    score = of_tables.scores({"user": "u1", "item": "i2"})[0]
    assert margin["of"] == "margin"
    assert margin["part"] == pytest.approx(score, rel=1e-5)
    assert sum(part["part"] for part in parts) == pytest.approx(score, rel=1e-5)
    assert parts[0]["of"] == "item=i2"
    assert {"bias", "user=u1", "user=u1 × item=i2", "user=u1 × genres=Drama"} <= {
        part["of"] for part in parts
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("similar", "--item", "i7"), "item 'i7' is not among the 3 candidates"),
        (("recommend", "--column", "usr=u1"), "usr is no column of the model; allowed: "),
        (("recommend", "--candidates", "price"), "candidates is price, allowed: user, item"),
        (("recommend", "--candidates", "user", "--exclude-seen"), "cannot tell those of user"),
    ],
)
def test_what_cannot_be_answered_is_told_in_one_line(of_tables, refused, arguments, message):
    command, *rest = arguments
    code, line = refused(command, of_tables.path, *rest)

    assert code == 1
    assert message in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(
    "command", [("recommend", "--user", "u"), ("similar", "--item", "i"), ("explain",)]
)
def test_a_model_of_numbered_features_has_no_names(refused, command):
    name, *rest = command
    code, line = refused(name, BUILTIN, *rest)

    assert code == 1
    assert "is a model of numbered features" in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("similar", "x"),
        ("recommend", "x", "--top", "0"),
        ("recommend", "x", "--top", "many"),
        ("explain", "x", "--column", "user"),
    ],
)
def test_a_command_that_is_not_right_exits_with_2(refused, arguments):
    code, text = refused(*arguments)
    assert code == 2
    assert text.startswith("usage: python -m fm_algo")


def test_the_program_answers_without_pyarrow_and_compiler(of_tables):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['fm_algo', 'recommend', {of_tables.path!r}, '--user', 'u1']\n"
        "runpy.run_module('fm_algo', run_name='__main__')\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert len(done.stdout.splitlines()) == 3
    assert set(done.stderr.split()) & {"torch", "numba", "pyarrow", "boto3", "flask"} == set()
