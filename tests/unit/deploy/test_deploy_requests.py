"""What the commands ask AWS for: as the AWS SDK asks for the built-in, as botocore's models say."""

import json
from pathlib import Path

import pytest

from deploy.cli import main

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {
    "FM_ROLE_ARN": "arn:aws:iam::123456789012:role/fm",
    "FM_BUCKET": "bucket",
    "FM_IMAGE_URI": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/fm-algo:latest",
}
HYPERPARAMETERS = (
    *("-H", "feature_dim=2625", "-H", "num_factors=64", "-H", "predictor_type=binary_classifier"),
    *("-H", "epochs=20", "-H", "factors_lr=0.001", "-H", "mini_batch_size=200"),
)
TRAINING = (
    *("--train", "s3://bucket/data/train.manifest", "--test", "s3://bucket/data/test.manifest"),
    *("--output", "s3://bucket/models", *HYPERPARAMETERS),
)
MODEL = ("--name", "fm", "--model", "s3://bucket/model.tar.gz")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def dry_run(capsys):
    """Run a command dry, which checks each call by botocore's own model of the service."""

    def run(*argv):
        code = main([argv[0], "--dry-run", *argv[1:]])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return run


@pytest.fixture
def refused(capsys):
    def run(*argv):
        assert main([argv[0], "--dry-run", *argv[1:]]) == 1
        return capsys.readouterr().err

    return run


@pytest.fixture(scope="module")
def sdk_requests():
    """Made by record_sdk_requests.py beside it, with version 2.257.7."""
    return json.loads((ROOT / "tests/data/deploy/sdk_requests.json").read_bytes())


def without_image_and_metrics(specification):
    return {
        k: v for k, v in specification.items() if k not in {"TrainingImage", "MetricDefinitions"}
    }


def test_train_sends_what_the_sdk_sends_for_the_built_in(dry_run, sdk_requests):
    (step,) = dry_run("train", "--name", "fm-1", *TRAINING)
    ours, theirs = step["parameters"], sdk_requests["CreateTrainingJob"]
    for request in (ours, theirs):
        specification = request["AlgorithmSpecification"]
        request["AlgorithmSpecification"] = without_image_and_metrics(specification)
    assert ours == theirs


def test_tune_sends_what_the_sdk_sends_for_the_built_in(dry_run, sdk_requests):
    searched = ("--range", "factors_lr", "--range", "epochs", "--objective")
    limits = ("--max-jobs", "4", "--max-parallel", "2")
    name = ("--name", "fm-tune")
    objective = "test:binary_classification_accuracy"
    (step,) = dry_run("tune", *name, *TRAINING, *searched, objective, *limits)
    ours, theirs = step["parameters"], sdk_requests["CreateHyperParameterTuningJob"]
    for request in (ours, theirs):
        definition = request["TrainingJobDefinition"]
        specification = definition["AlgorithmSpecification"]
        definition["AlgorithmSpecification"] = without_image_and_metrics(specification)
    assert ours == theirs


@pytest.mark.parametrize(
    "argv",
    [
        ["push"],
        ["train", *TRAINING, "--spot", "--checkpoints", "s3://bucket/checkpoints"],
        ["train", *TRAINING, "--input-mode", "FastFile", "--content-type", "text/csv"],
        ["tune", *TRAINING],
        ["tune", *TRAINING, "--range", "epochs=1:9:Linear", "--strategy", "Random"],
        ["endpoint", *MODEL],
        ["endpoint", *MODEL, "--serverless"],
        ["endpoint", *MODEL, "--async-output", "s3://bucket/answers", "--env", "A=b"],
        ["endpoint", "--name", "fm", "--model", "s3://bucket/models/", "--multi-model"],
        ["transform", *MODEL, "--input", "s3://bucket/in", "--strategy", "SingleRecord"],
        ["register-algorithm"],
        ["delete", "endpoint", "fm"],
        ["delete", "model", "fm"],
        ["delete", "algorithm", "fm"],
        ["delete", "repository", "fm"],
        ["delete", "training-job", "fm"],
        ["delete", "transform-job", "fm"],
        ["delete", "tuning-job", "fm"],
    ],
    ids=" ".join,
)
def test_every_call_fits_botocores_model_of_the_service(dry_run, argv):
    assert dry_run(*argv)


