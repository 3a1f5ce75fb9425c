"""Jobs that train on tables: Parquet, CSV with a header, JSON Lines of objects."""

import contextlib
import gzip
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from table_jobs import (
    COLUMNS,
    CSV_TABLE,
    HASHED,
    JSON_LINES,
    PARQUET,
    WRITERS,
    describe,
    items,
    model_bytes,
    part,
    ratings,
    rows_of,
    to_csv,
)
from test_train_streams import EPOCHS, Platform
from training_tree import Rows, TrainingTree, finish

from container.settings import Paths
from container.training import train_job
from fm_algo.artifacts.artifact import load_model, load_stored_model
from fm_algo.data.tables.arrow.encoding import ArrowEncoder
from fm_algo.data.tables.row_encoder import RowEncoder

FROZEN = {"bias_lr": "0", "linear_lr": "0", "factors_lr": "0"}
"""With these, a job leaves the model as it starts."""


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def value_at_test(outcome, metric="rmse"):
    (line,) = [line for line in outcome.lines if f", test {metric} <" in line]
    return float(line.rpartition("=")[2])


def test_a_job_of_tables_leaves_a_model_that_knows_their_values(tree):
    describe(tree, keep_seen="true", epochs="20")
    outcome = tree.train()

    assert (outcome.code, outcome.errors) == (0, ""), outcome
    (line,) = [line for line in outcome.lines if "learnt from tables" in line]
    assert "5 columns with 52 values, feature_dim 61, 400 rows, " in line
    assert any(
        line.endswith("the items table has 21 rows, its key is item") for line in outcome.lines
    )
    stored = load_stored_model(tree.model)
    assert stored.hyperparameters["feature_dim"] == stored.model.feature_dim == 61
    assert stored.hyperparameters["columns"] == COLUMNS
    rows = list(rows_of(ratings(2, 60)))
    cells = [{name: cell for name, cell in row.items() if name != "rating"} for row in rows]
    scores = stored.model.score(RowEncoder(stored.tables.encoder).encode(cells).batch)
    errors = scores - np.array([row["rating"] for row in rows], np.float32)
    assert value_at_test(outcome) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-5)
    table = ratings(1, 400)
    known = {item for user, item in zip(table["user"], table["item"], strict=True) if user == "u7"}
    names = items()["item"]
    assert {names[row] for row in stored.tables.seen.items_of(b"u7")} == known
    assert stored.tables.candidates.V.shape == (21, 3)


def test_every_format_gives_the_same_model(tmp_path):
    saved = []
    for number, content_type in enumerate(WRITERS):
        tree = TrainingTree(tmp_path / str(number))
        describe(tree, content_type)
        tree.run()
        saved.append(model_bytes(tree))

    assert saved[0] == saved[1] == saved[2]


def test_parquet_knows_the_types_of_its_columns(tree):
    columns = {"rating": "label", "age": {"bins": 4}}  # not: user, item, genres, price
    describe(tree, PARQUET, columns)
    tree.run()

    encoder = load_stored_model(tree.model).tables.encoder
    kinds = {block.name: block.column.kind for block in encoder.blocks}
    assert kinds == {
        "user": "category",
        "item": "category",
        "age": "bins",
        "genres": "category",
        "price": "number",
    }


def test_several_files_plain_and_gzipped_are_one_table(tmp_path):
    whole, parts = TrainingTree(tmp_path / "whole"), TrainingTree(tmp_path / "parts")
    table = ratings(1, 400)
    backwards = dict(reversed(part(table, slice(250, 400)).items()))
    for tree in (whole, parts):
        describe(tree)
    parts.channel(
        "train",
        {
            "a": to_csv(part(table, slice(100))),
            "b.gz": gzip.compress(to_csv(part(table, slice(100, 250)))),
            "c/d": to_csv(backwards),  # another order of columns
        },
        CSV_TABLE,
        TrainingInputMode="FastFile",
    )
    (parts.base / "input" / "data" / "train" / "a").unlink()
    parts.channel("train", {"a": to_csv(part(table, slice(100)))}, CSV_TABLE)
    whole.run()
    parts.run()

    assert model_bytes(parts) == model_bytes(whole)


