"""Jobs with a table of items: their log lines of rankings, against scoring every pair in loops."""

import dataclasses
import json
import os
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from training_tree import ROOT, TrainingTree

from fm_algo.artifacts.artifact import load_stored_model
from fm_algo.data.tables.row_encoder import RowEncoder
from fm_algo.training.metrics import RANKING_METRICS
from fm_algo.training.ranking.metrics import ranking_metrics

ENVIRONMENT = {"PATH": os.defpath, "PYTHONPATH": str(ROOT)}
TABLE = "text/csv;header=present"
ITEMS = [f"i{number}" for number in range(25)]
COLUMNS = {
    "rating": "label",
    "user": "category",
    "item": "category",
    "genre": "category",
    "age": "number",
}


def draw(seed, num_rows, *, classes=False):
    """Draw ratings that depend on user and item; some have no user, or an item of no table."""
    drawn = random.Random(seed)  # noqa: S311 - not a secret
    rows = []
    for _ in range(num_rows):
        user, item = drawn.randrange(31), drawn.randrange(27)
        rating = 1 + (user * item) % 5
        rows.append(
            {
                "rating": int(rating > 3) if classes else rating,
                "user": f"u{user}" if user else "",
                "item": f"i{item}",
                "age": 20 + user,
            }
        )
    return rows


def to_csv(rows):
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def describe(tree, channels, *, classes=False, columns=COLUMNS, **changes):
    kind = "binary_classifier" if classes else "regressor"
    given = {"feature_dim": None, "columns": json.dumps(columns), "predictor_type": kind}
    tree.hyperparameters(**given | {"epochs": "2"} | changes)
    for seed, (name, num_rows) in enumerate(channels.items()):
        tree.channel(name, {"a.csv": to_csv(draw(seed, num_rows, classes=classes))}, TABLE)
    items = [{"item": item, "genre": f"g{number % 3}"} for number, item in enumerate(ITEMS)]
    tree.channel("items", {"items.csv": to_csv(items)}, TABLE)


def values_of(outcome, channel, name):
    start = f" {channel} {name} <score>="
    return [float(line.rpartition("=")[2]) for line in outcome.lines if start in line]


def slow(model, train, test, least_label):
    """Return the metrics of the saved model, user by user and pair by pair."""
    stored = load_stored_model(model)
    alone, rows = dataclasses.replace(stored.model, samples=()), RowEncoder(stored.tables.encoder)
    answers = []
    for user in dict.fromkeys(row["user"] for row in test if row["user"]):
        seen = {row["item"] for row in train if row["user"] == user}
        liked = [row for row in test if row["user"] == user and row["rating"] >= least_label]
        relevant = ({row["item"] for row in liked} - seen) & set(ITEMS)
        if not relevant:
            continue
        # The age is that of the first row that is relevant, which is one age for each user.
        cells = [{"user": user, "item": item, "age": liked[0]["age"]} for item in ITEMS]
        margins = alone.margin(rows.encode(cells).batch)
        order = [number for number in np.argsort(-margins) if ITEMS[number] not in seen]
        answers.append((np.array(order), np.array([ITEMS.index(item) for item in relevant])))
    assert len(answers) > 10
    return {metric.name: metric.value for metric in ranking_metrics(answers)}


@pytest.mark.parametrize(
    "learnt",
    [{"optimizer": "adam"}, {"optimizer": "mcmc"}, {"interaction": "field_weighted"}],
    ids=["adam", "mcmc", "field_weighted"],
)
@pytest.mark.parametrize("classes", [False, True])
def test_the_rankings_of_the_saved_model_are_told(tree, learnt, classes):
    sizes = {"train": 300, "test": 120, "validation": 100}
    describe(tree, sizes, classes=classes, **learnt)

    outcome = tree.train()

    assert (outcome.code, outcome.errors) == (0, ""), outcome
    train = draw(0, 300, classes=classes)
    least_label = 1 if classes else np.mean([row["rating"] for row in train])
    for channel, seed in (("test", 1), ("validation", 2)):
        expected = slow(tree.model, train, draw(seed, sizes[channel], classes=classes), least_label)
        for name in RANKING_METRICS:
            assert values_of(outcome, channel, name)[-1] == pytest.approx(expected[name], abs=1e-6)
    # Per epoch, and at the end; of mcmc at the end, because the model is made of many samples.
    per_epoch = [line for line in outcome.lines if "epoch=0, validation ndcg@10 <score>=" in line]
    assert len(per_epoch) == (learnt.get("optimizer", "adam") == "adam")
    assert any("test channel: items ranked for" in line for line in outcome.lines)
    assert load_stored_model(tree.model).tables.seen is None


