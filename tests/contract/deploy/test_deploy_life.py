"""The whole life of a model at AWS by the tool's command line: real HTTP, boto3 as it is, moto."""

import json
import sys
import time

import boto3
import pytest

HYPERPARAMETERS = (
    *("-H", "feature_dim=3", "-H", "num_factors=2"),
    *("-H", "predictor_type=regressor", "-H", "mini_batch_size=100"),
)
LOG_GROUP = "/aws/sagemaker/TrainingJobs"


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "train"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.csv").write_text("1,0,1,0\n")
    (folder / "sub" / "b.csv").write_text("2,1,0,0\n")
    (folder / ".hidden").write_text("no")
    (folder / "empty.csv").touch()
    return folder


@pytest.fixture
def train(deploy, data):
    def run(*more):
        return deploy(
            "train",
            *("--name", "fm-1", "--train", str(data), "--test", str(data / "a.csv")),
            *("--content-type", "text/csv", *HYPERPARAMETERS, *more),
        )

    return run


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A docker program that writes down its arguments and its standard input."""
    folder = tmp_path / "bin"
    folder.mkdir()
    record = tmp_path / "docker.log"
    program = folder / "docker"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        "login = sys.argv[1] == 'login'\n"
        f"with open({str(record)!r}, 'a') as file:\n"
        "    file.write(json.dumps([sys.argv[1:], sys.stdin.read() if login else '']) + '\\n')\n"
        "if 'fails' in sys.argv[-1]:\n"
        "    sys.exit('denied: no such\\nimage')\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return lambda: [json.loads(line) for line in record.read_text().splitlines()]


def log(client, stream, *lines):
    logs = client("logs")
    if not logs.describe_log_groups(logGroupNamePrefix=LOG_GROUP)["logGroups"]:
        logs.create_log_group(logGroupName=LOG_GROUP)
    logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=stream)
    now = int(time.time() * 1000)
    events = [{"timestamp": now + i, "message": line} for i, line in enumerate(lines)]
    logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=stream, logEvents=events)


def test_the_whole_life_twice_in_a_row(deploy, train, data, docker, client, aws):
    job = ("--job", "fm-1")
    life = [
        lambda: deploy("push"),
        train,
        lambda: deploy("endpoint", "--name", "fm", *job),
        lambda: deploy(
            *("transform", "--name", "score-1", *job, "--input", str(data)),
            *("--content-type", "text/csv"),
        ),
        lambda: deploy(
            *("tune", "--name", "tune-1", "--train", str(data), "--test", str(data)),
            *("--content-type", "text/csv", *HYPERPARAMETERS),
        ),
    ]
    aws.fail("CreateEndpoint", "ThrottlingException", "Rate exceeded")
    for step in life:
        ended = step()
        assert ended.code == 0, ended.error
    made = aws.operations()
    body = json.dumps({"instances": [{"features": [1, 0, 0]}]})
    client("sagemaker-runtime").invoke_endpoint(
        EndpointName="fm", ContentType="application/json", Body=body
    )
    for step in life:
        ended = step()
        assert ended.code == 0, ended.error
    again = aws.operations()[len(made) :]
    assert again == ["CreateRepository"]  # how one asks ECR whether it is there
    ends = [("endpoint", "fm"), ("transform-job", "score-1"), ("repository", "fm-algo")]
    for kind, name in 2 * ends:
        ended = deploy("delete", kind, name)
        assert ended.code == 0, ended.error
    assert client("sagemaker").list_models()["Models"] == []
    assert client("sagemaker").list_endpoints()["Endpoints"] == []


class TestPush:
    def test_makes_the_repository_logs_in_tags_and_pushes(self, deploy, docker, client):
        ended = deploy("push", "--image", "fm-algo:1", "--tag", "v1")
        assert ended.code == 0, ended.error
        uri = client("ecr").describe_repositories()["repositories"][0]["repositoryUri"]
        login, tag, push = docker()
        assert login[0] == ["login", "--username", "AWS", "--password-stdin", uri.split("/")[0]]
        assert login[1]  # the password, nowhere else
        assert login[1] not in ended.out
        assert tag[0] == ["tag", "fm-algo:1", f"{uri}:v1"]
        assert push[0] == ["push", f"{uri}:v1"]
        assert f"image {uri}:v1" in ended.out

    def test_again_takes_the_repository_that_is_there(self, deploy, docker, client):
        assert [deploy("push").code, deploy("push").code] == [0, 0]
        assert len(client("ecr").describe_repositories()["repositories"]) == 1
        assert len(docker()) == 6

    def test_says_what_docker_says(self, deploy, docker):
        ended = deploy("push", "--tag", "fails")
        assert ended.code == 1
        assert ended.error.splitlines()[-1].endswith("denied: no such image")

    def test_says_that_docker_is_missing(self, deploy, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        ended = deploy("push")
        assert ended.code == 1
        assert "docker is not on the PATH" in ended.error


class TestTrain:
    def test_uploads_trains_follows_the_log_and_prints_the_metrics(self, train, client, aws):
        aws.alter("DescribeTrainingJob", TrainingJobStatus="InProgress", SecondaryStatus="Training")
        log(
            client,
            "fm-1/algo-1-1",
            "#progress_metric: host=algo-1, completed 50.0 % of epochs",
            "#quality_metric: host=algo-1, test rmse <loss>=0.5",
        )
        ended = train()
        assert ended.code == 0, ended.error
        job = client("sagemaker").describe_training_job(TrainingJobName="fm-1")
        channels = {channel["ChannelName"]: channel for channel in job["InputDataConfig"]}
        uri = channels["train"]["DataSource"]["S3DataSource"]["S3Uri"]
        prefix = uri.removeprefix("s3://bucket/")
        keys = [o["Key"] for o in client("s3").list_objects_v2(Bucket="bucket")["Contents"]]
        assert {prefix + "a.csv", prefix + "sub/b.csv"} < set(keys)
        assert not [key for key in keys if key.endswith((".hidden", "empty.csv"))]
        assert channels["test"]["ContentType"] == "text/csv"
        assert ended.out.count("#quality_metric") == 1
        assert "train:progress" in ended.out
        assert "s3://bucket/fm-algo/models/fm-1/output/model.tar.gz" in ended.out

    def test_again_uploads_nothing_and_creates_nothing(self, train, aws):
        assert train().code == 0
        again = train()
        assert again.code == 0, again.error
        assert len(aws.made("CreateTrainingJob")) == 1
        assert "uploading" not in again.out
        assert "exists already, with the same parameters" in again.out

    def test_a_name_is_not_taken_for_another_job(self, train, aws):
        assert train().code == 0
        other = train("-H", "epochs=7")
        assert other.code == 1
        assert "with another HyperParameters" in other.error
        assert len(aws.made("CreateTrainingJob")) == 1

    def test_follows_the_log_of_each_host_from_where_it_stopped(self, train, client, aws):
        log(client, "fm-1/algo-1-1", "one", "two")
        log(client, "fm-1/algo-2-1", "three")
        log(client, "fm-10/algo-1-1", "another job's")
        assert train("--no-wait").code == 0
        aws.alter("DescribeTrainingJob", 3, TrainingJobStatus="InProgress")
        ended = train()
        assert ended.code == 0, ended.error
        found = [line for line in ended.out.splitlines() if line.startswith("algo-")]
        assert sorted(found) == ["algo-1-1: one", "algo-1-1: two", "algo-2-1: three"]

    def test_waits_out_a_throttle(self, train, aws):
        aws.fail("CreateTrainingJob", "ThrottlingException", "Rate exceeded")
        aws.fail("DescribeTrainingJob", "ThrottlingException", "Rate exceeded")
        ended = train()
        assert ended.code == 0, ended.error
        assert len(aws.made("CreateTrainingJob")) == 2

    def test_goes_on_following_through_a_long_throttle(self, train, aws, monkeypatch):
        assert train("--no-wait").code == 0
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        aws.alter("DescribeTrainingJob", TrainingJobStatus="InProgress")  # create's question
        aws.fail("DescribeTrainingJob", "ThrottlingException", "Rate exceeded", times=5)
        ended = train()
        assert ended.code == 0, ended.error
        assert not any(rule.times for rule in aws.rules)

    def test_says_in_one_line_what_to_do_about_a_throttle_that_stays(self, train, aws, monkeypatch):
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
        aws.fail("CreateTrainingJob", "ThrottlingException", "Rate exceeded", times=9)
        ended = train()
        assert ended.code == 1
        (line,) = ended.error.splitlines()
        assert line.startswith("error: sagemaker create_training_job: ThrottlingException")
        assert "run the same command again" in line
        aws.rules.clear()
        assert train().code == 0

    def test_a_failed_job_is_an_error_with_aws_reason(self, train, aws, client):
        log(client, "fm-1/algo-1-1", "the last words")
        assert train("--no-wait").code == 0
        reason = "AlgorithmError: ClientError: train channel:\nnot a number, exit code: 1"
        aws.alter("DescribeTrainingJob", 2, TrainingJobStatus="Failed", FailureReason=reason)
        ended = train()
        assert ended.code == 1
        assert "the last words" in ended.out
        assert ended.error == (
            "error: training job fm-1 failed: AlgorithmError: ClientError: train channel: "
            "not a number, exit code: 1\n"
        )

    def test_a_stopped_job_is_an_error(self, train, aws):
        assert train("--no-wait").code == 0
        aws.alter("DescribeTrainingJob", 2, TrainingJobStatus="Stopped")
        assert "was stopped before its end" in train().error

    def test_the_wait_has_a_limit(self, train, aws):
        assert train("--no-wait").code == 0
        aws.alter("DescribeTrainingJob", 999, TrainingJobStatus="InProgress")
        ended = train("--limit-s", "0.1")
        assert ended.code == 1
        assert "not done after 0.1 s" in ended.error

    def test_a_refusal_says_what_to_do(self, train, aws):
        aws.fail(
            "CreateTrainingJob",
            "ResourceLimitExceeded",
            "The account-level service limit is 0 Instances",
        )
        ended = train()
        assert ended.code == 1
        assert "ask for more in Service Quotas" in ended.error
        assert len(ended.error.splitlines()) == 1

    def test_wrong_hyperparameters_reach_no_machine(self, train, aws):
        ended = train("-H", "num_factor=3")
        assert ended.code == 1
        assert "num_factor is not a hyperparameter; did you mean num_factors?" in ended.error
        assert aws.calls == []

    def test_a_dry_run_calls_nothing_and_prints_what_a_run_sends(self, train, aws):
        ended = train("--dry-run")
        assert ended.code == 0, ended.error
        assert aws.calls == []
        *uploads, create = json.loads(ended.out)
        assert {step["method"] for step in uploads} == {"upload_file"}
        assert train().code == 0
        assert aws.made("CreateTrainingJob") == [create["parameters"]]


MODEL = ("--model", "s3://bucket/model.tar.gz")


class TestEndpoint:
    def serve(self, deploy, *more):
        return deploy("endpoint", "--name", "fm", *(more or MODEL))

    def test_serves_and_is_left_alone_the_second_time(self, deploy, aws, client):
        first, second = self.serve(deploy), self.serve(deploy)
        assert [first.code, second.code] == [0, 0], first.error + second.error
        assert aws.operations() == ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
        assert "in service" in first.out
        assert "as asked for" in second.out
        runtime = client("sagemaker-runtime")
        body = json.dumps({"instances": [{"features": [1, 0, 0]}]})
        answer = runtime.invoke_endpoint(
            EndpointName="fm", ContentType="application/json", Body=body
        )
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200

    def test_another_model_updates_it(self, deploy, aws):
        assert self.serve(deploy).code == 0
        aws.answer("UpdateEndpoint", EndpointArn="arn:aws:sagemaker:x:1:endpoint/fm")
        ended = self.serve(deploy, "--job", "fm-2")
        assert ended.code == 0, ended.error
        created = aws.made("CreateModel")[1]["PrimaryContainer"]["ModelDataUrl"]
        assert created == "s3://bucket/fm-algo/models/fm-2/output/model.tar.gz"
        (update,) = aws.made("UpdateEndpoint")
        config = aws.made("CreateEndpointConfig")[1]["EndpointConfigName"]
        assert update == {"EndpointName": "fm", "EndpointConfigName": config}

    @pytest.mark.parametrize(
        ("flags", "found"),
        [
            ([], {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}),
            (
                ["--serverless", "--memory-mb", "3072"],
                {"ServerlessConfig": {"MemorySizeInMB": 3072, "MaxConcurrency": 5}},
            ),
        ],
    )
    def test_has_the_capacity_asked_for(self, deploy, client, flags, found):
        ended = self.serve(deploy, *MODEL, *flags)
        assert ended.code == 0, ended.error
        sagemaker = client("sagemaker")
        name = sagemaker.describe_endpoint(EndpointName="fm")["EndpointConfigName"]
        config = sagemaker.describe_endpoint_config(EndpointConfigName=name)
        assert found.items() <= config["ProductionVariants"][0].items()

    def test_answers_asynchronously(self, deploy, client):
        assert self.serve(deploy, *MODEL, "--async-output", "s3://bucket/answers").code == 0
        sagemaker = client("sagemaker")
        name = sagemaker.describe_endpoint(EndpointName="fm")["EndpointConfigName"]
        config = sagemaker.describe_endpoint_config(EndpointConfigName=name)
        output = config["AsyncInferenceConfig"]["OutputConfig"]
        assert output["S3OutputPath"] == "s3://bucket/answers"

    def test_serves_many_models(self, deploy, aws):
        ended = self.serve(deploy, "--model", "s3://bucket/models/", "--multi-model")
        assert ended.code == 0, ended.error
        container = aws.made("CreateModel")[0]["PrimaryContainer"]
        assert container["Mode"] == "MultiModel"

    def test_many_models_are_a_prefix(self, deploy, aws):
        ended = self.serve(deploy, *MODEL, "--multi-model")
        assert ended.code == 1
        assert "a prefix that ends in /" in ended.error
        assert aws.calls == []

    def test_an_endpoint_that_fails_says_why_and_what_to_do(self, deploy, aws):
        assert self.serve(deploy, *MODEL, "--no-wait").code == 0
        aws.alter("DescribeEndpoint", EndpointStatus="Creating")
        reason = "The primary container did not pass the ping health check"
        aws.alter("DescribeEndpoint", 2, EndpointStatus="Failed", FailureReason=reason)
        for _ in range(2):  # by waiting, then by asking
            ended = self.serve(deploy)
            assert ended.code == 1
            assert reason in ended.error
            assert "/aws/sagemaker/Endpoints/fm" in ended.error
            assert "delete endpoint fm" in ended.error

    def test_an_update_rolled_back_shows_in_the_end(self, deploy, aws):
        assert self.serve(deploy, *MODEL, "--no-wait").code == 0
        aws.alter("DescribeEndpoint", 4, EndpointStatus="Updating")
        assert self.serve(deploy).code == 0

    def test_a_missing_model_is_an_error(self, deploy):
        ended = self.serve(deploy, "--model", "model.tar.gz")
        assert "reads models from S3" in ended.error


class TestTransform:
    def score(self, deploy, data, *more):
        return deploy(
            "transform",
            *("--name", "score-1", *MODEL, "--input", str(data), "--content-type", "text/csv"),
            *more,
        )

    def test_scores_local_files_once(self, deploy, data, aws, client):
        first, second = self.score(deploy, data), self.score(deploy, data)
        assert [first.code, second.code] == [0, 0], first.error + second.error
        assert aws.operations() == ["CreateModel", "CreateTransformJob"]
        job = client("sagemaker").describe_transform_job(TransformJobName="score-1")
        assert job["TransformInput"]["SplitType"] == "Line"
        assert job["TransformOutput"]["Accept"] == "application/jsonlines"
        assert "s3://bucket/fm-algo/transform/score-1" in first.out
        assert "uploading" not in second.out

    def test_a_failure_says_why(self, deploy, data, aws):
        assert self.score(deploy, data, "--no-wait").code == 0
        aws.alter(
            "DescribeTransformJob",
            2,
            TransformJobStatus="Failed",
            FailureReason="ClientError: See job logs for more information",
        )
        ended = self.score(deploy, data)
        assert ended.code == 1
        assert "See job logs" in ended.error


class TestTune:
    def tune(self, deploy, *more):
        return deploy(
            "tune",
            *("--name", "tune-1", "--train", "s3://bucket/a", "--test", "s3://bucket/b"),
            *HYPERPARAMETERS,
            *more,
        )

    def best(self, aws):
        objective = {"MetricName": "test:rmse", "Value": 0.5}
        aws.alter(
            "DescribeHyperParameterTuningJob",
            2,
            HyperParameterTuningJobStatus="Completed",
            BestTrainingJob={
                "TrainingJobName": "tune-1-007",
                "TrainingJobArn": "arn:aws:sagemaker:eu-west-1:1:training-job/tune-1-007",
                "CreationTime": 0,
                "TrainingJobStatus": "Completed",
                "ObjectiveStatus": "Succeeded",
                "TunedHyperParameters": {"factors_lr": "0.01"},
                "FinalHyperParameterTuningJobObjectiveMetric": objective,
            },
        )

    def test_searches_once_and_prints_the_best(self, deploy, aws):
        assert self.tune(deploy, "--no-wait").code == 0
        self.best(aws)
        ended = self.tune(deploy)
        assert ended.code == 0, ended.error
        assert len(aws.made("CreateHyperParameterTuningJob")) == 1
        assert "tune-1-007" in ended.out
        assert "factors_lr" in ended.out

    def test_a_search_that_finds_nothing_is_an_error(self, deploy, aws):
        assert self.tune(deploy, "--no-wait").code == 0
        aws.alter("DescribeHyperParameterTuningJob", 2, BestTrainingJob=None)
        assert "found no best job" in self.tune(deploy).error


class TestRegisterAlgorithm:
    """moto has no algorithms: the proxy gives AWS's answers, in the shape botocore reads."""

    MISSING = ("ValidationException", "Algorithm fm-algo does not exist.")

    def test_creates_it_and_waits_for_the_check(self, deploy, aws):
        aws.fail("DescribeAlgorithm", *self.MISSING)
        aws.answer("CreateAlgorithm", AlgorithmArn="arn:aws:sagemaker:eu-west-1:1:algorithm/x")
        aws.answer("DescribeAlgorithm", AlgorithmStatus="InProgress")
        arn = "arn:aws:sagemaker:eu-west-1:1:algorithm/fm-algo"
        aws.answer("DescribeAlgorithm", 9, AlgorithmStatus="Completed", AlgorithmArn=arn)
        first, second = deploy("register-algorithm"), deploy("register-algorithm")
        assert [first.code, second.code] == [0, 0], first.error + second.error
        assert len(aws.made("CreateAlgorithm")) == 1
        assert arn in first.out
        assert "exists already" in second.out

    def test_a_failed_check_says_why(self, deploy, aws):
        details = {"ImageScanStatuses": [{"Name": "x", "FailureReason": "not\npullable"}]}
        aws.answer("DescribeAlgorithm", 9, AlgorithmStatus="Failed", AlgorithmStatusDetails=details)
        ended = deploy("register-algorithm")
        assert ended.code == 1
        assert "not pullable" in ended.error


