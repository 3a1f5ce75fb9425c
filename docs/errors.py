"""Write errors.md beside this file: what is said by jobs that cannot work, and to bad requests.

`make docs` runs them. Each job of `BAD_JOBS` is the small job of `prepare` with one thing wrong.
The requests of `BAD_REQUESTS` go to a server whose model has two features.
"""

import base64
import contextlib
import io
import json
import logging
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flask.testing import FlaskClient

from container.serving.app import create_app
from container.settings import Paths, Settings
from container.training import train_job
from fm_algo.artifacts.artifact import save_model
from fm_algo.model import FMModel

HEAD = """# What a failed job says, and a refused request

[Requests](#requests) come last.

## A failed job

A job that fails exits with 1 and writes the reason into `/opt/ml/output/failure`, the cause first.
The platform shows it as the job's FailureReason. The first word names the kind of failure:

- `ClientError`: the data, the hyperparameters or the job's description cannot be used. You can mend
  it.
- `AlgorithmError`: the input was valid and training went wrong. Either it diverged, and the message
  says what to try, or the mistake is ours.
- `InternalServerError`: the machine failed, such as a disk, a mount or a file. The message names
  the path. The platform's RetryStrategy helps here, and only here.

All messages of this page come from real runs: `make docs` runs these jobs, sends these requests
and writes the page. If a message names a file, a record or a line, it names the first one that is
wrong.

"""

GOOD = "1,1,0\n0,0,1\n"
FEATURES = 2

REQUESTS = """## Requests

A request that is refused is answered with a status and one line of text. Here the model has two
features. A status of 415 is about types and encodings, 413 about length, 400 about the rows. The
log has the same line as a WARNING. Of many in ten seconds that differ in numbers alone, each worker
writes the first and the last, and how many there were.

| what | `ContentType` | body | answer |
|---|---|---|---|
"""


class BadJob(NamedTuple):
    """A job with one thing wrong.

    Attributes
    ----------
    group, what : str
        Heading, and what is wrong.
    spoil : callable
        Makes it wrong, below the tree's root.
    """

    group: str
    what: str
    spoil: Callable[[Path], None]


def prepare(base: Path) -> None:
    """Write the platform's tree of a job that works."""
    write(base, "input/data/train/rows.csv", GOOD)
    described(base, train={"ContentType": "text/csv"})
    chosen(base)
    (base / "model").mkdir()


def write(base: Path, path: str, content: str | bytes) -> None:
    """Write a file below the root."""
    target = base / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode() if isinstance(content, str) else content)


def chosen(base: Path, **changes: str | None) -> None:
    """Write hyperparameters.json; None leaves one out."""
    all_of_them = {
        "feature_dim": str(FEATURES),
        "num_factors": "2",
        "predictor_type": "regressor",
        "mini_batch_size": "1",
        **changes,
    }
    given = {name: value for name, value in all_of_them.items() if value is not None}
    write(base, "input/config/hyperparameters.json", json.dumps(given))


def described(base: Path, **channels: dict[str, str]) -> None:
    """Write inputdataconfig.json."""
    write(base, "input/config/inputdataconfig.json", json.dumps(channels))


def _rows(content: str | bytes, content_type: str = "text/csv") -> Callable[[Path], None]:
    def spoil(base: Path) -> None:
        described(base, train={"ContentType": content_type})
        write(base, "input/data/train/rows.csv", content)

    return spoil


def _chosen(**changes: str | None) -> Callable[[Path], None]:
    return lambda base: chosen(base, **changes)


def _described(**channels: dict[str, str]) -> Callable[[Path], None]:
    return lambda base: described(base, **channels)


def _both(first: Callable[[Path], None], second: Callable[[Path], None]) -> Callable[[Path], None]:
    def spoil(base: Path) -> None:
        first(base)
        second(base)

    return spoil


def _model(**changes: int) -> Callable[[Path], None]:
    def spoil(base: Path) -> None:
        described(base, train={"ContentType": "text/csv"}, model={})
        _save_model(base / "input/data/model", **changes)

    return spoil


def _save_model(directory: Path, **changes: int) -> None:
    shape = {"feature_dim": FEATURES, "num_factors": 2} | changes
    factors = np.zeros((shape["feature_dim"], shape["num_factors"]), np.float32)
    directory.mkdir()
    model = FMModel("regressor", np.zeros(1, np.float32), factors[:, 0].copy(), factors)
    save_model(directory, model, {})


