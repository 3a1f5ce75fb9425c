"""Training jobs that work: the real `train` on a tree like /opt/ml."""

import gzip
import json
import re
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import safetensors
from training_tree import FEATURE_DIM, ROOT, Outcome, Rows, TrainingTree, finish

from fm_algo.artifacts.artifact import load_model
from fm_algo.sparse import CSRBatch
from fm_algo.training.metrics import metrics_for

TRAIN, TEST, VALIDATION = Rows.draw(1, 200), Rows.draw(2, 60), Rows.draw(3, 40)
CLASSES, TEST_CLASSES = Rows.draw(4, 200, classes=True), Rows.draw(5, 60, classes=True)

# What the platform knows by itself of its own images: names and regular expressions.
QUALITY = r"#quality_metric: host=\S+, "
TEXTS = {
    "rmse": "rmse <loss>",
    "mse": "mse <loss>",
    "absolute_loss": "absolute_loss <loss>",
    "binary_classification_accuracy": "binary_classification_accuracy <score>",
    "binary_classification_cross_entropy": "binary_classification_cross_entropy <loss>",
    "binary_f_beta": r"binary_f_\S+ <score>",
}
DEFINITIONS = {
    "train:progress": r"#progress_metric: host=\S+, completed (\S+) %",
    "train:throughput": r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
}
for _name, _text in TEXTS.items():
    DEFINITIONS |= {
        f"test:{_name}": rf"{QUALITY}test {_text}=(\S+)",
        f"train:{_name}": rf"{QUALITY}train {_text}=(\S+)",
        f"validation:{_name}": rf"{QUALITY}validation {_text}=(\S+)",
        f"train:{_name}:epoch": rf"{QUALITY}epoch=\S+, train {_text}=(\S+)",
        f"train:{_name}:batch": rf"{QUALITY}epoch=\S+, batch=\S+ train {_text}=(\S+)",
    }
REGRESSION, CLASSIFICATION = list(TEXTS)[:3], list(TEXTS)[3:]


@dataclass(frozen=True)
class Job:
    """A job that was run, and how its input looked before and after."""

    tree: TrainingTree
    outcome: Outcome
    before: dict[str, object]
    after: dict[str, object]


def run_job(tree, **environment):
    before = snapshot(tree.base / "input")
    outcome = tree.train(**environment)
    return Job(tree, outcome, before, snapshot(tree.base / "input"))


def snapshot(folder):
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mtime_ns,
            path.is_file() and path.read_bytes(),
        )
        for path in folder.rglob("*")
    }


def set_writable(folder, *, writable):
    for path in [folder, *folder.rglob("*")]:
        path.chmod((0o755 if path.is_dir() else 0o644) if writable else path.stat().st_mode & 0o555)


def fill_regression(tree):
    """Every kind of file a channel may hold; the rows in the order of the paths are TRAIN's."""
    tree.hyperparameters(epochs="4")
    train = tree.channel(
        "train",
        {
            "a.csv": TRAIN[:50].csv,
            "b/c/part-00000": TRAIN[50:100].csv,
            "b/part-00001.csv.gz": gzip.compress(TRAIN[100:150].csv),
            "c.txt": TRAIN[150:].csv,
            "empty.csv": b"",
            ".hidden": b"no rows",
            "_SUCCESS": b"no rows",
            "_temporary/part-00000": b"no rows",
        },
        "Text/CSV; label_size=1",
        TrainingInputMode="FastFile",
        S3DistributionType="ShardedByS3Key",
    )
    test = tree.channel("test", {"test.libsvm": TEST.libsvm}, "text/libsvm")
    validation = tree.channel("validation", {"v.csv": VALIDATION.csv}, "text/csv")
    tree.config(
        "resourceconfig",
        {
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "network_interface_name": "eth0",
            "current_instance_type": "ml.c5.2xlarge",
            "current_group_name": "homogeneousCluster",
            "instance_groups": [{"instance_group_name": "homogeneousCluster", "hosts": ["algo-1"]}],
            "of_the_future": {"what": ["ever"]},
        },
    )
    tree.config("debughookconfig", b"not even JSON")
    tree.config("of_the_future", {})
    return train, test, validation


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    tree = TrainingTree(tmp_path_factory.mktemp("regression") / "ml", has_report=True)
    fill_regression(tree)
    data = tree.base / "input" / "data"
    set_writable(data, writable=False)
    yield run_job(tree)
    set_writable(data, writable=True)


