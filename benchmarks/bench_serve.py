"""Speed, memory and start of the server, beside what one would write without it.

    python benchmarks/bench_serve.py                          all parts, a few minutes
    python benchmarks/bench_serve.py --parts latency --seconds 10 --runs 5
    python benchmarks/bench_serve.py --parts start --large    also a model of 2.5 GB

It needs the program `wrk` on the PATH (Debian: apt-get install wrk). The classic stack needs
nginx and pandas. Without them, a message says that it is left out.

    latency    requests per second, p50 and p99 of one instance of 39 entries in JSON, at 1 and 16
               connections. Peers: this server; Flask under gunicorn that answers a constant, with
               as many workers, once with the threaded class and this server's settings, which
               keeps connections, and once with gunicorn's default class (sync), which closes each;
               nginx, gunicorn, Flask and pandas (the row as CSV), as in the samples that people
               build their own containers from. The peers take turns.
    quick      the same for one row in JSON and in CSV, with and without answering quick requests
               in a worker's main loop (container/serving/quick_request.py), in turns
    rows       rows per second of requests of 5 MB in each format, and the share of the time that is
               not scoring (this process measures the model's time on the same rows)
    start      seconds from the start of ./serve to the first 200 of /ping, and the memory (PSS) of
               4 workers and their master, beside that of one copy of the model
    names      requests per second of one row by name, in JSON and CSV, and of the same row by
               number, to a model of 10 columns, at 1 and 16 connections, in turns
    dictionary seconds from the start of ./serve to the first 200 of /ping, and the memory (PSS) of
               4 workers that have looked up values all over a dictionary of 10,000,000
    samples    microseconds that a model with 0, 20 and 100 posterior samples takes for the score of
               one row and of each of 1,000, and the memory of 4 workers as in `start`

Each measurement is one line of JSON. Load and server share the processors of one machine.
"""

import argparse
import contextlib
import dataclasses
import getpass
import http.client
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from fm_algo import write_recordio
from fm_algo.artifacts.artifact import MODEL_FILE, save_model
from fm_algo.data.tables.blocks import Block, number_blocks
from fm_algo.data.tables.columns import parse_columns
from fm_algo.data.tables.dictionary import Dictionary
from fm_algo.data.tables.encoder import TableEncoder
from fm_algo.data.tables.tables import Tables
from fm_algo.model import FMModel
from fm_algo.sparse import CSRBatch

ROOT = Path(__file__).resolve().parent.parent
NUM_ENTRIES = 39
NUM_FACTORS = 64
DENSE_DIM = 100
"""Width of the rows in CSV, which has no sparse rows."""

CONSTANT_APP = """
import flask
app = flask.Flask(__name__)
@app.get("/ping")
def ping():
    return flask.Response()
@app.post("/invocations")
def invocations():
    flask.request.get_data()
    body = b'{"predictions": [{"score": 0.5, "predicted_label": 1.0}]}'
    return flask.Response(body, content_type="application/json")
"""

CLASSIC_APP = """
import io, os
import flask, numpy as np, pandas as pd
app = flask.Flask(__name__)
weights = np.linspace(-1, 1, int(os.environ["WIDTH"]))
@app.get("/ping")
def ping():
    return flask.Response("\\n", status=200, mimetype="application/json")
@app.post("/invocations")
def transformation():
    text = flask.request.data.decode("utf-8")
    data = pd.read_csv(io.StringIO(text), header=None)
    predictions = data.to_numpy() @ weights
    out = io.StringIO()
    pd.DataFrame({"results": predictions}).to_csv(out, header=False, index=False)
    return flask.Response(out.getvalue(), status=200, mimetype="text/csv")
"""

ALL_IN_THREADS = """
from container.serving import quick_request, server
quick_request.is_quick = lambda *_: False
server.main()
"""
"""./serve without quick requests."""

NGINX_CONF = """
user {user}; worker_processes 1; daemon off; pid {base}/nginx.pid; error_log {base}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {base}/b; proxy_temp_path {base}/p;
  fastcgi_temp_path {base}/f; uwsgi_temp_path {base}/u; scgi_temp_path {base}/s;
  upstream app {{ server unix:{base}/app.sock; }}
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 25m; keepalive_timeout 75;
    location / {{ proxy_set_header Host $http_host; proxy_redirect off; proxy_pass http://app; }}
  }}
}}
"""


