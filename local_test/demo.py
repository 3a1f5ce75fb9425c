"""Train and serve a model of MovieLens-100k, from download to answer; `make demo` runs this.

The ratings are downloaded once. All else happens in a temporary directory in place of /opt/ml.
"""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.sparse
from movielens import FEATURE_DIM, NUM_USERS, load_ratings
from numpy.typing import NDArray

from fm_algo import write_recordio

ROOT = Path(__file__).resolve().parent.parent
HYPERPARAMETERS = {
    "feature_dim": str(FEATURE_DIM),
    "num_factors": "8",
    "predictor_type": "regressor",
    "optimizer": "mcmc",
}
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


def write_channel(directory: Path, ratings: NDArray[np.int64]) -> None:
    """Write one channel: a row is one user and one item; its label is the rating."""
    columns = ratings[:, :2] - 1 + [0, NUM_USERS]  # (n, 2)
    indptr = np.arange(0, columns.size + 1, 2)
    ones = np.ones(columns.size, np.float32)
    rows = scipy.sparse.csr_matrix((ones, columns.ravel(), indptr), (len(ratings), FEATURE_DIM))
    directory.mkdir(parents=True)
    write_recordio(directory / "data.pbr", rows, ratings[:, 2].astype(np.float32))


def prepare(base: Path) -> None:
    """Lay out `base` like the platform's /opt/ml; one rating in five is for testing."""
    ratings = np.random.default_rng(0).permutation(load_ratings())
    num_test = len(ratings) // 5
    write_channel(base / "input" / "data" / "train", ratings[num_test:])
    write_channel(base / "input" / "data" / "test", ratings[:num_test])
    config = base / "input" / "config"
    config.mkdir()
    (config / "hyperparameters.json").write_text(json.dumps(HYPERPARAMETERS))
    channel = {"TrainingInputMode": "File"}
    (config / "inputdataconfig.json").write_text(json.dumps({"train": channel, "test": channel}))
    resources = {"current_host": "algo-1", "hosts": ["algo-1"]}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    say(f"{len(ratings) - num_test:,} ratings to train on, {num_test:,} to test on")


def train(base: Path) -> None:
    """Run ./train, and print its metrics of epochs and of the test channel."""
    say(f"./train {' '.join(f'{name}={value}' for name, value in HYPERPARAMETERS.items())}")
    started = time.monotonic()
    with subprocess.Popen(program("train", base), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            show_metric(line)
    if process.returncode:
        failure = base / "output" / "failure"
        reason = failure.read_text() if failure.exists() else f"exit code {process.returncode}"
        sys.exit(f"./train failed: {reason}")
    say(f"trained in {time.monotonic() - started:.1f} s")


def show_metric(line: str) -> None:
    """Print the rmse of every 25th sweep and the metrics of the test channel."""
    if found := re.search(r"epoch=(\d+), train (rmse) <loss>=(\S+)", line):
        epoch, name, value = found.groups()
        if int(epoch) % 25 == 24:
            say(f"  sweep {int(epoch) + 1:3d}, train {name} {float(value):.4f}")
    elif found := re.search(r", test (\S+) <loss>=(\S+)", line):
        say(f"  test {found[1]} {float(found[2]):.4f}")


@contextlib.contextmanager
def serving(base: Path) -> Iterator[int]:
    """Run ./serve; yield its port once it answers there, and stop it at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        program("serve", base, f"SAGEMAKER_BIND_TO_PORT={port}"), stdout=subprocess.DEVNULL
    )
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers; give up if it has ended or the time is over."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):
            request(port, "GET", "/ping")
            return
        time.sleep(0.1)
    sys.exit("./serve does not answer")


def request(port: int, method: str, path: str, body: str | None = None) -> str:
    """Send one request and return the body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_TIMEOUT_S)
    with contextlib.closing(connection):
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read().decode()
    if response.status != http.client.OK:
        sys.exit(f"{method} {path} was answered {response.status}: {answer}")
    return answer


def ask(port: int) -> None:
    """Ask which ratings one user would give two films, in the JSON that the built-in takes."""
    user = 1
    instances = [
        {"data": {"features": {"keys": [user - 1, NUM_USERS + item - 1], "values": [1, 1]}}}
        for item in (50, 121)
    ]
    body = json.dumps({"instances": instances})
    say(f"./serve, POST /invocations\n  {body}\n  {request(port, 'POST', '/invocations', body)}")


def program(name: str, base: Path, *variables: str) -> list[str | Path]:
    """Return the command line of ./train or ./serve on `base`."""
    return ["env", f"SAGEMAKER_BASE_DIR={base}", *variables, sys.executable, ROOT / name]


def say(text: str) -> None:
    """Print at once: the next line may be seconds away."""
    print(text, flush=True)


def main() -> None:
    """Download, train, serve, ask; leave nothing running, and no files but the cache."""
    with tempfile.TemporaryDirectory(prefix="fm-demo-") as directory:
        base = Path(directory)
        for name in ("model", "output"):
            (base / name).mkdir()
        prepare(base)
        train(base)
        with serving(base) as port:
            ask(port)


if __name__ == "__main__":
    main()