@pytest.mark.parametrize("optimizer", ["adam", "ftrl"])
def test_rows_beyond_memory_are_read_again_each_epoch(tmp_path, optimizer):
    cached, streamed = TrainingTree(tmp_path / "cached"), TrainingTree(tmp_path / "streamed")
    for tree, budget in ((cached, None), (streamed, "1")):
        describe(tree, optimizer=optimizer, shuffle="false", memory_budget_mb=budget)
        rows = to_csv({name: cells * 100 for name, cells in ratings(1, 400).items()})
        tree.channel("train", {"a": rows}, CSV_TABLE)
    cached.run()
    outcome = streamed.train()

    assert outcome.code == 0, outcome.errors
    assert any("training rows read again each epoch" in line for line in outcome.lines)
    for name, array in vars_of(load_model(cached.model)).items():
        np.testing.assert_array_equal(array, vars_of(load_model(streamed.model))[name])


def vars_of(model):
    return {"w0": model.w0, "w": model.w, "V": model.V}


def test_hashed_columns_are_trained_from_pipes(tmp_path):
    train, test = to_csv(ratings(1, 400)), to_csv(ratings(2, 60))
    from_files = TrainingTree(tmp_path / "files")
    describe(from_files, columns=HASHED, with_items=False, shuffle="false")
    expected = from_files.train()
    assert expected.code == 0, expected.errors

    from_pipes = TrainingTree(tmp_path / "pipes")
    from_pipes.hyperparameters(feature_dim=None, columns=json.dumps(HASHED), shuffle="false")
    for name in ("train", "test"):
        from_pipes.channel(name, {}, CSV_TABLE, TrainingInputMode="Pipe").rmdir()
    Platform(from_pipes, "train", gzip.compress(train), EPOCHS).start()
    Platform(from_pipes, "test", test, 1).start()
    got = from_pipes.train()

    assert (got.code, got.errors) == (0, ""), got
    assert value_at_test(got) == value_at_test(expected)
    for name, array in vars_of(load_model(from_files.model)).items():
        np.testing.assert_array_equal(array, vars_of(load_model(from_pipes.model))[name])
    assert load_model(from_pipes.model).feature_dim == 128


def test_a_mistake_in_a_pipe_names_the_fifo_and_the_line(tree):
    tree.hyperparameters(feature_dim=None, columns=json.dumps(HASHED))
    tree.channel("train", {}, CSV_TABLE, TrainingInputMode="Pipe").rmdir()
    Platform(tree, "train", b"rating,user,item,age\n1,a,b,3\nbad,a,b,4\n", 1).start()

    assert tree.train().code == 1
    assert tree.failure.startswith(
        "ClientError: train channel, train_0, line 3: column rating: bad is not a number; empty "
        "means missing"
    )


def test_a_stop_while_a_pipe_is_read_leaves_the_model_so_far(tree):
    changes = {"mini_batch_size": "50000", "shuffle": "false"}
    tree.hyperparameters(feature_dim=None, columns=json.dumps(HASHED), **changes)
    directory = tree.channel("train", {}, CSV_TABLE, TrainingInputMode="Pipe")
    directory.rmdir()
    os.mkfifo(directory.with_name("train_0"))
    process = tree.start()
    with directory.with_name("train_0").open("wb") as fifo:  # waits for the reader
        # Two blocks and more, and the end of what is there is in the middle of a line.
        fifo.write((to_csv(ratings(1, 4000)) + b"2,u1,i2,\n" * 2_000_000)[:-5])
        fifo.flush()
        for line in process.stdout:
            if "epoch=0, batch=0 train" in line:
                break
        process.send_signal(signal.SIGTERM)
        outcome = finish(process)

    assert outcome.code == 0, outcome
    assert tree.failure is None
    assert any("stopped by SIGTERM" in line for line in outcome.lines)
    assert np.isfinite(load_stored_model(tree.model).model.V).all()


def test_a_stopped_job_goes_on_where_it_was(tree, tmp_path):
    whole = TrainingTree(tmp_path / "whole")
    for job in (tree, whole):
        describe(job, epochs="150", mini_batch_size="10", keep_seen="true")
    whole.run()
    (tree.base / "checkpoints").mkdir()
    process = tree.start()
    for line in process.stdout:
        if "epoch=2, train rmse" in line:
            break
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)
    between = model_bytes(tree)
    tree.run()

    assert outcome.code == 0, outcome
    assert load_stored_model(tree.model).tables is not None
    assert between != model_bytes(tree)
    assert model_bytes(tree) == model_bytes(whole)


def test_a_checkpoint_of_other_tables_is_refused(tree):
    describe(tree)
    (tree.base / "checkpoints").mkdir()
    tree.run()
    other = items()
    other["price"][3] = 100
    tree.channel("items", {"items": to_csv(other)}, CSV_TABLE)

    assert tree.train().code == 1
    assert "is of a job with other rows: train channel: 400 rows with " in tree.failure


