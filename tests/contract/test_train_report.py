"""What a job says of its data and its model: the log, the report, metrics.json, TensorBoard."""

import json
import re
import signal
import struct

import numpy as np
import pytest
from host_trees import HostTrees
from training_tree import Rows, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model

TRAIN, HELD_OUT = Rows.draw(1, 400), Rows.draw(2, 100)
CLASSES, HELD_OUT_CLASSES = Rows.draw(3, 400, classes=True), Rows.draw(4, 100, classes=True)
LEARNS = {"epochs": "20", "linear_lr": "0.02", "factors_lr": "0.02"}


@pytest.fixture
def tree(tmp_path):
    tree = TrainingTree(tmp_path / "ml", has_report=True)
    tree.hyperparameters(**LEARNS)
    tree.channel("train", {"a.csv": TRAIN.csv})
    return tree


def output(tree):
    return tree.base / "output" / "data"


def numbers(tree):
    return json.loads((output(tree) / "metrics.json").read_text())


def page(tree):
    return (output(tree) / "report.html").read_text()


def warnings(outcome):
    return [line.partition("] ")[2] for line in outcome.lines if "WARNING" in line]


def told(outcome, text):
    return [line for line in outcome.lines if text in line]


def last_value(outcome, what):
    found = [line for line in outcome.lines if f" {what} <" in line]
    return float(found[-1].rpartition("=")[2])


def test_a_regressor_is_reported_with_the_numbers_of_its_log(tree):
    tree.channel("validation", {"a.csv": HELD_OUT.csv})
    tree.channel("test", {"a.csv": HELD_OUT[:50].csv})
    outcome = tree.train()
    found = numbers(tree)

    assert outcome.code == 0
    assert outcome.errors == ""
    assert warnings(outcome) == []
    for place in ("train", "validation", "test"):
        assert found["metrics"][place]["rmse"] == last_value(outcome, f"{place} rmse")
    assert [epoch["epoch"] for epoch in found["epochs"]] == list(range(20))
    assert found["verdict"]["is_better"] is True
    assert (found["verdict"]["place"], found["verdict"]["num_rows"]) == ("validation", 100)
    assert found["verdict"]["loss"] == pytest.approx(
        last_value(outcome, "validation rmse"), rel=1e-5
    )
    assert found["data"]["label_mean"] == pytest.approx(TRAIN.labels.mean())
    assert found["hyperparameters"]["linear_lr"] == 0.02
    assert found["peak_memory_bytes"] > 10 << 20
    for title in ("Residuals", "Learning curve: rmse", "Map of the factors"):
        assert f">{title}<" in page(tree)
    assert "<script" not in page(tree)


def test_a_classifier_is_reported(tree):
    tree.hyperparameters(predictor_type="binary_classifier", validation_split="0.2", **LEARNS)
    tree.channel("train", {"a.csv": CLASSES.csv})
    tree.channel("test", {"a.csv": HELD_OUT_CLASSES.csv})
    outcome = tree.train()

    assert warnings(outcome) == []
    assert numbers(tree)["metrics"]["test"]["roc_auc_score"] > 0.7
    assert all(f">{title}<" in page(tree) for title in ("Calibration", "ROC curve"))


def test_features_of_tables_are_named(tree):
    random = np.random.default_rng(8)
    users, films = random.choice(["ann", "bob", "cy"], 300), random.choice(["Alien", "Brazil"], 300)
    labels = (users == "bob") * 2.0 + (films == "Alien") + random.normal(0, 0.1, 300)
    lines = ["rating,user,film", *map("{:.3f},{},{}".format, labels, users, films)]
    tree.channel("train", {"a.csv": "\n".join(lines).encode()}, "text/csv;header=present")
    columns = {"rating": "label", "user": "category", "film": "category"}
    tree.hyperparameters(feature_dim=None, columns=json.dumps(columns), **LEARNS)
    outcome = tree.train()

    assert outcome.code == 0
    assert warnings(outcome) == []
    for text in ("user=bob", "film=Alien", "user=bob × film=Alien", "user", "film"):
        assert f">{text}<" in page(tree)