@pytest.fixture(scope="module")
def classification(tmp_path_factory):
    """As the SDK's `record_set` and script mode describe a job: no content type, JSON strings."""
    folder = tmp_path_factory.mktemp("classification")
    tree = TrainingTree(folder / "ml", has_report=True)
    tree.hyperparameters(
        predictor_type='"binary_classifier"',
        epochs="2",
        batch_metrics_publish_interval="3",
        use_bias="true",
        clip_gradient="null",
        sagemaker_program='"train.py"',
        _tuning_objective_metric="test:binary_f_beta",
    )
    tree.channel(
        "train",
        {
            "matrix_0.pbr": CLASSES[:100].recordio(folder, sparse=False),
            "matrix_1.pbr": CLASSES[100:].recordio(folder, sparse=True),
        },
        None,
    )
    tree.channel("test", {"matrix.pbr": TEST_CLASSES.recordio(folder, sparse=True)}, None)
    return run_job(tree, SAGEMAKER_CONTAINER_LOG_LEVEL="30")


@pytest.fixture(params=["regression", "classification"])
def job(request):
    return request.getfixturevalue(request.param)


def values_of(job, name):
    """What the platform would find by a metric definition: one number a line."""
    matches = [re.search(DEFINITIONS[name], line) for line in job.outcome.lines]
    return [float(match[1]) for match in matches if match]


def evaluated(model, rows):
    """Metrics of rows under a model, by its definition."""
    indptr = np.arange(len(rows.labels) + 1, dtype=np.int64) * FEATURE_DIM
    indices = np.tile(np.arange(FEATURE_DIM, dtype=np.int32), len(rows.labels))
    batch = CSRBatch(indptr, indices, rows.features.ravel(), rows.labels, FEATURE_DIM)
    sums = metrics_for(model.predictor_type)
    sums.update(model.margin(batch), rows.labels)
    return {
        metric.name.replace("f_1.000", "f_beta"): pytest.approx(metric.value, rel=1e-5)
        for metric in sums.results()
    }


def test_a_job_ends_with_0_and_a_model(job):
    assert job.outcome.code == 0
    assert job.outcome.errors == ""
    assert job.tree.failure is None
    model = load_model(job.tree.model)
    assert (model.feature_dim, model.num_factors) == (FEATURE_DIM, 3)


def test_a_job_on_the_cpu_never_loads_torch(tmp_path):
    tree = TrainingTree(tmp_path / "ml")
    tree.channel("train", {"a.csv": b"1,1,0,0,0,0,0\n"})
    code = """
import sys
from container.training import train_job
from fm_algo.training.gradient import select
select._DRIVER = ()
try:
    train_job.main()
finally:
    print(*sys.modules)
"""
    outcome = finish(tree.start(program=("-c", code), PYTHONPATH=str(ROOT)))
    loaded = set(outcome.lines[-1].split())

    assert outcome.code == 0
    assert "fm_algo.training.gradient.cpu" in loaded
    assert loaded & {"torch", "triton"} == set()


def test_the_model_says_how_it_was_trained(regression, classification):
    manifests = []
    for job in (regression, classification):
        with safetensors.safe_open(job.tree.model / "model.safetensors", "numpy") as opened:
            manifests.append(json.loads(opened.metadata()["fm_algo"]))

    assert [m["predictor_type"] for m in manifests] == ["regressor", "binary_classifier"]
    assert [m["hyperparameters"]["epochs"] for m in manifests] == [4, 2]


def test_only_the_model_is_written_and_all_may_read_it(job):
    written = {
        str(path.relative_to(job.tree.base))
        for path in job.tree.base.rglob("*")
        if "input" not in path.parts
    }

    reported = {"output", "output/data", "output/data/metrics.json", "output/data/report.html"}
    assert written == {"model", "model/model.safetensors"} | reported
    assert (job.tree.model / "model.safetensors").stat().st_mode & 0o444 == 0o444
    assert job.tree.model.stat().st_mode & 0o555 == 0o555