def test_a_stop_while_learning_leaves_nothing(tree):
    """A file of a third of a gigabyte, which takes seconds to read."""
    describe(tree, with_items=False, columns=HASHED | {"user": "category"})
    header, _, rest = to_csv(ratings(1, 20_000)).partition(b"\n")
    directory = tree.channel(
        "train",
        {"a": gzip.compress(header + b"\n"), "b": b""},
        CSV_TABLE,
    )
    (directory / "a").write_bytes(gzip.compress(header + b"\n") + gzip.compress(rest, 1) * 800)
    process = tree.start()
    opened = str((directory / "a").resolve())
    while opened not in open_files(process):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)

    assert outcome.code == 0, outcome
    assert tree.failure is None
    assert not tree.model.exists() or list(tree.model.iterdir()) == []
    (line,) = outcome.lines
    assert line.endswith("stopped before training began: no model is written")


def open_files(process):
    found = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(str(link.readlink()))
    return found


def test_a_stop_before_anything_is_read_is_heard(tree):
    describe(tree)
    stopped = threading.Event()
    stopped.set()
    train_job.run(Paths(tree.base), stopped)

    assert not tree.model.exists()


@pytest.mark.parametrize("has_channel", [True, False], ids=["channel", "split"])
def test_the_best_epoch_is_kept(tree, has_channel):
    changes = {"early_stopping_patience": "2", "epochs": "40", "factors_lr": "0.5"}
    if not has_channel:
        changes["validation_split"] = "0.2"
    describe(tree, **changes)
    if has_channel:
        tree.channel("validation", {"a": to_csv(ratings(3, 60))}, CSV_TABLE)
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    assert any("the best" in line for line in outcome.lines)
    assert load_stored_model(tree.model).tables.encoder.feature_dim == 61


@pytest.mark.parametrize("optimizer", ["mcmc", "als"])
def test_sweeps_learn_from_tables_too(tree, optimizer):
    describe(tree, optimizer=optimizer, epochs="10", linear_lr=None, factors_lr=None)
    outcome = tree.train()

    assert outcome.code == 0, outcome.errors
    assert value_at_test(outcome) < 1.5


@pytest.mark.parametrize("optimizer", ["adam", "als"])
def test_weights_count(tmp_path, optimizer):
    columns = COLUMNS | {"times": "weight"}
    saved = {}
    for name, weights in (("none", None), ("ones", [1] * 400), ("other", [1, 3] * 200)):
        tree = TrainingTree(tmp_path / name)
        describe(tree, optimizer=optimizer)
        if weights is not None:
            describe(tree, columns=columns, optimizer=optimizer)
            for channel, seed, number in (("train", 1, 400), ("test", 2, 60)):
                table = ratings(seed, number) | {"times": weights[:number]}
                tree.channel(channel, {"a": to_csv(table)}, CSV_TABLE)
        tree.run()
        saved[name] = load_model(tree.model).V

    np.testing.assert_array_equal(saved["none"], saved["ones"])
    assert (saved["none"] != saved["other"]).any()


def features_of(stored):
    names = stored.tables.encoder.get_feature_names_out()
    return dict(zip(names, stored.model.V, strict=True))


def test_a_model_of_tables_can_be_gone_on_with(tree, tmp_path):
    """Values keep their parameters wherever their features are now."""
    describe(tree)
    tree.run()
    later = TrainingTree(tmp_path / "later")
    describe(later, **FROZEN)
    table = ratings(1, 400)
    table["user"] = [user if user != "u3" else "brand-new" for user in table["user"]]
    later.channel("train", {"a": to_csv(table)}, CSV_TABLE)
    later.channel(
        "model", {"model.safetensors": model_bytes(tree)}, "application/x-sagemaker-model"
    )
    outcome = later.train()

    assert outcome.code == 0, outcome.errors
    assert any(
        "starting from the model of the model channel, 61 features" in line
        for line in outcome.lines
    )
    before, after = (features_of(load_stored_model(each.model)) for each in (tree, later))
    assert after.keys() - before.keys() == {"user=brand-new"}
    assert before.keys() - after.keys() == set()
    for name, factors in before.items():
        np.testing.assert_array_equal(after[name], factors, err_msg=name)
    first, second = (load_stored_model(each.model).tables.encoder for each in (tree, later))
    for name in ("age", "price"):
        assert second.block_of[name].edges == first.block_of[name].edges
        assert second.block_of[name].mean == first.block_of[name].mean


def start_with(tree, files):
    tree.channel("model", files, "application/x-sagemaker-model")


