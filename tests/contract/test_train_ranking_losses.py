"""Jobs with a ranking loss: rows of users and items that they want, with or without labels."""

import json
import re
import signal

import numpy as np
import pytest
from table_jobs import items, model_bytes, to_csv
from training_tree import TrainingTree, finish

from fm_algo.artifacts.artifact import load_stored_model
from fm_algo.data.tables.row_encoder import RowEncoder

TABLE = "text/csv;header=present"
COLUMNS = {"user": "category", "item": "category", "genres": {"set": "|"}, "price": "number"}
LABELLED = {"stars": "label"} | COLUMNS
LOSSES = pytest.mark.parametrize("loss", ["bpr", "warp"])
NUM_USERS, NUM_ITEMS = 84, 21


def wanted(user):
    """The items that a user wants, in any order: the first five are for training."""
    order = np.random.default_rng(user).permutation(8).tolist()
    return [(user + step) % NUM_ITEMS for step in order]


def table(places):
    """Rows of users and the items at some places of what they want."""
    pairs = [(user, wanted(user)[place]) for place in places for user in range(NUM_USERS)]
    return {"user": [f"u{user}" for user, _ in pairs], "item": [f"i{item}" for _, item in pairs]}


TRAIN, HELD_OUT = table(range(5)), table(range(5, 8))


def unwanted():
    """Rows whose label is not above 0."""
    pairs = [(user, (user + 12) % NUM_ITEMS) for user in range(NUM_USERS)]
    return {"user": [f"u{user}" for user, _ in pairs], "item": [f"i{item}" for _, item in pairs]}


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def describe(tree, loss, columns=COLUMNS, train=None, **changes):
    given = {
        "feature_dim": None, "columns": json.dumps(columns), "min_count": "1", "loss": loss,
        "num_factors": "8", "epochs": "40", "linear_lr": "0.03", "factors_lr": "0.03",
        "factors_init_sigma": "0.1", "factors_wd": "0",
    }  # fmt: skip
    tree.hyperparameters(**given | changes)
    held_out = HELD_OUT
    if "stars" in columns:
        held_out = held_out | {"stars": [4] * len(held_out["user"])}
    tree.channel("train", {"a.csv": to_csv(train or TRAIN)}, TABLE)
    for name in ("validation", "test"):
        tree.channel(name, {"a.csv": to_csv(held_out)}, TABLE)
    tree.channel("items", {"items.csv": to_csv(items())}, TABLE)


def values_of(outcome, what):
    start = f" {what}>="
    return [float(line.rpartition("=")[2]) for line in outcome.lines if start in line]


def names_of(outcome, channel):
    found = (re.search(rf"{channel} (\S+) <", line) for line in outcome.lines)
    return {match[1] for match in found if match}


@LOSSES
def test_a_job_without_labels_ranks_what_its_users_want_first(tree, loss):
    describe(tree, loss)

    outcome = tree.train()

    assert (outcome.code, outcome.errors) == (0, ""), outcome
    assert not [line for line in outcome.lines if "WARNING" in line]
    assert names_of(outcome, "train") == {loss, "pairs_in_order"}
    rankings = {"ndcg@10", "recall@10", "map@10"}
    assert names_of(outcome, "test") == names_of(outcome, "validation") == rankings
    per_epoch = values_of(outcome, "validation ndcg@10 <score")
    assert len(per_epoch) == 41
    assert per_epoch[-1] > 0.72 > per_epoch[0]
    assert values_of(outcome, "test ndcg@10 <score") == per_epoch[-1:]
    assert values_of(outcome, f"train {loss} <loss")[-1] < 0.5
    told = f"test channel: items ranked for {NUM_USERS} users; relevant with a label above 0"
    assert any(told in line for line in outcome.lines)
    seen = [line for line in outcome.lines if '"Total Records Seen"' in line]
    assert '"sum": 16800.0' in seen[-1]

    stored = load_stored_model(tree.model)
    cells = [{"user": "u3", "item": f"i{item}"} for item in range(NUM_ITEMS)]
    scores = stored.model.score(RowEncoder(stored.tables.encoder).encode(cells).batch)
    best = set(np.argsort(-scores)[:8].tolist())
    assert set(wanted(3)[:5]) <= best
    assert len(best & set(wanted(3))) >= 6