def test_training_ends_by_the_best_ranking(tree):
    describe(
        tree,
        {"train": 300, "validation": 100},
        epochs="50",
        early_stopping_metric="ndcg@10",
        early_stopping_patience="2",
        linear_lr="0.3",
    )

    outcome = tree.train()

    assert outcome.code == 0, outcome
    found = values_of(outcome, "validation", "ndcg@10")
    *epochs, _, saved = found  # the last epoch's value, then that of the model that is saved
    assert len(epochs) < 50
    assert saved == max(epochs)
    assert epochs.index(saved) == len(epochs) - 3


def test_rankings_to_judge_by_need_items_and_validation_rows(tree):
    chosen = {"early_stopping_metric": "map@10", "early_stopping_patience": "2"}
    describe(tree, {"train": 30, "test": 30}, **chosen)
    outcome = tree.train()
    assert outcome.code == 1
    assert tree.failure == (
        "ClientError: early_stopping_metric=map@10 needs an items channel and a validation "
        "channel; channels found: items, test, train"
    )


def test_where_nobody_knows_who_is_a_user_nothing_is_ranked(tree):
    columns = {"rating": "label", "user": "ignore", "item": "category", "age": "number"}
    describe(tree, {"train": 60, "test": 30}, columns=columns | {"genre": "category"})

    outcome = tree.train()

    assert outcome.code == 0, outcome
    assert values_of(outcome, "test", "ndcg@10") == []


def ask(*arguments):
    """Run the command line in a process of its own; return its objects."""
    command = [sys.executable, "-m", "fm_algo", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_trained_model_is_asked_on_the_command_line(tree, tmp_path):
    describe(tree, {"train": 300, "test": 120}, keep_seen="true")
    assert tree.train().code == 0
    rows = draw(1, 120)
    cells = [{name: cell for name, cell in row.items() if name != "rating"} for row in rows]
    pq.write_table(pa.Table.from_pylist(cells), tmp_path / "test.parquet")
    (tmp_path / "test.csv").write_bytes(to_csv(cells))

    scored = ask("score", tree.model, tmp_path / "test.parquet")
    best = ask("recommend", tree.model, "--user", "u7", "--column", "age=27", "--json")
    unseen = ask("recommend", tree.model, "--user", "u7", "--exclude-seen", "--top", "30", "--json")
    near = ask("similar", tree.model, "--item", "i3", "--top", "30", "--json")

    stored = load_stored_model(tree.model)
    expected = stored.model.score(RowEncoder(stored.tables.encoder).encode(cells).batch)
    np.testing.assert_allclose([row["score"] for row in scored], expected, rtol=1e-5)
    assert scored == ask("score", tree.model, tmp_path / "test.csv")
    assert len(best) == 10
    seen = {row["item"] for row in draw(0, 300) if row["user"] == "u7"} & set(ITEMS)
    assert seen
    assert {row["name"] for row in unseen} == set(ITEMS) - seen
    assert {row["name"] for row in near} == set(ITEMS) - {"i3"}
    told = ask("inspect", tree.model, "--json")[0]
    assert told["hyperparameters"]["columns"] == COLUMNS
    assert {column["name"]: column["kind"] for column in told["columns"]} == {
        name: kind for name, kind in COLUMNS.items() if kind != "label"
    }