def _with_model(base: Path) -> None:
    _table(RATINGS)(base)
    described(base, train={"ContentType": "text/csv;header=present"}, model={})


COLUMNS = {"rating": "label", "user": "category", "age": "number"}
_RANKED = {"rating": "label", "item": "category", "genre": "category"}
RATINGS = "rating,user,age\n3,u1,40\n5,u2,\n"


def _table(
    content: str,
    columns: Mapping[str, object] | None = COLUMNS,
    items: str | None = None,
    mode: str = "File",
    **changes: str | None,
) -> Callable[[Path], None]:
    """Describe a job of tables: CSV with a header."""

    def spoil(base: Path) -> None:
        given = {} if columns is None else {"feature_dim": None, "columns": json.dumps(columns)}
        chosen(base, **given | changes)
        tables = {"train": content} | ({} if items is None else {"items": items})
        entry = {"ContentType": "text/csv;header=present", "TrainingInputMode": mode}
        described(base, **dict.fromkeys(tables, entry))
        for name, text in tables.items():
            write(base, f"input/data/{name}/rows.csv", text)

    return spoil


def _no_model(base: Path) -> None:
    described(base, train={"ContentType": "text/csv"}, model={})
    (base / "input/data/model").mkdir()


def _damaged_model(base: Path) -> None:
    described(base, train={"ContentType": "text/csv"}, model={})
    write(base, "input/data/model/model.tar.gz", "not an archive")


def _foreign_host(base: Path) -> None:
    hosts = {"current_host": "algo-3", "hosts": ["algo-1", "algo-2"]}
    write(base, "input/config/resourceconfig.json", json.dumps(hosts))


def _two_hosts(base: Path) -> None:
    hosts = {"current_host": "algo-1", "hosts": ["algo-1", "algo-2"]}
    write(base, "input/config/resourceconfig.json", json.dumps(hosts))


def _no_rows(base: Path) -> None:
    (base / "input/data/train/rows.csv").unlink()


def _no_channel(base: Path) -> None:
    _no_rows(base)
    (base / "input/data/train").rmdir()


def _other_checkpoint(base: Path) -> None:
    (base / "checkpoints").mkdir()
    _run(base)
    (base / "model/model.safetensors").unlink()
    chosen(base, num_factors="3")


def _other_rows(base: Path) -> None:
    (base / "checkpoints").mkdir()
    _run(base)
    (base / "model/model.safetensors").unlink()
    write(base, "input/data/train/rows.csv", GOOD + "1,1,1\n")


def _model_in_the_way(base: Path) -> None:
    (base / "model").rmdir()
    write(base, "model", "in the way")


def _checkpoints_in_the_way(base: Path) -> None:
    write(base, "checkpoints.txt", "in the way")
    config = {"LocalPath": str(base / "checkpoints.txt")}
    write(base, "input/config/checkpointconfig.json", json.dumps(config))


_NO_CONTENT = b"\x0a\x23\xd7\xce"
_GZIP = b"\x1f\x8b\x08\x00"