def test_a_call_that_does_not_fit_is_refused_by_the_dry_run(refused):
    message = refused("endpoint", *MODEL, "--instance-count", "0")
    assert "valid min value: 1" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("command", ["train", "tune"])
def test_a_model_to_start_from_goes_whole_to_every_machine(dry_run, command):
    model = "s3://bucket/models/fm-1/output/model.tar.gz"
    sharded = ("--input-mode", "Pipe", "--content-type", "text/csv", "--instance-count", "2")
    (step,) = dry_run(command, *TRAINING, *sharded, "--model", model)
    request = step["parameters"]
    channels = request.get("TrainingJobDefinition", request)["InputDataConfig"]
    assert [channel["ChannelName"] for channel in channels] == ["train", "test", "model"]
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": model,
        "S3DataDistributionType": "FullyReplicated",
    }
    assert channels[-1] == {
        "ChannelName": "model",
        "DataSource": {"S3DataSource": source},
        "ContentType": "application/x-sagemaker-model",
        "InputMode": "File",
    }
    assert all("InputMode" not in channel for channel in channels[:-1])


def test_a_local_model_to_start_from_is_uploaded(dry_run, tmp_path):
    file = tmp_path / "model.tar.gz"
    file.write_bytes(b"a model")
    upload, step = dry_run("train", *TRAINING, "--model", str(file))
    key = upload["parameters"]["Key"]
    source = step["parameters"]["InputDataConfig"][-1]["DataSource"]["S3DataSource"]
    assert key.endswith("/model.tar.gz")
    assert source["S3Uri"] == f"s3://bucket/{key.removesuffix('model.tar.gz')}"


def test_spot_asks_for_spot_machines_and_gives_them_time(dry_run):
    checkpoints = ("--checkpoints", "s3://bucket/c")
    (step,) = dry_run("train", *TRAINING, "--spot", "--max-runtime-s", "60", *checkpoints)
    request = step["parameters"]
    assert request["EnableManagedSpotTraining"] is True
    stopping = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 120}
    assert request["StoppingCondition"] == stopping
    assert request["CheckpointConfig"] == {"S3Uri": "s3://bucket/c"}


def test_hyperparameters_come_from_a_file_and_flags_go_before_it(dry_run, tmp_path):
    file = tmp_path / "hyperparameters.json"
    file.write_text('{"epochs": 3, "feature_dim": 9, "predictor_type": "regressor"}')
    data = ("--train", "s3://bucket/train")
    more = ("-H", "num_factors=2", "-H", "epochs=4")
    (step,) = dry_run("train", *data, "--hyperparameters", str(file), *more)
    found = step["parameters"]["HyperParameters"]
    expected = {"feature_dim": "9", "num_factors": "2", "predictor_type": "regressor"}
    assert found == expected | {"epochs": "4"}


def test_tune_searches_every_open_rate_and_decay_by_itself(dry_run):
    (step,) = dry_run("tune", *TRAINING)
    config = step["parameters"]["HyperParameterTuningJobConfig"]
    ranges = config["ParameterRanges"]
    names = [one["Name"] for one in ranges["ContinuousParameterRanges"]]
    assert names == ["bias_lr", "bias_wd", "linear_lr", "linear_wd", "factors_wd"]
    objective = {"Type": "Maximize", "MetricName": "test:binary_classification_accuracy"}
    assert config["HyperParameterTuningJobObjective"] == objective
    fixed = step["parameters"]["TrainingJobDefinition"]["StaticHyperParameters"]
    assert fixed["factors_lr"] == "0.001"


