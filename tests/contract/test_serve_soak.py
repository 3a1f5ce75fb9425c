"""Sixteen callers with good and bad requests of every format, for a while.

FM_SOAK_S=600 makes it the ten minutes that a release is put through; --log-cli-level=INFO tells
what came of it.
"""

import contextlib
import io
import json
import logging
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from http_reply import ask
from scipy.sparse import csr_matrix

from fm_algo import write_recordio
from fm_algo.data.formats.predictions import encode_csv, encode_json, encode_jsonlines
from fm_algo.data.formats.record import encode_predictions
from fm_algo.sparse import CSRBatch

SOAK_S = float(os.environ.get("FM_SOAK_S", "12"))  # noqa: TID251 - of the test alone
# A short run is still filling its caches when the first measure is taken.
MAX_GROWTH = 1.05 if SOAK_S >= 60 else 1.2
NUM_CALLERS = 16
_log = logging.getLogger(__name__)
ENCODERS = {
    "application/json": encode_json,
    "application/jsonlines": encode_jsonlines,
    "text/csv": encode_csv,
    "application/x-recordio-protobuf": encode_predictions,
}
BAD = [
    ("application/json", b'{"instances": [{"features": [1, 2]}]}', 400),
    ("application/json", b'{"instances": [{"features": {"keys": [7], "values": [1]}}]}', 400),
    ("application/json", b'{"instances": ', 400),
    ("application/jsonlines", b'{"features": [1, 0, 0, 0, 0]}\n' * 500 + b"{\n", 400),
    ("application/x-recordio-protobuf", bytes.fromhex("0a23d7ceffffff1f") + b"x" * 999, 400),
    ("text/csv", b"1,2,3,4,5\n" * 200 + b"1,2,3,4,x\n", 400),
    ("text/libsvm", b"1 0:1 9:1\n", 400),
    ("image/png", b"\x89PNG", 415),
    ("application/json", b"", 400),
]


def good_requests(model):
    """Bodies of 1 to 9000 rows in every format, each with its answer in every type."""
    rng = np.random.default_rng(3)
    for num_rows in (1, 1, 1, 7, 300, 9000):
        rows = np.where(rng.random((num_rows, 5)) < 0.5, rng.normal(size=(num_rows, 5)), 0)
        matrix = csr_matrix(rows.astype(np.float32))
        batch = CSRBatch(
            matrix.indptr.astype(np.int64), matrix.indices, matrix.data, None, matrix.shape[1]
        )
        score = model.score(batch)
        answers = {
            accept: encode(score, model.predicted_label(score))
            for accept, encode in ENCODERS.items()
        }
        instances = [
            {"features": {"keys": row.indices.tolist(), "values": row.data.tolist(), "shape": [5]}}
            for row in matrix
        ]
        recordio = io.BytesIO()
        write_recordio(recordio, matrix)
        yield "application/json", json.dumps({"instances": instances}).encode(), answers
        lines = "".join(f"{json.dumps(instance)}\n" for instance in instances).encode()
        yield "application/jsonlines", lines, answers
        yield "application/x-recordio-protobuf", recordio.getvalue(), answers
        csv = "".join(f"{','.join(map(repr, row.tolist()))}\n" for row in matrix.toarray())
        yield "text/csv", csv.encode(), answers
        words = (zip(row.indices.tolist(), row.data.tolist(), strict=True) for row in matrix)
        libsvm = "".join(" ".join(["0", *(f"{k}:{v!r}" for k, v in row)]) + "\n" for row in words)
        yield "text/libsvm", libsvm.encode(), answers


def memory_of(server):
    """Bytes that the server's processes hold together, what they share counted once."""
    pids = [server.pid, *map(int, _children(server.pid))]
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(text.partition("\nPss:")[2].split()[0]) * 1024 for text in rollups)


def _children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def call_until(end, server, requests, seed):
    choose = random.Random(seed)  # noqa: S311 - which request comes next
    statuses = Counter()
    with contextlib.closing(server.connect()) as connection:
        while time.monotonic() < end:
            if choose.random() < 0.2:
                content_type, body, expected = choose.choice(BAD)
                reply = ask(connection, "POST", "/invocations", body, Content_Type=content_type)
                assert reply.status == expected
                assert reply.reason
            else:
                content_type, body, answers = choose.choice(requests)
                accept = choose.choice(list(answers))
                headers = {"Content_Type": content_type, "Accept": accept}
                reply = ask(connection, "POST", "/invocations", body, **headers)
                assert reply.status == 200
                assert reply.body == answers[accept]
            statuses[reply.status] += 1
    return statuses


@pytest.mark.parametrize("predictor_type", ["binary_classifier"])
def test_it_answers_the_same_after_a_while_and_is_no_larger(
    start_server, models, predictor_type, request
):
    if "image" in request.node.callspec.id:
        pytest.skip("the processes of a container are not this machine's")
    model = models[predictor_type]
    server = start_server({"model": model}, SAGEMAKER_MODEL_SERVER_WORKERS="2")
    requests = list(good_requests(model))
    sizes = []
    for seconds in (SOAK_S / 3, 2 * SOAK_S / 3):
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(NUM_CALLERS) as callers:
            running = [
                callers.submit(call_until, end, server, requests, (len(sizes) + 1) * 100 + caller)
                for caller in range(NUM_CALLERS)
            ]
        statuses = sum((call.result() for call in running), Counter())
        sizes.append(memory_of(server))
        _log.info("after %g s: %s, %d bytes", seconds, dict(statuses), sizes[-1])
    assert statuses[200] > 100
    assert statuses[400] > 20
    assert "Traceback" not in server.log()
    assert sizes[1] < MAX_GROWTH * sizes[0], (
        f"{sizes[0]} bytes after warm-up, {sizes[1]} at the end"
    )