BAD_JOBS = [
    BadJob("Hyperparameters", "one is missing", _chosen(num_factors=None)),
    BadJob("Hyperparameters", "an unknown name", _chosen(num_factor="2")),
    BadJob("Hyperparameters", "a value out of range", _chosen(epochs="0")),
    BadJob("Hyperparameters", "a value that is no number", _chosen(bias_lr="fast")),
    BadJob("Hyperparameters", "several mistakes", _chosen(epochs="-1", use_bias="perhaps")),
    BadJob("Hyperparameters", "one given twice", _chosen(epoch="1", epochs="2")),
    BadJob("Hyperparameters", "no scale for uniform", _chosen(bias_init_method="uniform")),
    BadJob("Hyperparameters", "a metric of the other predictor type",
           _chosen(early_stopping_metric="roc_auc_score")),
    BadJob("Hyperparameters", "early stopping with nothing to judge by",
           _chosen(early_stopping_patience="2")),
    BadJob("Hyperparameters", "too few rows for validation_split",
           _both(_chosen(validation_split="0.1"), _rows("1,1,0\n"))),
    BadJob("Hyperparameters", "samples of what draws none", _chosen(posterior_samples="9")),
    BadJob("Hyperparameters", "groups that are none",
           _chosen(optimizer="mcmc", feature_groups="[1, 0]")),
    BadJob("Hyperparameters", "a weight of positives where there are no classes",
           _chosen(positive_weight="10")),
    BadJob("Hyperparameters", "negatives without a ranking loss", _chosen(num_negatives="3")),
    BadJob("The job", "no train channel", _described(test={})),
    BadJob("The job", "an unknown channel", _described(train={}, valid={})),
    BadJob("The job", "an unknown input mode", _described(train={"TrainingInputMode": "Turbo"})),
    BadJob("The job", "a record wrapper", _described(train={"RecordWrapperType": "RecordIO"})),
    BadJob("The job", "a model channel that is a pipe",
           _described(train={}, model={"TrainingInputMode": "Pipe"})),
    BadJob("The job", "validation rows given twice",
           _both(_chosen(validation_split="0.1"), _described(train={}, validation={}))),
    BadJob("The job", "a host that is none of the job's", _foreign_host),
    BadJob("The job", "a pipe, where all rows must be in memory",
           _both(_chosen(optimizer="mcmc"), _described(train={"TrainingInputMode": "Pipe"}))),
    BadJob("The job", "a pipe, where the labels must be known first",
           _both(_chosen(bias_init_method="mean"),
                 _described(train={"TrainingInputMode": "Pipe"}))),
    BadJob("The job", "two hosts, where one trains", _both(_chosen(optimizer="als"), _two_hosts)),
    BadJob("The job", "a ranking loss, and nothing to rank", _chosen(loss="bpr")),
    BadJob("The job", "a damaged file",
           lambda base: write(base, "input/config/hyperparameters.json", "{")),
    BadJob("The job", "no hyperparameters.json",
           lambda base: (base / "input/config/hyperparameters.json").unlink()),
    BadJob("Rows", "no file, or only empty ones", _no_rows),
    BadJob("Rows", "too few columns", _rows(GOOD + "1,2\n")),
    BadJob("Rows", "a header", _rows("y,a,b\n" + GOOD)),
    BadJob("Rows", "a number that is none", _rows(GOOD + "1,x,0\n")),
    BadJob("Rows", "an empty field", _rows(GOOD + "1,,0\n")),
    BadJob("Rows", "nan", _rows(GOOD + "1,nan,0\n")),
    BadJob("Rows", "a feature beyond feature_dim", _rows("1 2:1\n", "text/libsvm")),
    BadJob("Rows", "libffm text under the name of libsvm", _rows("1 0:1:1\n", "text/libsvm")),
    BadJob("Rows", "libsvm text under the name of libffm", _rows("1 1:1\n", "text/libffm")),
    BadJob("Rows", "a row without a label", _rows('{"features": [1, 0]}\n',
           "application/jsonlines")),
    BadJob("Rows", "a weight below 0", _rows('{"features": [1, 0], "label": 1, "weight": -1}\n',
           "application/jsonlines")),
    BadJob("Rows", "no weight above 0", _rows('{"features": [1, 0], "label": 1, "weight": 0}\n',
           "application/jsonlines")),
    BadJob("Rows", "a label that is no class",
           _both(_chosen(predictor_type="binary_classifier"), _rows(GOOD + "3,1,0\n"))),
    BadJob("Rows", "labels -1 and 1",
           _both(_chosen(predictor_type="binary_classifier"), _rows("1,1,0\n-1,0,1\n"))),
    BadJob("Rows", "labels 1 and 2",
           _both(_chosen(predictor_type="binary_classifier"), _rows("1,1,0\n2,0,1\n"))),
    BadJob("Rows", "tabs in CSV", _rows("1\t1\t0\n")),
    BadJob("Rows", "semicolons and decimal commas", _rows("1;0,5;0\n")),
    BadJob("Rows", "a list of JSON as CSV", _rows("[1, 1, 0]\n")),
    BadJob("Rows", "libsvm as CSV", _rows("1 0:1 1:1\n")),
    BadJob("Rows", "Parquet as CSV", _rows(b"PAR1\x15\x04")),
    BadJob("Rows", "a ZIP archive", _rows(b"PK\x03\x04\x14")),
    BadJob("Rows", "UTF-16", _rows("1,1,0\n".encode("utf-16"))),
    BadJob("Rows", "CSV in a channel without a content type",
           _both(_rows("21.6,1,0\n"), _described(train={}))),
    BadJob("Rows", "not RecordIO", _rows(GOOD, "application/x-recordio-protobuf")),
    BadJob("Rows", "RecordIO cut short", _rows(_NO_CONTENT, "application/x-recordio-protobuf")),
    BadJob("Rows", "an unsupported content type", _rows(GOOD, "image/png")),
    BadJob("Rows", "JSON, which is for requests", _rows("{}", "application/json")),
    BadJob("Rows", "damaged gzip", _rows(_GZIP)),
    BadJob("Tables", "a table, but no columns", _table(RATINGS, columns=None, feature_dim="2")),
    BadJob("Tables", "columns, but no table",
           _chosen(feature_dim=None, columns=json.dumps(COLUMNS))),
    BadJob("Tables", "feature_dim, which follows", _table(RATINGS, feature_dim="9")),
    BadJob("Tables", "a kind that there is not",
           _table(RATINGS, columns=COLUMNS | {"age": "integer"})),
    BadJob("Tables", "no label in columns", _table(RATINGS, columns={"user": "category"})),
    BadJob("Tables", "no label in the table", _table("user,age\nu1,40\n")),
    BadJob("Tables", "a column that columns does not name",
           _table("rating,user,age,day\n1,2,3,4\n")),
    BadJob("Tables", "no header", _table("3,u1,40\n5,u2,\n")),
    BadJob("Tables", "two columns of one name", _table("rating,user,user\n3,u1,u2\n")),
    BadJob("Tables", "a row that is too short", _table(RATINGS + "1,u3\n")),
    BadJob("Tables", "a number that is none", _table(RATINGS + "1,u3,n/a\n")),
    BadJob("Tables", "labels -1 and 1",
           _table("rating,user,age\n1,u1,40\n-1,u2,\n", predictor_type="binary_classifier")),
    BadJob("Tables", "a label that is missing", _table(RATINGS + ",u3,1\n")),
    BadJob("Tables", "no key in the table of items",
           _table(RATINGS, columns=COLUMNS | {"genre": "category"}, items="genre\nWar\n")),
    BadJob("Tables", "an item that stands twice",
           _table(RATINGS, columns=COLUMNS | {"genre": "category"},
                  items="user,genre\nu1,War\nu1,Drama\n")),
    BadJob("Tables", "a pipe, where all rows must be seen first", _table(RATINGS, mode="Pipe")),
    BadJob("Tables", "nobody knows what the items are", _table(RATINGS, keep_seen="true")),
    BadJob("Tables", "a ranking loss, and nobody knows who the users are",
           _table("rating,item\n3,i1\n", columns=_RANKED, items="item,genre\ni1,War\n",
                  loss="bpr")),
    BadJob("Tables", "a ranking loss, and nothing that anybody wants",
           _table("rating,user,item\n0,u1,i1\n", columns=_RANKED | {"user": "category"},
                  items="item,genre\ni1,War\n", loss="bpr")),
    BadJob("A model to start from", "none", _no_model),
    BadJob("A model to start from", "a damaged archive", _damaged_model),
    BadJob("A model to start from", "other factors", _model(num_factors=3)),
    BadJob("A model to start from", "more features", _model(feature_dim=3)),
    BadJob("A model to start from", "numbered features, and a job of tables",
           _both(_model(), _with_model)),
    BadJob("Checkpoints", "those of another job", _other_checkpoint),
    BadJob("Checkpoints", "those of other rows", _other_rows),
    BadJob("Training", "it diverges", _chosen(linear_lr="1e38", epochs="9")),
    BadJob("The machine", "a channel that is not there", _no_channel),
    BadJob("The machine", "no place for the model", _model_in_the_way),
    BadJob("The machine", "no place for checkpoints", _checkpoints_in_the_way),
]  # fmt: skip