def test_rows_whose_label_is_not_above_0_are_not_learnt_from(tree):
    rows = {name: cells + unwanted()[name] for name, cells in TRAIN.items()}
    labels = [1 + n % 5 for n in range(len(TRAIN["user"]))] + [0, -1, -2.5] * (NUM_USERS // 3)
    describe(tree, "bpr", LABELLED, rows | {"stars": labels}, keep_seen="true", epochs="1")

    outcome = tree.train()

    assert outcome.code == 0, outcome
    (told,) = [line for line in outcome.lines if '"Total Records Seen"' in line]
    assert f'"Total Records Seen": {{"sum": {5 * NUM_USERS}.0' in told
    # They count as seen all the same.
    seen = load_stored_model(tree.model).tables.seen.items_of(b"u3")
    assert sorted(seen.tolist()) == sorted([*wanted(3)[:5], (3 + 12) % NUM_ITEMS])


def test_weights_count(tree):
    weights = [[1, 5][user in {"u1", "u2"}] for user in TRAIN["user"]]
    columns = COLUMNS | {"times": "weight"}
    models = []
    for times in (weights, [1] * len(weights)):
        describe(tree, "bpr", columns, TRAIN | {"times": times}, epochs="2")
        for name in ("validation", "test"):
            held_out = HELD_OUT | {"times": [1] * len(HELD_OUT["user"])}
            tree.channel(name, {"a.csv": to_csv(held_out)}, TABLE)
        tree.run()
        models.append(model_bytes(tree))
    assert models[0] != models[1]


@LOSSES
def test_the_model_depends_on_the_seed_and_not_on_the_number_of_threads(tree, loss):
    found = []
    for changes in ({"num_threads": "1"}, {"num_threads": "2"}, {"seed": "1"}):
        describe(tree, loss, epochs="3", negative_sampling_power="0.5", **changes)
        tree.run()
        found.append(load_stored_model(tree.model).model.V.tobytes())
    assert found[0] == found[1]
    assert found[0] != found[2]


@LOSSES
def test_training_ends_by_the_best_ndcg(tree, loss):
    describe(tree, loss, epochs="200", early_stopping_patience="3", linear_lr="0.1")

    outcome = tree.train()

    assert outcome.code == 0, outcome
    *epochs, _, saved = values_of(outcome, "validation ndcg@10 <score")
    assert len(epochs) < 200
    assert saved == max(epochs)


@LOSSES
def test_a_stopped_job_goes_on_bit_for_bit(tree, loss):
    describe(tree, loss, epochs="6")
    tree.run()
    whole = model_bytes(tree)

    describe(tree, loss, epochs="100000")
    (tree.base / "checkpoints").mkdir()
    process = tree.start()
    for line in process.stdout:
        if "epoch=3, train" in line:
            process.send_signal(signal.SIGTERM)
            break
    outcome = finish(process)
    assert (process.returncode, outcome.errors) == (0, "")
    assert any("stopped by SIGTERM" in line for line in outcome.lines)
    describe(tree, loss, epochs="6")
    resumed = tree.train()

    assert resumed.code == 0, resumed
    assert any("going on from the checkpoint" in line for line in resumed.lines)
    if not any("epoch=6," in line for line in outcome.lines):
        assert model_bytes(tree) == whole


def test_a_job_goes_on_from_the_model_of_another(tree):
    describe(tree, "warp")
    tree.run()
    saved = load_stored_model(tree.model).model.V.copy()
    model = (tree.model / "model.safetensors").read_bytes()
    describe(tree, "bpr", epochs="1", factors_lr="0", linear_lr="0")
    tree.channel("model", {"model.safetensors": model}, "application/x-model")

    outcome = tree.train()

    assert outcome.code == 0, outcome
    np.testing.assert_array_equal(load_stored_model(tree.model).model.V, saved)
    assert values_of(outcome, "train pairs_in_order <score")[0] > 0.95


@LOSSES
def test_the_report_speaks_of_rankings(tmp_path, loss):
    tree = TrainingTree(tmp_path / "ml", has_report=True)
    describe(tree, loss, epochs="5", tensorboard="true")

    outcome = tree.train()

    assert outcome.code == 0, outcome
    assert not [line for line in outcome.lines if "WARNING" in line]
    numbers = json.loads((tree.base / "output" / "data" / "metrics.json").read_text())
    assert numbers["verdict"] is None
    assert set(numbers["metrics"]["train"]) == {loss, "pairs_in_order"}
    assert set(numbers["metrics"]["test"]) == {"ndcg@10", "recall@10", "map@10"}
    page = (tree.base / "output" / "data" / "report.html").read_text()
    assert f">Learning curve: {loss}<" in page
    assert ">Learning curve: ndcg@10<" in page
    assert "test ndcg@10" in page
    for nonsense in ("rmse", "constant", "Residuals", "Labels<", "labels from"):
        assert nonsense not in page
    (events,) = (tree.base / "output" / "tensorboard").iterdir()
    content = events.read_bytes()
    assert f"train/{loss}".encode() in content
    assert b"validation/ndcg_10" in content


def test_rows_whose_item_is_in_no_table_are_told(tree):
    rows = {"user": [*TRAIN["user"], "u1", "u2"], "item": [*TRAIN["item"], "i77", ""]}
    describe(tree, "bpr", train=rows, epochs="1")

    outcome = tree.train()

    assert outcome.code == 0, outcome
    (told,) = [line for line in outcome.lines if "WARNING" in line]
    assert told.endswith(
        "train channel: 2 rows are not learnt from: their item is not in the items table"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"columns": json.dumps({"item": "category", "genres": {"set": "|"}, "price": "number",
                                    "user": "ignore"})},
            "loss=bpr: column user is ignored, but items are drawn that its users do not have; "
            "make it a category, or hash it",
        ),
        (
            {"early_stopping_metric": "rmse"},
            "early_stopping_metric=rmse is not a metric of loss=bpr, allowed: one of ndcg@10, "
            "recall@10, map@10",
        ),
        (
            {"optimizer": "als"},
            "loss=bpr needs gradients, so an optimizer such as adam, not als",
        ),
        (
            {"memory_budget_mb": "1"},
            "loss=bpr goes through all rows in memory, where they do not fit: raise "
            "memory_budget_mb, or take a larger instance",
        ),
    ],
    ids=["no_user", "metric", "optimizer", "memory"],
)  # fmt: skip
def test_what_cannot_be_ranked_is_told(tree, changes, told):
    train = None
    if "memory_budget_mb" in changes:
        train = {name: cells * 100 for name, cells in TRAIN.items()}
    describe(tree, "bpr", train=train, **changes)
    outcome = tree.train()
    assert outcome.code == 1
    assert told in tree.failure


def test_labels_that_are_all_0_are_nothing_to_learn_from(tree):
    describe(tree, "bpr", LABELLED, TRAIN | {"stars": [0] * len(TRAIN["user"])})
    assert tree.train().code == 1
    assert tree.failure == (
        "ClientError: train channel: no row to learn from, expected one with a label above 0 or "
        "none, and an item of the items table"
    )


def test_without_an_items_channel_there_is_nothing_to_rank(tree):
    tree.hyperparameters(loss="warp")
    tree.channel("train", {"a.csv": b"1,2\n"})
    assert tree.train().code == 1
    assert tree.failure == (
        "ClientError: loss=warp ranks the items of a table: it needs columns and an items channel; "
        "channels found: train"
    )