def make_model(
    directory: Path,
    feature_dim: int,
    num_samples: int = 0,
    *,
    num_factors: int = NUM_FACTORS,
    tables: Tables | None = None,
) -> FMModel:
    """Save a classifier of so many features below `directory`, as the platform mounts it."""
    rng = np.random.default_rng(0)
    model, *samples = (
        FMModel(
            "binary_classifier",
            np.array([0.1], np.float32),
            rng.normal(0, 0.1, feature_dim).astype(np.float32),
            rng.standard_normal((feature_dim, num_factors), np.float32) * np.float32(0.05),
        )
        for _ in range(1 + num_samples)
    )
    model = dataclasses.replace(model, samples=tuple(samples))
    (directory / "model").mkdir(parents=True)
    save_model(directory / "model", model, {}, tables=tables)
    return model


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], port: int, **environment: str) -> Iterator[tuple[int, float]]:
    """Run a server; yield its pid and the seconds until the first 200 of /ping."""
    started = time.perf_counter()
    own = {"PATH": f"{Path(sys.executable).parent}:{os.defpath}:/usr/sbin", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, env=own | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not is_up(port):
            if process.poll() is not None or time.perf_counter() - started > 60:
                raise SystemExit(f"{command[0]} does not start")
            time.sleep(0.005)
        yield process.pid, time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def is_up(port: int) -> bool:
    """Return whether /ping is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def own_server(
    base: Path, workers: int, command: Sequence[str] = (str(ROOT / "serve"),)
) -> Iterator[tuple[int, int, float]]:
    """Run ./serve or a stand-in; yield its port, its pid and the seconds it took to start."""
    port = free_port()
    variables = {
        "SAGEMAKER_BASE_DIR": str(base),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_MODEL_SERVER_WORKERS": str(workers),
    }
    with running([*command], port, **variables) as (pid, start_s):
        yield port, pid, start_s


# Threads and time-outs are set as in this server, so that only the work per request differs.
THREADED = ("--worker-class", "gthread", "--threads", "124", "--keep-alive", "75")


def gunicorn_command(directory: Path, bind: str, workers: int, *settings: str) -> list[str]:
    """Return the command that runs app.py of a directory."""
    where = ["--chdir", str(directory), "--bind", bind, "--no-control-socket"]
    many = ["--workers", str(workers)]
    return [sys.executable, "-m", "gunicorn", *where, *many, *settings, "app:app"]


@contextlib.contextmanager
def constant_server(base: Path, workers: int, *settings: str) -> Iterator[int]:
    """Run Flask under gunicorn that answers a constant; yield its port."""
    port = free_port()
    directory = base / "constant"
    directory.mkdir(exist_ok=True)
    (directory / "app.py").write_text(CONSTANT_APP)
    with running(gunicorn_command(directory, f"127.0.0.1:{port}", workers, *settings), port):
        yield port


@contextlib.contextmanager
def classic_server(base: Path, workers: int) -> Iterator[int]:
    """Run nginx in front of gunicorn, Flask and pandas; yield its port."""
    port = free_port()
    directory = base / "classic"
    directory.mkdir(exist_ok=True)
    (directory / "app.py").write_text(CLASSIC_APP)
    (directory / "nginx.conf").write_text(
        NGINX_CONF.format(base=directory, port=port, user=getpass.getuser())
    )
    gunicorn = subprocess.Popen(
        gunicorn_command(directory, f"unix:{directory}/app.sock", workers, "--timeout", "60"),
        env={"PATH": os.defpath, "WIDTH": str(NUM_ENTRIES)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        command = ["nginx", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        with running(command, port):
            yield port
    finally:
        gunicorn.terminate()
        gunicorn.wait(30)


def wrk(
    port: int, connections: int, seconds: float, body: bytes, content_type: str
) -> dict[str, float]:
    """Load a server with one body; return requests per second, p50 and p99 in ms, and failures."""
    script = (
        f"wrk.method = 'POST'\nwrk.body = [==[{body.decode()}]==]\n"
        f"wrk.headers['Content-Type'] = '{content_type}'\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        load = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", file.name]
        command = [*load, f"http://127.0.0.1:{port}/invocations"]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    failures = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    return {
        "requests_per_second": float(find(r"Requests/sec:\s+([\d.]+)", told)),
        "p50_ms": milliseconds(find(r"\n +50% +(\S+)", told)),
        "p99_ms": milliseconds(find(r"\n +99% +(\S+)", told)),
        "failures": int(failures[1]) if failures else 0,
    }


def find(pattern: str, text: str) -> str:
    """Return the group of a pattern that must be there."""
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"wrk does not tell {pattern}: {text}")
    return found[1]


def milliseconds(text: str) -> float:
    """Read a time as wrk writes it."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def measure_latency(options: argparse.Namespace, base: Path) -> None:
    """Compare requests per second of one instance."""
    rng = np.random.default_rng(1)
    keys = sorted(rng.choice(100_000, NUM_ENTRIES, replace=False).tolist())
    features = {"keys": keys, "shape": [100_000], "values": [1] * NUM_ENTRIES}
    instance = json.dumps({"instances": [{"data": {"features": features}}]}).encode()
    row = ",".join(["1"] * NUM_ENTRIES).encode() + b"\n"
    make_model(base / "ml", 100_000)
    with contextlib.ExitStack() as stack:
        port, _, _ = stack.enter_context(own_server(base / "ml", options.workers))
        peers = {"fm_algo": (port, instance, "application/json")}
        for name, settings in (("gthread", THREADED), ("sync", ())):
            constant = stack.enter_context(constant_server(base, options.workers, *settings))
            peers[f"flask+gunicorn {name}, constant"] = (constant, instance, "application/json")
        if shutil.which("nginx", path=f"{os.defpath}:/usr/sbin") and has_pandas():
            classic = stack.enter_context(classic_server(base, options.workers))
            peers["nginx+gunicorn+flask+pandas"] = (classic, row, "text/csv")
        else:
            print(
                json.dumps({"benchmark": "serve latency", "left_out": "nginx or pandas is missing"})
            )
        for connections in (1, 16):
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in peers}
            for _ in range(options.runs):
                for name, (its_port, body, content_type) in peers.items():
                    runs[name].append(
                        wrk(its_port, connections, options.seconds, body, content_type)
                    )
            told = {name: summarize(of_one) for name, of_one in runs.items()}
            for name, figures in told.items():
                ratio = told["fm_algo"]["requests_per_second"] / figures["requests_per_second"]
                tell(
                    options,
                    "latency",
                    workers=options.workers,
                    peer=name,
                    connections=connections,
                    **figures,
                    fm_algo_times_as_fast=round(ratio, 2),
                )