def test_a_model_of_numbered_features_cannot_start_a_job_of_tables(tree, tmp_path):
    numbered = TrainingTree(tmp_path / "numbered")
    numbered.channel("train", {"a": Rows.draw(1, 50).csv})
    numbered.run()
    describe(tree)
    start_with(tree, {"model.safetensors": model_bytes(numbered)})

    assert refusal(tree).startswith("model channel: its model was trained on numbered features, so")


def test_a_model_of_tables_cannot_start_a_job_of_numbered_features(tree, tmp_path):
    describe(tree)
    tree.run()
    numbered = TrainingTree(tmp_path / "numbered")
    numbered.hyperparameters(feature_dim="100")
    numbered.channel("train", {"a": b"1" + b",0" * 100 + b"\n"})
    start_with(numbered, {"model.safetensors": model_bytes(tree)})

    assert refusal(numbered).startswith("model channel: its model was trained on tables; give")


def test_a_column_cannot_become_another_kind(tree, tmp_path):
    describe(tree)
    tree.run()
    later = TrainingTree(tmp_path / "later")
    describe(later, columns=COLUMNS | {"age": "number"})
    start_with(later, {"model.safetensors": model_bytes(tree)})

    assert "column age is a number, but in the earlier model it is a bins" in refusal(later)


def refusal(tree):
    """What the failure file of the real program says, without the kind of failure."""
    outcome = tree.train()
    assert outcome.code == 1
    kind, _, reason = tree.failure.partition(": ")
    assert kind == "ClientError", outcome.lines
    return reason


def raised(tree):
    """What a job that cannot work says, without a process of its own."""
    with pytest.raises(train_job.UserError) as error:
        tree.run()
    return error.value.message


def channel_of(name, content, content_type=CSV_TABLE, **described):
    return lambda tree: tree.channel(name, {"ratings": content}, content_type, **described)


def drop(table, *names):
    return {name: cells for name, cells in table.items() if name not in names}


def change(**described):
    return lambda tree: describe(tree, **described)


def several(*spoils):
    return lambda tree: [spoil(tree) for spoil in spoils]


