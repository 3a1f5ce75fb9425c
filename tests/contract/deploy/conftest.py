"""An account at AWS as moto plays it, in a process of its own, and the tool to work on it."""

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from aws_proxy import Proxy, running_proxy

from deploy.cli import main

REGION = "eu-west-1"
BUCKET = "bucket"
START_TIMEOUT_S = 60


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def moto_port() -> Iterator[int]:
    port = _free_port()
    program = "import sys; from moto.server import main; main(sys.argv[1:])"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError):
                _reset(port)
                break
            assert process.poll() is None, "moto did not start"
            assert time.monotonic() < end, "moto does not answer"
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def _reset(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/moto-api/reset")
    assert connection.getresponse().status == 200
    connection.close()


@pytest.fixture
def client() -> Callable[[str], Any]:
    """Make clients of one's own, to look at the account from outside the tool."""
    return boto3.client


@pytest.fixture
def aws(moto_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A fresh account with a bucket; the environment points at it."""
    _reset(moto_port)
    with running_proxy(moto_port) as proxy:
        environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": proxy.url,
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "FM_ROLE_ARN": "arn:aws:iam::123456789012:role/fm",
            "FM_BUCKET": BUCKET,
            "FM_IMAGE_URI": f"123456789012.dkr.ecr.{REGION}.amazonaws.com/fm-algo:latest",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield proxy


@dataclass(frozen=True)
class Ended:
    """A run of the tool that has ended."""

    code: int
    out: str
    error: str


Tool = Callable[..., Ended]


@pytest.fixture
def deploy(aws: Proxy, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run the tool and wait impatiently."""

    def run(*argv: str) -> Ended:
        waits = argv[0] in {"train", "tune", "endpoint", "transform", "register-algorithm"}
        # later flags win, so a test can still give its own
        capsys.readouterr()
        code = main([argv[0], *(["--poll-s", "0.01"] if waits else []), *argv[1:]])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run