def measure_quick(options: argparse.Namespace, base: Path) -> None:
    """Compare requests per second of one row with and without quick requests."""
    make_model(base / "ml", DENSE_DIM)
    row = make_rows(np.random.default_rng(1), 1, DENSE_DIM)
    bodies = {
        "json": (encode("json", row), "application/json"),
        "csv": (encode("csv", row), "text/csv"),
    }
    commands = {"quick": [str(ROOT / "serve")], "threads": [sys.executable, "-c", ALL_IN_THREADS]}
    with contextlib.ExitStack() as stack:
        ports = {
            name: stack.enter_context(own_server(base / "ml", options.workers, command))[0]
            for name, command in commands.items()
        }
        for format_name, connections in itertools.product(bodies, (1, 16)):
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
            for _ in range(options.runs):
                for name, port in ports.items():
                    load = wrk(port, connections, options.seconds, *bodies[format_name])
                    runs[name].append(load)
            for name, of_one in runs.items():
                tell(
                    options,
                    "quick",
                    workers=options.workers,
                    answered_in="main loop" if name == "quick" else "threads",
                    format=format_name,
                    connections=connections,
                    **summarize(of_one),
                )


def measure_names(options: argparse.Namespace, base: Path) -> None:
    """Compare requests per second of one row by name and by number."""
    values = [b"value %d" % number for number in range(1000)]
    encoder = make_encoder(dict.fromkeys((f"column {number}" for number in range(10)), values))
    make_model(base / "ml", encoder.feature_dim, tables=Tables(encoder))
    row = {block.name: f"value {7 * place}" for place, block in enumerate(encoder.blocks)}
    keys = [block.first + 7 * place for place, block in enumerate(encoder.blocks)]
    numbered = {"keys": keys, "shape": [encoder.feature_dim], "values": [1] * len(keys)}
    bodies = {
        "number, json": ({"instances": [{"features": numbered}]}, "application/json"),
        "name, json": ({"instances": [row]}, "application/json"),
        "name, csv": (",".join(row.values()) + "\n", "text/csv"),
    }
    with own_server(base / "ml", options.workers) as (port, _, _):
        for connections in (1, 16):
            runs: dict[str, list[dict[str, float]]] = {name: [] for name in bodies}
            for _ in range(options.runs):
                for name, (body, content_type) in bodies.items():
                    text = body if isinstance(body, str) else json.dumps(body)
                    load = wrk(port, connections, options.seconds, text.encode(), content_type)
                    runs[name].append(load)
            told = {name: summarize(of_one) for name, of_one in runs.items()}
            for name, figures in told.items():
                by_number = told["number, json"]["requests_per_second"]
                tell(
                    options,
                    "names",
                    workers=options.workers,
                    row_by=name,
                    connections=connections,
                    **figures,
                    rate_to_that_by_number=round(figures["requests_per_second"] / by_number, 2),
                )


