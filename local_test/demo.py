"""Train and serve a model of MovieLens-100k, from download to answer; `make demo` runs this.

The ratings are downloaded once. All else happens in a temporary directory in place of /opt/ml.
"""

import contextlib
import csv
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
from typing import Any

import numpy as np
from movielens import Rows, load_tables

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = {
    "rating": "label",
    "user": "category",
    "age": {"bins": 8},
    "gender": "category",
    "occupation": "category",
    "item": "category",
    "title": "ignore",
    "year": "category",
    "genres": {"set": " "},
}
HYPERPARAMETERS = {
    "columns": json.dumps(COLUMNS),
    "num_factors": "8",
    "predictor_type": "regressor",
    "optimizer": "mcmc",
    "keep_seen": "true",
}
USER, FILM = "1", "50"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30


def write_channel(base: Path, name: str, rows: Rows) -> None:
    """Write one channel: a CSV file with a header."""
    directory = base / "input" / "data" / name
    directory.mkdir(parents=True)
    with (directory / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def prepare(base: Path) -> Rows:
    """Lay out `base` like the platform's /opt/ml; one rating in five is for testing.

    Returns
    -------
    list of dict of str to str
        The table of films.
    """
    ratings, users, items = load_tables()
    order = np.random.default_rng(0).permutation(len(ratings))
    shuffled = [ratings[number] for number in order]
    num_test = len(ratings) // 5
    train, test = shuffled[num_test:], shuffled[:num_test]
    tables = {"train": train, "test": test, "users": users, "items": items}
    for name, rows in tables.items():
        write_channel(base, name, rows)
        say(f"{name + '.csv':10} {len(rows):6,} rows of {', '.join(rows[0])}")
    config = base / "input" / "config"
    config.mkdir()
    (config / "hyperparameters.json").write_text(json.dumps(HYPERPARAMETERS))
    channel = {"TrainingInputMode": "File", "ContentType": "text/csv;header=present"}
    (config / "inputdataconfig.json").write_text(json.dumps(dict.fromkeys(tables, channel)))
    resources = {"current_host": "algo-1", "hosts": ["algo-1"]}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    return items


def train(base: Path) -> None:
    """Run ./train, and print its metrics of epochs and of the test channel."""
    say("./train")
    for name, value in HYPERPARAMETERS.items():
        say(f"  {name}={value}")
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


def ask(port: int, items: Rows) -> None:
    """Ask by name: a score, the best films for a user, films like one, why, a stranger's score."""
    titles = {row["item"]: f"{row['title']} ({row['year']})" for row in items}
    say("./serve, POST /invocations")

    def predict(**instance: object) -> dict[str, Any]:
        body = json.dumps({"instances": [instance]})
        say(f"\n  {body}")
        return dict(json.loads(request(port, "POST", "/invocations", body))["predictions"][0])

    score = predict(user=USER, item=FILM)["score"]
    say(f"  {score:.2f} is what user {USER} would give {titles[FILM]}")

    best = predict(user=USER, configuration={"top_k": 10, "exclude_seen": True})
    for its in best["recommendations"]:
        say(f"  {its['score']:.2f} {titles[its['name']]}")

    similar = predict(item=FILM, configuration={"similar": 5})
    for its in similar["similar"]:
        say(f"  {its['similarity']:.2f} {titles[its['name']]}")

    told = predict(user=USER, item=FILM, configuration={"explain": True})["explanation"]
    say(f"  {told['bias']:+.2f} for any user and film")
    parts = [(part["part"], part["feature"]) for part in told["linear"]]
    parts += [(part["part"], " × ".join(part["features"])) for part in told["pairwise"]]
    for part, name in sorted(parts, key=lambda one: -abs(one[0]))[:8]:
        say(f"  {part:+.2f} {name}")

    stranger = predict(user="somebody new", age=31, occupation="artist", item=FILM)
    say(f"  {stranger['score']:.2f}, although the model does not know: {stranger['unknown']}")


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
        items = prepare(base)
        train(base)
        with serving(base) as port:
            ask(port, items)


if __name__ == "__main__":
    main()