WRONG_AGE = ratings(1, 8)
WRONG_AGE["age"][5] = "n/a"
TWICE = items()
TWICE["item"][7] = "i3"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            channel_of("train", to_csv(WRONG_AGE)),
            "train channel, ratings, line 7: column age: 'n/a' is not a number; empty means",
        ),
        (
            channel_of("train", WRITERS[JSON_LINES](WRONG_AGE), JSON_LINES),
            "train channel, ratings, line 6: column age: 'n/a' is not a number; empty means",
        ),
        (
            channel_of("test", to_csv(drop(ratings(1, 8), "rating", "age"))),
            "test channel, ratings, no column rating, age, which the training table has; found are "
            "user, item",
        ),
        (
            channel_of("test", to_csv(ratings(1, 8) | {"ago": [1] * 8})),
            "test channel, ratings, column ago is not in the training table, which has rating, ",
        ),
        (
            several(
                change(predictor_type="binary_classifier"),
                channel_of("train", b"rating,user,item,age\n1,u1,i1,4\n3,u1,i1,4\n"),
            ),
            "train channel, ratings, line 3: column rating: label 3 is not 0 or 1, the labels of a",
        ),
        (
            channel_of("train", to_csv(drop(ratings(1, 8), "rating"))),
            "columns names rating, which no table has; there are age, genres, item, price, user",
        ),
        (
            channel_of("train", to_csv(ratings(1, 8) | {"ts": [1] * 8})),
            "columns does not say what ts is: name it, as ",
        ),
        (
            channel_of("train", to_csv(ratings(1, 8)).partition(b"\n")[2]),
            "train channel, ratings, line 1: '",
        ),
        (
            channel_of("train", b"rating,user,item,user\n1,2,3,4\n"),
            "train channel, ratings, two columns are named 'user', expected different names",
        ),
        (
            channel_of("train", b"rating,user,item,age\n1,2,3\n"),
            "train channel, ratings, line 2: 3 columns, expected 4 as in the header",
        ),
        (
            channel_of("train", b"rating,user,item,age\n,u1,i1,4\n"),
            "train channel, ratings, line 2: column rating: a label is missing",
        ),
        (channel_of("train", b"rating,user,item,age\n"), "train channel is empty: no rows in 1 fi"),
        (
            channel_of("items", to_csv(TWICE)),
            "the items table: column item: 'i3' stands in more than one row, expected each key",
        ),
        (
            channel_of("items", b"item,genres,price\ni1,War,cheap\n"),
            "items channel, ratings, line 2: column price: cheap is not a number; empty means",
        ),
        (
            channel_of("items", b"number,genres,price\n1,War,1\n"),
            "columns does not say what number is",
        ),
        (
            channel_of("items", to_csv(drop(items(), "item"))),
            "the items table shares no column with the training table, expected one, its key; it ",
        ),
        (
            channel_of("train", gzip.compress(WRITERS[PARQUET](ratings(1, 8))), PARQUET),
            "train channel, ratings, this is gzip, expected Parquet as it is: its columns are ",
        ),
        (
            channel_of("train", b"PAR1 and no more", PARQUET),
            "train channel, ratings, this is no Parquet file: ",
        ),
        (
            channel_of("train", gzip.compress(to_csv(ratings(1, 400)))[:-20]),
            "train channel, ratings: the gzip data is damaged: ",
        ),
    ],
)
def test_a_table_that_is_wrong_is_told(tree, spoil, told):
    describe(tree)
    directory = tree.base / "input" / "data"
    for path in (directory / "train" / "a", directory / "test" / "a"):
        path.rename(path.with_name("z"))
    spoil(tree)
    for path in directory.glob("*/[az]*"):
        if (path.parent / "ratings").exists():
            path.unlink()
    (directory / "items" / "ratings").exists() and (directory / "items" / "items").unlink()

    assert told in raised(tree)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            channel_of("train", b"", "text/csv"),
            "train channel: ContentType is text/csv; with columns, allowed are "
            "application/x-parquet, text/csv;header=present, application/jsonlines; the first line "
            "of a CSV table names its columns",
        ),
        (
            channel_of("train", b"", None),
            "train channel: ContentType is application/x-recordio-protobuf; with columns, allowed",
        ),
        (
            channel_of("train", b"", PARQUET, TrainingInputMode="Pipe"),
            "train channel: TrainingInputMode is Pipe; Parquet needs File or FastFile mode",
        ),
        (
            channel_of("items", b"", CSV_TABLE, TrainingInputMode="Pipe"),
            "items channel: TrainingInputMode is Pipe; a table to be joined needs File or FastFile",
        ),
        (
            several(
                channel_of("train", b"", CSV_TABLE, TrainingInputMode="Pipe"),
                channel_of("items", b"", CSV_TABLE),
            ),
            "a train channel in Pipe mode: nobody sees all rows beforehand, to learn what the "
            'values are; allowed with user, item, genres, age, price as {"hash": BITS}, no items '
            "channel; else use one host and File or FastFile mode",
        ),
        (
            lambda tree: tree.config("resourceconfig", {"current_host": "a", "hosts": ["a", "b"]}),
            "2 hosts: nobody sees all rows beforehand",
        ),
        (
            lambda tree: tree.hyperparameters(),
            "train channel: a table (text/csv;header=present) needs the hyperparameter columns",
        ),
        (
            several(
                change(
                    columns={"rating": "label", "a": "category", "b": "category"},
                    with_items=False,
                    keep_seen="true",
                ),
                lambda tree: tree.channel("train", {"a": b"rating,a,b\n1,u1,i1\n"}, CSV_TABLE),
            ),
            "keep_seen=true: it is not clear which columns are users and items; name them user and",
        ),
        (
            change(columns=HASHED, with_items=False, keep_seen="true"),
            "keep_seen=true: column item is a hash, so its values have no numbers; make it a",
        ),
    ],
)
def test_a_job_that_cannot_be_is_told_before_it_reads(tree, spoil, told):
    tree.hyperparameters(feature_dim=None, columns=json.dumps(COLUMNS))
    tree.channel("train", {"ratings": to_csv(ratings(1, 9))}, CSV_TABLE)
    spoil(tree)

    assert told in raised(tree)


def test_an_items_channel_without_columns_is_told(tree):
    tree.channel("train", {"a": Rows.draw(1, 10).csv})
    tree.channel("items", {"a": b""}, JSON_LINES)

    assert raised(tree).startswith("items channel: a table (application/jsonlines) needs the hyper")


def test_threads_do_not_show(tmp_path):
    saved = []
    for num_threads in ("1", "2"):
        tree = TrainingTree(tmp_path / num_threads)
        describe(tree, num_threads=num_threads)
        tree.run()
        saved.append(load_stored_model(tree.model))

    np.testing.assert_array_equal(saved[0].model.V, saved[1].model.V)
    batch = pa.record_batch(ratings(4, 9))
    one, other = (ArrowEncoder(each.tables.encoder).encode(batch, labelled=True) for each in saved)
    np.testing.assert_array_equal(one.indices, other.indices)