def make_encoder(values: dict[str, list[bytes]]) -> TableEncoder:
    """Return an encoder of categories with these values."""
    columns = parse_columns(dict.fromkeys(values, "category"))
    blocks = number_blocks(
        [Block(column=columns[name], first=0, num_values=len(its)) for name, its in values.items()]
    )
    dictionaries = {name: Dictionary.of(its) for name, its in values.items()}
    return TableEncoder(tuple(columns.values()), blocks, dictionaries)


def measure_dictionary(options: argparse.Namespace, base: Path) -> None:
    """Measure start and memory with a column of ten million values."""
    num_values = 10_000_000
    encoder = make_encoder({"user": [b"user %08d" % number for number in range(num_values)]})
    make_model(base, encoder.feature_dim, tables=Tables(encoder), num_factors=8)
    artifact_bytes = (base / "model" / MODEL_FILE).stat().st_size
    del encoder
    rng, starts = np.random.default_rng(5), []
    for _ in range(options.runs):
        with own_server(base, 4) as (port, pid, start_s):
            starts.append(start_s)
            for _ in range(24):
                users = rng.integers(0, num_values, 20_000).tolist()
                body = "".join(f'{{"user": "user {user:08d}"}}\n' for user in users)
                post(port, body.encode(), "application/jsonlines")
            pss = weigh(pid)
    tell(
        options,
        "dictionary",
        workers=4,
        values=num_values,
        artifact_mb=round(artifact_bytes / 1e6),
        seconds_median=round(statistics.median(starts), 3),
        pss_mb_of_4_workers=round(pss / 1e6),
        pss_to_artifact=round(pss / artifact_bytes, 2),
    )


def has_pandas() -> bool:
    """Return whether the classic stack can run."""
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pandas') is None)"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def summarize(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians of some runs."""
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]}


def measure_rows(options: argparse.Namespace, base: Path) -> None:
    """Measure rows per second of large requests."""
    rng = np.random.default_rng(2)
    sparse, dense = make_model(base / "sparse", 100_000), make_model(base / "dense", DENSE_DIM)
    for format_name in ("json", "jsonlines", "csv", "recordio"):
        model, place = (dense, "dense") if format_name == "csv" else (sparse, "sparse")
        rows = make_rows(rng, 20_000, model.feature_dim)
        num_rows = int(20_000 * 5e6 / len(encode(format_name, rows)))
        rows = make_rows(rng, num_rows, model.feature_dim)
        body, batch = encode(format_name, rows), to_batch(rows)
        scoring_s = min(timed(partial(model.score, batch)) for _ in range(5))
        content_type = {
            "json": "application/json",
            "jsonlines": "application/jsonlines",
            "csv": "text/csv",
            "recordio": "application/x-recordio-protobuf",
        }[format_name]
        with own_server(base / place, 1) as (port, _, _):
            request = partial(post, port, body, content_type)
            times = [timed(request) for _ in range(options.runs + 1)]
        elapsed_s = statistics.median(times[1:])
        tell(
            options,
            "rows",
            workers=1,
            format=format_name,
            body_mb=round(len(body) / 1e6, 2),
            rows=num_rows,
            entries_per_row=rows.nnz // num_rows,
            rows_per_second=round(num_rows / elapsed_s),
            share_outside_scoring=round(1 - scoring_s / elapsed_s, 3),
        )


def make_rows(rng: np.random.Generator, num_rows: int, feature_dim: int) -> csr_matrix:
    """Draw rows of 39 entries."""
    width = feature_dim // NUM_ENTRIES
    columns = rng.integers(0, width, (num_rows, NUM_ENTRIES)) + np.arange(NUM_ENTRIES) * width
    values = rng.normal(size=columns.size).round(4).astype(np.float32)
    indptr = np.arange(num_rows + 1) * NUM_ENTRIES
    return csr_matrix((values, columns.ravel(), indptr), shape=(num_rows, feature_dim))


def to_batch(rows: csr_matrix) -> CSRBatch:
    """Return the rows as a CSRBatch."""
    indptr, indices = rows.indptr.astype(np.int64), rows.indices.astype(np.int32)
    return CSRBatch(indptr, indices, rows.data, None, rows.shape[1])