class BadRequest(NamedTuple):
    """A request that is refused.

    Attributes
    ----------
    what : str
    content_type : str or None
    body : bytes
    encoding : str or None
        Content-Encoding.
    """

    what: str
    content_type: str | None
    body: bytes
    encoding: str | None = None


_JSON, _CSV = "application/json", "text/csv"
_REQUEST = b'{"instances": [{"features": [1, 0]}]}'

BAD_REQUESTS = [
    BadRequest("no content type", None, b"1,0\n"),
    BadRequest("the type that curl sends", "application/x-www-form-urlencoded", b"1,0\n"),
    BadRequest("no rows", _CSV, b""),
    BadRequest("a header", _CSV, b"age,size\n1,0\n"),
    BadRequest("tabs", _CSV, b"1\t0\n"),
    BadRequest("semicolons", _CSV, b"1;0\n"),
    BadRequest("an empty field", _CSV, b",0\n"),
    BadRequest("brackets", _CSV, b"[1, 0]"),
    BadRequest("JSON as CSV", _CSV, _REQUEST),
    BadRequest("CSV as JSON", _JSON, b"1,0\n"),
    BadRequest("libsvm as CSV", _CSV, b"1 0:1 1:1\n"),
    BadRequest("CSV as RecordIO", "application/x-recordio-protobuf", b"21.6,0\n"),
    BadRequest("Parquet", _CSV, b"PAR1\x15\x04"),
    BadRequest("base64", _JSON, base64.b64encode(_REQUEST)),
    BadRequest("gzip, not said", _CSV, _GZIP),
    BadRequest("another encoding", _CSV, b"1,0\n", "br"),
    BadRequest("JSON encoded twice", _JSON, json.dumps(_REQUEST.decode()).encode()),
    BadRequest("lists of numbers", _JSON, b'{"instances": [[1, 0]]}'),
    BadRequest("a bare list", _JSON, b"[[1, 0]]"),
    BadRequest("other names", _JSON, b'{"inputs": [[1, 0]]}'),
    BadRequest("one instance", _JSON, b'{"instance": {"features": [1, 0]}}'),
    BadRequest("no instances", _JSON, b'{"features": [1, 0]}'),
    BadRequest("JSON Lines as JSON", _JSON, b'{"features": [1, 0]}\n{"features": [0, 1]}\n'),
    BadRequest("JSON as JSON Lines", "application/jsonlines", _REQUEST),
    BadRequest("NaN", _JSON, b'{"instances": [{"features": [1, NaN]}]}'),
]