def test_tune_does_not_fix_what_it_searches(dry_run):
    (step,) = dry_run("tune", *TRAINING, "--range", "factors_lr=1e-5:0.1:Logarithmic")
    config = step["parameters"]["HyperParameterTuningJobConfig"]
    expected = {
        "Name": "factors_lr",
        "MinValue": "1e-5",
        "MaxValue": "0.1",
        "ScalingType": "Logarithmic",
    }
    assert config["ParameterRanges"]["ContinuousParameterRanges"] == [expected]
    fixed = step["parameters"]["TrainingJobDefinition"]["StaticHyperParameters"]
    assert "factors_lr" not in fixed


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tune", *TRAINING, "--range", "num_factors"], "--range num_factors: tunable are"),
        (["tune", *TRAINING, "--range", "epochs=1.5:2"], "two whole numbers, the lower first"),
        (["tune", *TRAINING, "--range", "bias_lr=2:1"], "two numbers, the lower first"),
        (["tune", *TRAINING, "--range", "bias_lr=1:2:Log"], "SCALE one of Auto, Linear"),
        (["tune", *TRAINING, "--range", "bias_lr=1"], "two numbers"),
        (["tune", *TRAINING, "--range", "bias_lr", "--range", "bias_lr=1:2"], "is given twice"),
        (["tune", *TRAINING, "--range", "epochs=0:9"], "epochs='0' is not a whole number >= 1"),
        (["tune", *TRAINING, "--range", "bias_lr=-1:1"], "bias_lr='-1' is not a finite number"),
        (["tune", *HYPERPARAMETERS, "--train", "s3://b/x"], "validation or a test channel"),
        (["tune", *TRAINING, "--name", "a" * 33], "at most 32 characters"),
        (["train", *TRAINING, "--name", "fm_1"], "name 'fm_1' is not allowed"),
        (["train", *TRAINING, "--max-wait-s", "9"], "add --spot"),
        (["train", *TRAINING, "--spot", "--max-wait-s", "9"], "at least --max-runtime-s"),
        (["train", *TRAINING, "-H", "epochs"], "-H epochs: give NAME=VALUE"),
        (["train", *TRAINING, "-H", "bias_lr=-1"], "bias_lr='-1' is not a finite number >= 0"),
        (["train", "--train", "no/such/file", *HYPERPARAMETERS], "no/such/file holds no file"),
        (["endpoint", *MODEL, "--serverless", "--multi-model"], "do not go together"),
    ],
)
def test_what_is_not_allowed_says_what_is(refused, argv, message):
    said = refused(*argv)
    assert said.startswith("error: ")
    assert message in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("variable", "flag"),
    [("FM_ROLE_ARN", "--role"), ("FM_BUCKET", "--bucket"), ("FM_IMAGE_URI", "--image")],
)
def test_what_is_missing_says_flag_and_variable(refused, monkeypatch, variable, flag):
    monkeypatch.delenv(variable)
    message = refused("train", "--train", "s3://bucket/x", *HYPERPARAMETERS)
    assert f"add {flag} or set {variable}" in message


COLUMNS = {"rating": "label", "user": "category", "item": "category", "genres": {"set": "|"}}
OF_TABLES = (
    *("--train", "s3://bucket/ratings.csv.gz", "--validation", "s3://bucket/last.jsonl"),
    *("--items", "s3://bucket/items.parquet", "--output", "s3://bucket/models"),
    *("-H", "num_factors=8", "-H", "predictor_type=regressor"),
)


@pytest.fixture(params=["file", "text"])
def columns(request, tmp_path):
    if request.param == "text":
        return json.dumps(COLUMNS)
    (tmp_path / "columns.json").write_text(json.dumps(COLUMNS, indent=2))
    return str(tmp_path / "columns.json")


def channels_of(step):
    return {channel["ChannelName"]: channel for channel in step["parameters"]["InputDataConfig"]}


def test_tables_have_the_types_of_their_names_and_joined_ones_go_whole(dry_run, columns):
    (step,) = dry_run("train", *OF_TABLES, "--columns", columns)

    given = step["parameters"]["HyperParameters"]["columns"]
    assert given == json.dumps(COLUMNS, separators=(",", ":"))
    channels = channels_of(step)
    assert {name: channel["ContentType"] for name, channel in channels.items()} == {
        "train": "text/csv;header=present",
        "validation": "application/jsonlines",
        "items": "application/x-parquet",
    }
    joined = channels["items"]
    assert joined["DataSource"]["S3DataSource"]["S3DataDistributionType"] == "FullyReplicated"
    assert joined["InputMode"] == "File"
    names = {
        metric["Name"]
        for metric in step["parameters"]["AlgorithmSpecification"]["MetricDefinitions"]
    }
    assert {"validation:ndcg@10", "test:map@10", "train:rmse"} < names
    assert "train:binary_f_beta" not in names