def test_positives_that_weigh_more_make_no_bad_model(tree):
    """Their probabilities are too high for the rows as they are, and the log loss tells so."""
    tree.hyperparameters(
        predictor_type="binary_classifier", positive_weight="20", validation_split="0.2", **LEARNS
    )
    tree.channel("train", {"a.csv": CLASSES.csv})
    outcome = tree.train()

    assert warnings(outcome) == []
    assert numbers(tree)["verdict"]["positive_weight"] == 20


def test_the_best_epochs_metrics_are_reported(tree):
    tree.hyperparameters(early_stopping_patience="2", epochs="300", linear_lr="0.2")
    tree.channel("validation", {"a.csv": HELD_OUT.csv})
    outcome = tree.train()
    found = numbers(tree)["metrics"]["validation"]["rmse"]

    assert any("the best" in line for line in outcome.lines)
    assert found == last_value(outcome, "validation rmse")
    assert ">saved model<" in page(tree)


def test_the_report_can_be_left_out(tree):
    tree.hyperparameters(report="false", **LEARNS)
    outcome = tree.train()

    assert outcome.code == 0
    assert len(told(outcome, "training data: 400 rows")) == 1
    assert not output(tree).exists()


def test_data_are_told_once_in_log_and_report(tree):
    features = np.column_stack([np.full(50, 2), np.arange(50), np.zeros((50, 4))])
    features[:, 1] *= 100
    rows = Rows(features.astype(np.float32), np.arange(50, dtype=np.float32))
    twice = Rows(np.tile(rows.features, (2, 1)), np.tile(rows.labels, 2))
    tree.channel("train", {"a.csv": twice.csv})
    outcome = tree.train()
    (line,) = told(outcome, "training data: ")

    assert "INFO" in line
    for text in (
        "100 rows with ",
        "labels from 0 to 49, mean 24.5, ",
        "4 of 6 features never occur",
        "1 features have one value in all rows: 0",
        "1 features have values beyond 100: 1 (4900)",
        "50 of the first 100 rows repeat an earlier one",
    ):
        assert text in line
    assert "4 of 6 features never occur." in page(tree)


@pytest.mark.parametrize("budget", [None, "1"])
def test_rows_that_do_not_fit_are_told_too(tree, budget):
    many = Rows.draw(5, 90_000)
    tree.channel("train", {"a.csv": many.csv})
    tree.hyperparameters(**LEARNS | {"memory_budget_mb": budget, "epochs": "2"})
    outcome = tree.train()
    (line,) = told(outcome, "training data: ")

    assert outcome.code == 0
    assert "90000 rows" in line
    assert len(told(outcome, "read again each epoch")) == (budget is not None)
    assert numbers(tree)["data"]["label_mean"] == pytest.approx(many.labels.mean(), rel=1e-4)


def test_one_label_is_a_warning_at_the_start(tree):
    tree.channel("train", {"a.csv": Rows(TRAIN.features, np.full(400, 3, np.float32)).csv})
    outcome = tree.train()

    assert warnings(outcome)[0] == (
        "all labels of the training rows are 3: there is nothing to learn from them"
    )


def one_hot(labels):
    """Rows of one user and one item out of three, whatever the labels."""
    random = np.random.default_rng(6)
    features = np.zeros((len(labels), 6), np.float32)
    features[np.arange(len(labels)), random.integers(0, 3, len(labels))] = 1
    features[np.arange(len(labels)), 3 + random.integers(0, 3, len(labels))] = 1
    return features


def bad_fits():
    random = np.random.default_rng(7)
    far = (25 + 5 * random.normal(size=2000)).astype(np.float32)
    unscaled = (1000 * random.normal(3, 1, (2000, 6))).astype(np.float32)
    labels = (unscaled @ [1e-3, 0, -1e-3, 0, 5e-4, 0] + random.normal(size=2000)).astype(np.float32)
    users = one_hot(far)
    near = Rows(users, (users @ [1, 2, 3, 0, 1, 0]).astype(np.float32))
    default = {"linear_lr": None, "factors_lr": None}
    return {
        "labels far from 0": (
            Rows(users, far),
            default | {"optimizer": "rowwise_adagrad", "epochs": "10", "mini_batch_size": "100"},
            r"bias is far from the labels' mean: scores average \S+, labels 2[45]\S*: "
            "set bias_init_method=mean",
        ),
        "rates too low": (
            near,
            {"linear_lr": "1e-8", "factors_lr": "1e-8", "epochs": "30", "mini_batch_size": "50",
             "linear_init_sigma": "0"},
            r"the rates are too low \(linear_lr=1e-08, factors_lr=1e-08\): after 1200 steps .*: "
            "raise linear_lr and factors_lr tenfold or more",
        ),
        "too few epochs": (
            Rows(users, far),
            default | {"epochs": "1", "mini_batch_size": "200"},
            "after only 10 steps: set bias_init_method=mean, and raise epochs",
        ),
        "unscaled columns": (
            Rows(unscaled, labels),
            default | {"epochs": "10", "mini_batch_size": "100"},
            r"columns are not scaled, 6 with values beyond 100: feature \d \(\d+\S*\), .*: "
            "divide each by its largest value or its deviation",
        ),
    }  # fmt: skip