def test_the_input_is_only_read(job):
    assert job.after == job.before


def test_every_line_has_the_form_of_the_built_ins(job):
    prefix = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d (INFO|WARNING) \d+\] "
    number = r"-?\d+(\.\d+)?(e-?\d+)?"
    kinds = [
        rf"#quality_metric: host=algo-1, (epoch=\d+, (batch=\d+ )?)?(train|validation|test) "
        rf"[a-z_0-9.]+ <(loss|score)>={number}",
        r"#progress_metric: host=algo-1, completed \d+\.\d % of epochs",
        rf"#throughput_metric: host=algo-1, train throughput={number} records/second",
        rf"#test_score \(algo-1\) : \('[a-z_0-9.]+', {number}\)",
        r"fm-algo .*|training data: .*|model written to .*|report written to .*",
    ]
    for line in job.outcome.lines:
        if line.startswith("#metrics "):
            assert json.loads(line.removeprefix("#metrics ")).keys() == {
                *("StartTime", "EndTime", "Dimensions", "Metrics")
            }
        else:
            assert re.fullmatch(f"{prefix}({'|'.join(kinds)})", line), line


def test_no_metric_is_nan(job):
    assert not [line for line in job.outcome.lines if re.search(r"[=(, ](nan|-?inf)\b", line)]


def test_there_are_no_more_metric_definitions_than_the_platform_takes():
    assert len(DEFINITIONS) <= 40