def test_local_tables_are_uploaded_with_their_types(dry_run, tmp_path):
    for name in ("train", "users"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part-0.parquet").write_bytes(b"x")

    *uploads, step = dry_run(
        "train",
        *("--train", str(tmp_path / "train"), "--users", str(tmp_path / "users")),
        *("-H", "num_factors=8", "-H", "predictor_type=regressor"),
        *("--columns", json.dumps(COLUMNS)),
    )

    assert len(uploads) == 2
    assert {channel["ContentType"] for channel in channels_of(step).values()} == {
        "application/x-parquet"
    }


def test_a_content_type_goes_before_the_names(dry_run):
    given = ("--columns", json.dumps(COLUMNS), "--content-type", "application/jsonlines")
    (step,) = dry_run("train", *OF_TABLES, *given)
    assert {channel["ContentType"] for channel in channels_of(step).values()} == {
        "application/jsonlines"
    }


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--columns", "none.json"), "--columns none.json cannot be read: "),
        (("--columns", '{"a":'), "cannot be read: "),
        (("--columns", '{"user": "categories"}'), "user"),
        (("--columns", "{}", "-H", "columns={}"), "give one of them"),
        (("--columns", json.dumps(COLUMNS), "-H", "feature_dim=3"), "feature_dim=3 must not"),
        (
            ("--columns", json.dumps(COLUMNS), "--test", "s3://bucket/prefix/"),
            "--test s3://bucket/prefix/: its name does not end in .parquet, .csv or .jsonl",
        ),
    ],
)
def test_wrong_tables_are_refused_before_a_machine_is_started(refused, argv, message):
    line = refused("train", *OF_TABLES, *argv)
    assert message in line
    assert len(line.splitlines()) == 1


def test_rankings_can_be_tuned_where_there_are_items(dry_run, refused):
    objective = ("--objective", "validation:ndcg@10")
    (step,) = dry_run("tune", *OF_TABLES, "--columns", json.dumps(COLUMNS), *objective)
    tuned = step["parameters"]["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    assert tuned == {"Type": "Maximize", "MetricName": "validation:ndcg@10"}

    assert "it needs --items" in refused("tune", *TRAINING, *objective)


def test_a_ranking_loss_is_tuned_by_its_rankings(dry_run, refused):
    ranking = (*OF_TABLES, "--columns", json.dumps(COLUMNS), "-H", "loss=warp")
    (step,) = dry_run("tune", *ranking)
    tuned = step["parameters"]["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    definition = step["parameters"]["TrainingJobDefinition"]["AlgorithmSpecification"]
    names = {metric["Name"] for metric in definition["MetricDefinitions"]}

    assert tuned == {"Type": "Maximize", "MetricName": "validation:ndcg@10"}
    assert {"train:warp", "train:pairs_in_order:epoch", "validation:map@10"} < names
    assert not any("rmse" in name or "accuracy" in name for name in names)
    told = refused("tune", *ranking, "--objective", "test:rmse")
    assert "it needs another predictor_type or no loss" in told


def test_an_algorithm_takes_tables(dry_run):
    (step,) = dry_run("register-algorithm")
    channels = step["parameters"]["TrainingSpecification"]["TrainingChannels"]
    types = {channel["Name"]: channel["SupportedContentTypes"] for channel in channels}
    assert set(types) == {"train", "test", "validation", "items", "users", "model"}
    assert {"application/x-parquet", "text/libsvm", "text/libffm"} <= set(types["train"])
    assert types["items"] == [
        "application/x-parquet",
        "text/csv;header=present",
        "application/jsonlines",
    ]