BAD_FITS = bad_fits()


@pytest.mark.parametrize("name", BAD_FITS)
def test_a_model_that_is_no_good_ends_with_a_warning_that_says_why(tree, name):
    rows, hyperparameters, reason = BAD_FITS[name]
    tree.channel("train", {"a.csv": rows.csv})
    tree.hyperparameters(**hyperparameters)
    outcome = tree.train()
    (warning,) = warnings(outcome)

    assert outcome.code == 0
    assert warning.startswith("the model is no better than a constant: rmse ")
    assert re.search(reason, warning), warning
    assert numbers(tree)["verdict"]["is_better"] is False
    assert "The model is no better than a constant: " in page(tree)


def test_a_start_at_the_mean_mends_labels_far_from_0(tree):
    rows, hyperparameters, _ = BAD_FITS["labels far from 0"]
    tree.channel("train", {"a.csv": rows.csv})
    tree.hyperparameters(**hyperparameters | {"bias_init_method": "mean"})
    outcome = tree.train()

    assert last_value(outcome, "train rmse") < 1.01 * rows.labels.std()
    assert load_model(tree.model).w0[0] == pytest.approx(rows.labels.mean(), rel=0.05)


def test_a_start_at_the_mean_survives_an_interruption(tmp_path):
    """The bias comes from a checkpoint then, and rows that are read again start there too."""
    models = []
    for name, epochs in (("whole", ["4"]), ("parts", ["2", "4"])):
        tree = TrainingTree(tmp_path / name, has_report=True)
        tree.channel("train", {"a.csv": TRAIN.csv})
        (tree.base / "checkpoints").mkdir()
        for number in epochs:
            tree.hyperparameters(epochs=number, bias_init_method="mean", memory_budget_mb="1")
            assert tree.train().code == 0
        models.append(load_model(tree.model))

    np.testing.assert_array_equal(models[0].w0, models[1].w0)
    np.testing.assert_array_equal(models[0].V, models[1].V)


def without(tmp_path, package):
    """An environment in which a package is not installed."""
    (tmp_path / "missing").mkdir()
    code = f"raise ModuleNotFoundError(\"No module named '{package}'\")\n"
    (tmp_path / "missing" / f"{package}.py").write_text(code)
    return {"PYTHONPATH": str(tmp_path / "missing")}


def test_without_matplotlib_a_job_says_so_and_goes_on(tree, tmp_path):
    outcome = tree.train(**without(tmp_path, "matplotlib"))

    assert outcome.code == 0
    assert warnings(outcome) == [
        "no report.html is written: No module named 'matplotlib'; pip install 'fm-algo[report]'"
    ]
    assert [path.name for path in output(tree).iterdir()] == ["metrics.json"]


def test_a_report_that_fails_fails_no_job(tree):
    (tree.base / "output").mkdir()
    output(tree).write_text("in the way")
    outcome = tree.train()
    (warning,) = warnings(outcome)

    assert outcome.code == 0
    assert tree.failure is None
    assert warning.startswith("no report is written: FileExistsError: ")
    assert load_model(tree.model).num_factors == 3