class TestDelete:
    def test_an_endpoint_goes_with_what_was_made_for_it_and_again_is_no_error(self, deploy, client):
        sagemaker = client("sagemaker")
        for name in ("fm", "fm-other"):
            assert deploy("endpoint", "--name", name, *MODEL).code == 0
        ended = deploy("delete", "endpoint", "fm")
        assert ended.code == 0, ended.error
        left = [model["ModelName"] for model in sagemaker.list_models()["Models"]]
        assert [name.rpartition("-")[0] for name in left] == ["fm-other"]
        configs = sagemaker.list_endpoint_configs()["EndpointConfigs"]
        assert [c["EndpointConfigName"].rpartition("-")[0] for c in configs] == ["fm-other"]
        again = deploy("delete", "endpoint", "fm")
        assert again.code == 0
        assert again.out == "endpoint fm does not exist\n"

    def test_a_running_job_is_stopped_and_an_ended_one_is_not(self, train, deploy, aws):
        assert train("--no-wait").code == 0
        aws.alter("DescribeTrainingJob", TrainingJobStatus="InProgress")
        aws.answer("StopTrainingJob")
        for _ in range(2):
            assert deploy("delete", "training-job", "fm-1").code == 0
        assert aws.made("StopTrainingJob") == [{"TrainingJobName": "fm-1"}]
        assert "does not exist" in deploy("delete", "training-job", "none").out

    def test_a_transform_job_takes_its_model_along(self, deploy, client):
        source = ("--input", "s3://bucket/x")
        assert deploy("transform", "--name", "score-1", *MODEL, *source).code == 0
        assert deploy("delete", "transform-job", "score-1").code == 0
        assert client("sagemaker").list_models()["Models"] == []

    def test_a_repository_goes_with_its_images(self, deploy, docker, client):
        assert deploy("push").code == 0
        assert deploy("delete", "repository", "fm-algo").code == 0
        assert client("ecr").describe_repositories()["repositories"] == []
        assert deploy("delete", "repository", "fm-algo").code == 0


def test_without_credentials_it_says_how_to_give_them(deploy, aws, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the credentials
    ended = deploy("delete", "endpoint", "fm")
    assert ended.code == 1
    assert "AWS_PROFILE" in ended.error


def test_without_a_region_it_says_how_to_give_one(deploy, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    assert "give --region or set AWS_REGION" in deploy("delete", "endpoint", "fm").error


def test_where_nobody_answers_it_says_so(deploy, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    ended = deploy("delete", "endpoint", "fm")
    assert ended.code == 1
    assert "check --region and the network" in ended.error
    assert len(ended.error.splitlines()) == 1
