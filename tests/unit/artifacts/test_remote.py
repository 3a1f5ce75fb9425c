"""Against a server that speaks S3's own HTTP; boto3 is what users have."""

import sys
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from fm_algo.artifacts import remote
from fm_algo.artifacts.builtin.artifact import load_builtin_model
from fm_algo.artifacts.model_source import is_model_file
from fm_algo.cli import program
from fm_algo.errors import UserError

PACKED = Path(__file__).parents[2] / "data" / "builtin" / "regression-k4-d30" / "model.tar.gz"
BUCKET = "models"


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(endpoint, monkeypatch, tmp_path):
    """A client on an empty account, and the environment of a user who has it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    client.delete_bucket(Bucket=BUCKET)


def keys(client):
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def failure(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        program.main([str(argument) for argument in arguments])
    assert stop.value.code == 1
    return capsys.readouterr().err


def test_a_model_goes_from_s3_to_s3(s3, tmp_path):
    s3.upload_file(str(PACKED), BUCKET, "job/output/model.tar.gz")
    old = f"s3://{BUCKET}/job/output/model.tar.gz"

    program.main(["convert", old, f"s3://{BUCKET}/new/model.tar.gz"])
    program.main(["convert", f"s3://{BUCKET}/new/model.tar.gz", str(tmp_path), "--to", "builtin"])

    assert keys(s3) == ["job/output/model.tar.gz", "new/model.tar.gz"]
    with remote.local_source(old, lambda _: False) as path:
        assert path.name == "model.tar.gz"
        assert path.read_bytes() == PACKED.read_bytes()
        parent = path.parent
    assert not parent.exists()
    assert load_builtin_model(tmp_path).V.shape == (30, 4)


@pytest.mark.parametrize("prefix", ["unpacked", "unpacked/", "", "a/..", "."])
def test_a_directory_becomes_a_prefix_and_a_prefix_a_directory(prefix, s3, tmp_path):
    target = f"s3://{BUCKET}/{prefix}"

    program.main(["convert", str(PACKED), target, "--to", "builtin"])
    s3.put_object(Bucket=BUCKET, Key=f"{prefix.rstrip('/')}/note.txt".lstrip("/"), Body=b"")
    program.main(["export-vectors", target, str(tmp_path), "--items", "0:30"])

    folder = f"{prefix.rstrip('/')}/".lstrip("/")
    assert keys(s3) == [f"{folder}model_algo-1", f"{folder}note.txt"]
    assert np.load(tmp_path / "items.npy").shape == (30, 5)
    with remote.local_source(target, is_model_file) as path:
        assert [file.name for file in path.iterdir()] == ["model_algo-1"]


def test_the_output_of_a_job_is_a_prefix_with_a_packed_model(s3, tmp_path):
    s3.upload_file(str(PACKED), BUCKET, "job/output/model.tar.gz")

    program.main(["convert", f"s3://{BUCKET}/job/output", str(tmp_path)])

    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_rows_to_score_may_be_in_s3(s3, capsys):
    s3.put_object(Bucket=BUCKET, Key="rows", Body=b"3:1\n")

    program.main(["score", str(PACKED), f"s3://{BUCKET}/rows", "--content-type", "text/libsvm"])

    assert capsys.readouterr().out.startswith('{"score":')


def test_what_s3_does_not_have_is_said_in_one_line(s3, capsys):
    message = failure(capsys, "convert", f"s3://{BUCKET}/nothing", "x")

    assert message == (
        f"python -m fm_algo: s3://{BUCKET}/nothing: no such object, and no model below it\n"
    )


@pytest.mark.parametrize("source", ["s3://elsewhere/model.tar.gz", "s3://elsewhere/"])
def test_what_s3_refuses_is_said_in_one_line(source, s3, capsys):
    message = failure(capsys, "convert", source, "x")

    assert message.startswith(f"python -m fm_algo: {source}: ")
    assert message.count("\n") == 1


def test_a_target_that_s3_refuses_is_said_in_one_line(s3, capsys):
    message = failure(capsys, "convert", PACKED, "s3://elsewhere/model.tar.gz")

    assert message.startswith("python -m fm_algo: s3://elsewhere/model.tar.gz: ")
    assert "NoSuchBucket" in message
    assert message.count("\n") == 1


def test_no_way_to_s3_is_said_in_one_line(s3, monkeypatch, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    message = failure(capsys, "convert", f"s3://{BUCKET}/model.tar.gz", "x")

    assert "Could not connect to the endpoint URL" in message
    assert message.count("\n") == 1


def test_a_location_without_a_bucket_is_refused(capsys):
    assert failure(capsys, "convert", "s3:///model", "x") == (
        "python -m fm_algo: s3:///model names no bucket, expected s3://bucket/key\n"
    )


def test_without_boto3_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3.exceptions", None)

    with pytest.raises(UserError) as error, remote.local_source("s3://b/k", lambda _: True):
        pass

    assert error.value.message == "s3://b/k: s3:// needs boto3: pip install 'fm-algo[aws]'"


def test_a_failed_command_leaves_nothing_in_s3(s3):
    def fail():
        with remote.local_target(f"s3://{BUCKET}/x") as path:
            path.write_bytes(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert keys(s3) == []


def test_training_data_is_fetched_from_a_prefix(s3, tmp_path):
    for key in ("data/a.csv", "data/b.csv", "data/below/c.csv"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    program.main(["fetch", f"s3://{BUCKET}/data", str(tmp_path / "train")])
    fetched = {path.name: path.read_text() for path in (tmp_path / "train").iterdir()}
    assert fetched == {"a.csv": "data/a.csv", "b.csv": "data/b.csv"}


def test_training_data_is_fetched_from_a_directory_or_as_one_object(s3, tmp_path):
    s3.put_object(Bucket=BUCKET, Key="rows.csv", Body=b"1")
    program.main(["fetch", f"s3://{BUCKET}/rows.csv", str(tmp_path / "one")])
    program.main(["fetch", str(tmp_path / "one"), str(tmp_path / "two")])
    assert (tmp_path / "two" / "rows.csv").read_bytes() == b"1"