@pytest.mark.parametrize("budget", [None, "1"])
def test_a_stopped_job_writes_its_report(tree, budget):
    tree.hyperparameters(epochs="100000000", memory_budget_mb=budget)
    tree.channel("train", {"a.csv": Rows.draw(5, 90_000).csv})
    process = tree.start()
    for line in process.stdout:
        if "epoch=0, train rmse" in line:
            break
    process.send_signal(signal.SIGTERM)
    outcome = finish(process)

    assert outcome.code == 0
    assert any("stopped by SIGTERM" in line for line in warnings(outcome))
    assert numbers(tree)["epochs"]
    assert ">Learning curve: rmse<" in page(tree)


def events(directory):
    """Tag, step and value of each event; the frame is TFRecord's."""
    from tensorboardX.proto.event_pb2 import Event

    (path,) = directory.iterdir()
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack_from("<Q", data)
        event = Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]
        for value in event.summary.value:
            text = b"".join(value.tensor.string_val).decode()
            found.append((value.tag, event.step, text or value.simple_value))
    return found


@pytest.mark.parametrize("asked", ["by the directory", "by the hyperparameter"])
def test_tensorboard_gets_the_metrics_of_the_log(tree, asked):
    directory = tree.base / "output" / "tensorboard"
    if asked == "by the directory":
        directory.mkdir(parents=True)
    chosen = {"tensorboard": "true"} if asked == "by the hyperparameter" else {}
    tree.hyperparameters(**LEARNS, batch_metrics_publish_interval="10", **chosen)
    tree.channel("validation", {"a.csv": HELD_OUT.csv})
    outcome = tree.train()
    found = events(directory)
    values = {(tag, step): value for tag, step, value in found}

    assert warnings(outcome) == []
    assert values["train/rmse", 19] == pytest.approx(last_value(outcome, "train rmse"))
    assert values["validation/rmse", 19] == pytest.approx(last_value(outcome, "validation rmse"))
    assert [step for tag, step, _ in found if tag == "batch/rmse"] == list(range(0, 400, 10))
    (text,) = (value for tag, _, value in found if tag.startswith("hyperparameters"))
    assert "| linear_lr | 0.02 |" in text


@pytest.mark.parametrize("chosen", [{}, {"tensorboard": "false"}])
def test_without_being_asked_no_events_are_written(tree, chosen):
    if chosen:
        (tree.base / "output" / "tensorboard").mkdir(parents=True)
    tree.hyperparameters(**LEARNS, **chosen)
    tree.train()

    assert list((tree.base / "output").glob("tensorboard/*")) == []


def test_without_tensorboard_x_a_job_says_so_and_goes_on(tree, tmp_path):
    tree.hyperparameters(**LEARNS, tensorboard="true")
    outcome = tree.train(**without(tmp_path, "tensorboardX"))

    assert outcome.code == 0
    assert warnings(outcome) == [
        "TensorBoard's events are not written: No module named 'tensorboardX'; "
        "pip install 'fm-algo[tensorboard]'"
    ]


def test_events_that_cannot_be_written_fail_no_job(tree):
    (tree.base / "output").mkdir()
    (tree.base / "output" / "tensorboard").write_text("in the way")
    tree.hyperparameters(**LEARNS, tensorboard="true")
    outcome = tree.train()

    assert outcome.code == 0
    (warning,) = warnings(outcome)
    assert warning.startswith("TensorBoard's events are not written to ")


@pytest.mark.hosts
@pytest.mark.parametrize("num_factors", ["3", "24"])
def test_hosts_start_at_the_mean_of_all_and_the_first_one_reports(tmp_path, num_factors):
    """No step is made: the bias that is saved is the one that training begins with."""
    shards = [TRAIN[:100], TRAIN[100:]]

    def describe(tree, number):
        tree.hyperparameters(
            num_factors=num_factors,
            bias_init_method="mean",
            bias_lr="0",
            bias_wd="0",
            epochs="2",
            report=None,
        )
        tree.channel("train", {"a.csv": shards[number].csv}, S3DistributionType="ShardedByS3Key")

    trees = HostTrees(tmp_path, 2, describe)
    outcomes = trees.train()

    assert [outcome.code for outcome in outcomes] == [0, 0]
    assert trees.model().w0[0] == pytest.approx(TRAIN.labels.mean(), rel=1e-5)
    assert numbers(trees.trees[0])["data"]["num_rows"] == 100
    assert not output(trees.trees[1]).exists()
    assert len(told(outcomes[0], "training data of this host: 100 rows")) == 1
    assert told(outcomes[1], "training data") == []