def test_the_documented_metric_definitions_are_these():
    page = (ROOT / "docs" / "compatibility.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict = {}
    exec(block, names)  # noqa: S102 - what users copy from our own page

    documented = {each["Name"]: each["Regex"] for each in names["metric_definitions"]}
    assert documented == DEFINITIONS


@pytest.mark.parametrize("name", REGRESSION)
def test_the_platform_finds_every_metric_of_a_regressor(regression, name):
    check_metric(regression, name, num_epochs=4, num_batch_lines=4)
    (found,) = values_of(regression, f"test:{name}")
    assert found == evaluated(load_model(regression.tree.model), TEST)[name]


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_the_platform_finds_every_metric_of_a_classifier(classification, name):
    check_metric(classification, name, num_epochs=2, num_batch_lines=2 * 4)
    (found,) = values_of(classification, f"test:{name}")
    assert found == evaluated(load_model(classification.tree.model), TEST_CLASSES)[name]


def check_metric(job, name, *, num_epochs, num_batch_lines):
    epochs = values_of(job, f"train:{name}:epoch")

    assert len(epochs) == num_epochs
    assert values_of(job, f"train:{name}") == epochs[-1:]
    assert len(values_of(job, f"train:{name}:batch")) == num_batch_lines


def test_the_platform_finds_nothing_of_the_other_predictor_type(regression, classification):
    for job, others in ((regression, CLASSIFICATION), (classification, REGRESSION)):
        names = [name for name in DEFINITIONS if name.split(":")[1] in others]
        assert [name for name in names if values_of(job, name)] == []


def test_the_platform_finds_progress_and_throughput(job):
    progress = values_of(job, "train:progress")

    assert progress in ([25, 50, 75, 100], [50, 100])
    throughput = values_of(job, "train:throughput")
    assert len(throughput) == len(progress)
    assert min(throughput) > 0


def test_the_metrics_hang_together(regression):
    rmse, mse = (values_of(regression, f"train:{name}:epoch") for name in ("rmse", "mse"))

    assert np.square(rmse) == pytest.approx(mse, rel=1e-12)
    assert rmse[-1] < rmse[0]


def test_the_validation_channel_is_scored_each_epoch(regression):
    pattern = rf"{QUALITY}epoch=(\d), validation rmse <loss>=(\S+)"
    found = [re.search(pattern, line) for line in regression.outcome.lines]
    scores = {int(match[1]): float(match[2]) for match in found if match}

    assert list(scores) == [0, 1, 2, 3]
    assert scores[3] == evaluated(load_model(regression.tree.model), VALIDATION)["rmse"]


def test_a_classifier_has_its_area_under_the_curve(classification):
    (line,) = [
        line for line in classification.outcome.lines if "test roc_auc_score <score>=" in line
    ]

    assert float(line.partition("<score>=")[2]) > 0.5


def test_the_same_job_gives_the_same_bytes(regression, tmp_path):
    tree = TrainingTree(tmp_path / "again", has_report=True)
    shutil.copytree(regression.tree.base / "input", tree.base / "input", dirs_exist_ok=True)
    tree.run()

    path = "model/model.safetensors"
    assert (tree.base / path).read_bytes() == (regression.tree.base / path).read_bytes()


def trained(tree):
    """The parameters that a tree's job comes to, as bytes."""
    tree.run()
    model = load_model(tree.model)
    return [parameters.tobytes() for parameters in (model.w0, model.w, model.V)]


@pytest.fixture
def tree(tmp_path):
    return TrainingTree(tmp_path / "ml")


def test_the_number_of_threads_does_not_matter(tree):
    tree.channel("train", {"a.csv": TRAIN.csv})
    models = []
    for num_threads in ("1", "2", "64"):
        tree.hyperparameters(num_threads=num_threads)
        models.append(trained(tree))

    assert models[0] == models[1] == models[2]


def test_the_seed_matters(tree):
    tree.channel("train", {"a.csv": TRAIN.csv})
    tree.hyperparameters(seed="1")
    first = trained(tree)
    tree.hyperparameters(seed="2")

    assert trained(tree) != first


def test_every_format_and_any_cut_into_files_gives_the_same_model(tmp_path):
    formats = {
        "text/csv": TRAIN.csv,
        "text/libsvm": TRAIN.libsvm,
        "application/jsonlines": TRAIN.jsonlines,
        "application/x-recordio-protobuf": TRAIN.recordio(tmp_path, sparse=True),
        "application/x-recordio-protobuf;dense": TRAIN.recordio(tmp_path, sparse=False),
    }
    models = []
    for number, (content_type, content) in enumerate(formats.items()):
        tree = TrainingTree(tmp_path / str(number))
        tree.channel("train", {"rows": content}, content_type)
        models.append(trained(tree))
    tree = TrainingTree(tmp_path / "files")
    fill_regression(tree)
    tree.hyperparameters()
    models.append(trained(tree))

    assert [model == models[0] for model in models] == 6 * [True]


# Three clients write the same values differently; a tuner writes with point and exponent.
CLIENTS = {
    "python_sdk": {
        "predictor_type": "binary_classifier",
        "epochs": "3",
        "use_linear": "False",
        "eps": "",
    },
    "script_mode": {
        "predictor_type": '"binary_classifier"',
        "epochs": "3",
        "use_linear": "false",
        "eps": "null",
    },
    "model_trainer": {
        "predictor_type": "binary_classifier",
        "epochs": "3",
        "use_linear": "false",
        "eps": "null",
    },
    "tuner": {
        "predictor_type": "binary_classifier",
        "epoch": "3.0",
        "epochs": None,
        "use_linear": "False",
        "linear_lr": "1E-2",
        "_tuning_objective_metric": "test:binary_f_beta",
    },
}


def test_every_clients_way_of_writing_gives_the_same_model(tree):
    tree.channel("train", {"a.csv": CLASSES.csv})
    models = []
    for changes in CLIENTS.values():
        tree.hyperparameters(**changes)
        models.append(trained(tree))

    assert [model == models[0] for model in models] == 4 * [True]
    tree.hyperparameters(predictor_type="binary_classifier")
    assert trained(tree) != models[0]


def test_rows_that_overflow_a_score_are_no_metric_but_no_failure(tree, caplog):
    """The model is good; a row of the test channel is beyond what float32 can score."""
    caplog.set_level("INFO")
    tree.channel("train", {"a.csv": TRAIN.csv})
    tree.channel("test", {"a.csv": b"1" + b",3e38" * FEATURE_DIM + b"\n"})
    tree.channel("validation", {"a.csv": b"1" + b",3e38" * FEATURE_DIM + b"\n"})
    tree.run()

    assert load_model(tree.model)
    written = [line for line in caplog.messages if "#quality_metric" in line]
    assert any("train rmse" in line for line in written)
    assert not any("test rmse" in line or "validation rmse" in line for line in written)
    assert any("test rmse is" in line for line in caplog.messages)