def _run(base: Path) -> None:
    train_job.run(Paths(base), threading.Event())


def reason(bad: BadJob, base: Path) -> str:
    """Run a job in an empty directory that plays /opt/ml; return what it says."""
    prepare(base)
    bad.spoil(base)
    with np.errstate(all="ignore"):
        code = train_job.attempt(Paths(base), lambda: _run(base))
    if code != 1:
        raise RuntimeError(f"{bad.what}: the job did not fail")
    text = (base / "output/failure").read_text(encoding="utf-8")
    return re.sub(re.escape(str(base)), "/opt/ml", text)


def make_page() -> str:
    """Return the page."""
    logging.disable()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            jobs = "\n".join(_sections(BAD_JOBS))
            return f"{HEAD}{jobs}\n{REQUESTS}{''.join(_lines(BAD_REQUESTS))}"
    finally:
        logging.disable(logging.NOTSET)


def _sections(jobs: Iterable[BadJob]) -> Iterable[str]:
    group = None
    for bad in jobs:
        if bad.group != group:
            group = bad.group
            yield f"## {group}\n"
        with tempfile.TemporaryDirectory() as base:
            yield f"**{bad.what}**\n\n    {reason(bad, Path(base))}\n"


def answer(bad: BadRequest, client: FlaskClient) -> str:
    """Send a request; return the status and what the answer says."""
    headers = {} if bad.encoding is None else {"Content-Encoding": bad.encoding}
    reply = client.post(
        "/invocations", data=bad.body, content_type=bad.content_type, headers=headers
    )
    if reply.status_code < 400:
        raise RuntimeError(f"{bad.what}: the request was not refused")
    return f"{reply.status_code}: {reply.text}"


def _lines(requests: Iterable[BadRequest]) -> Iterable[str]:
    with tempfile.TemporaryDirectory() as base:
        _save_model(Path(base) / "model")
        client = create_app(Settings.from_environment({"SAGEMAKER_BASE_DIR": base})).test_client()
        for bad in requests:
            cells = (bad.content_type or "", repr(bad.body)[2:-1], answer(bad, client))
            codes = (f"`{cell}`".replace("|", r"\|") if cell else "" for cell in cells)
            yield f"| {' | '.join((bad.what, *codes))} |\n"


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(make_page(), encoding="utf-8")