def encode(format_name: str, rows: csr_matrix) -> bytes:
    """Return the body of a request."""
    if format_name == "recordio":
        target = io.BytesIO()
        write_recordio(target, rows)
        return target.getvalue()
    if format_name == "csv":
        lines = (",".join(f"{value:g}" for value in row) for row in rows.toarray().tolist())
        return "".join(f"{line}\n" for line in lines).encode()
    keys = rows.indices.reshape(-1, NUM_ENTRIES).tolist()
    values = rows.data.reshape(-1, NUM_ENTRIES).astype(np.float64).round(4).tolist()
    instances = [
        {"features": {"keys": of_row, "values": its, "shape": [rows.shape[1]]}}
        for of_row, its in zip(keys, values, strict=True)
    ]
    if format_name == "json":
        return json.dumps({"instances": instances}).encode()
    return "".join(f"{json.dumps(instance)}\n" for instance in instances).encode()


def post(port: int, body: bytes, content_type: str) -> None:
    """Send one request and check that it is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/invocations", body, {"Content-Type": content_type})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"answered {answer.status}: {text[:200]!r}")


def timed(call: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure_start(options: argparse.Namespace, base: Path) -> None:
    """Measure the time to the first 200 of /ping, and memory, with models of 25 MB and 2.5 GB."""
    for megabytes in (25, 2500) if options.large else (25,):
        place = base / f"model-{megabytes}"
        model = make_model(place, int(megabytes * 1e6) // (4 * (NUM_FACTORS + 1)))
        model_bytes = model.V.nbytes + model.w.nbytes
        starts = []
        for _ in range(options.runs):
            with own_server(place, 4) as (port, pid, start_s):
                starts.append(start_s)
                pss = touch_all_and_weigh(port, pid, model.feature_dim)
        tell(
            options,
            "start",
            workers=4,
            model_mb=megabytes,
            seconds_median=round(statistics.median(starts), 3),
            pss_mb_of_4_workers=round(pss / 1e6, 1),
            pss_to_model=round(pss / model_bytes, 2),
        )


def touch_all_and_weigh(port: int, pid: int, feature_dim: int) -> int:
    """Make the workers score rows all over the model; return the bytes their processes hold."""
    rng = np.random.default_rng(4)
    for _ in range(24):
        rows = make_rows(rng, 2000, feature_dim)
        post(port, encode("recordio", rows), "application/x-recordio-protobuf")
    return weigh(pid)


def weigh(pid: int) -> int:
    """Return the bytes that a server's processes hold, shared ones divided among them."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollups = (Path(f"/proc/{each}/smaps_rollup").read_text() for each in (pid, *children))
    return sum(int(find(r"\nPss:\s+(\d+)", text)) * 1024 for text in rollups)


def measure_samples(options: argparse.Namespace, base: Path) -> None:
    """Measure what samples cost, in time and, shared by 4 workers, in memory."""
    rows = to_batch(make_rows(np.random.default_rng(3), 1000, 10_000))
    row = rows.rows(0, 1)
    for num_samples in (0, 20, 100):
        place = base / f"samples-{num_samples}"
        model = make_model(place, rows.feature_dim, num_samples)
        of_one = [timed(partial(model.score, row)) for _ in range(200)]
        of_many = [timed(partial(model.score, rows)) for _ in range(options.runs)]
        with own_server(place, 4) as (port, pid, _):
            pss = touch_all_and_weigh(port, pid, model.feature_dim)
        tell(
            options,
            "samples",
            samples=num_samples,
            one_row_us=round(statistics.median(of_one) * 1e6, 1),
            each_of_1000_rows_us=round(statistics.median(of_many) * 1e3, 1),
            model_mb=round((model.V.nbytes + model.w.nbytes) * (1 + num_samples) / 1e6, 1),
            pss_mb_of_4_workers=round(pss / 1e6, 1),
        )


def tell(options: argparse.Namespace, part: str, **figures: object) -> None:
    """Print a line of results."""
    shared = {"runs": options.runs, "commit": commit()}
    place = {"processors": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 1)}
    print(json.dumps({"benchmark": f"serve {part}", **figures, **shared, **place}), flush=True)


def commit() -> str:
    """Return the commit that was measured."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


PARTS = {
    "latency": measure_latency,
    "quick": measure_quick,
    "rows": measure_rows,
    "start": measure_start,
    "names": measure_names,
    "dictionary": measure_dictionary,
    "samples": measure_samples,
}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--large", action="store_true", help="measure a model of 2.5 GB as well")
    options = parser.parse_args()
    if {"latency", "quick", "names"} & set(options.parts) and not shutil.which("wrk"):
        raise SystemExit("wrk is not on the PATH (Debian: apt-get install wrk)")
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as directory:
        for part in options.parts:
            base = Path(directory) / part
            base.mkdir()
            PARTS[part](options, base)


if __name__ == "__main__":
    main()
