"""Bodies as batch transform sends them: long, perhaps in chunks, and never in memory as a whole."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from http_reply import ask
from scipy.sparse import csr_matrix

from fm_algo import write_recordio

JSON = "application/json"
CSV = "text/csv"
NUM_ROWS = 1000
BODY_BYTES = 20 << 20
WARM_UP_BYTES = 2 << 20
MAX_GROWTH = 16 << 20
"""What a worker may grow by while it answers a long body, after a shorter one: no part of it."""


def block_of(content_type):
    """Rows that all differ, to be sent again and again."""
    rows = np.float32([[row, 0, 0, row % 7, 1] for row in range(NUM_ROWS)])
    if content_type == "application/x-recordio-protobuf":
        target = io.BytesIO()
        write_recordio(target, csr_matrix(rows))
        return target.getvalue()
    lines = {
        CSV: (",".join(map(str, row)) for row in rows.tolist()),
        "application/jsonlines": (json.dumps({"features": row}) for row in rows.tolist()),
        "text/libsvm": (f"0 0:{row:g} 3:{three:g} 4:1" for row, _, _, three, _ in rows.tolist()),
    }[content_type]
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.fixture
def server(start_server, models, request):
    if "image" in request.node.callspec.id:
        pytest.skip("the processes of a container are not this machine's")
    return start_server(
        {"model": models["regressor"]},
        SAGEMAKER_BATCH="true",
        SAGEMAKER_MODEL_SERVER_WORKERS="1",
        SAGEMAKER_MAX_PAYLOAD_IN_MB="100",
    )


def memory_of_worker(server, name):
    status = Path(f"/proc/{worker_of(server)}/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) << 10


def worker_of(server):
    (pid,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return pid


def growth_while(server, call):
    """Return how far a worker's memory rises above what it was, at the worst."""
    Path(f"/proc/{worker_of(server)}/clear_refs").write_text("5")  # the peak is what is there now
    before = memory_of_worker(server, "VmRSS")
    call()
    return memory_of_worker(server, "VmHWM") - before


@pytest.mark.parametrize(
    ("content_type", "chunked"),
    [
        (CSV, False),
        ("application/jsonlines", True),
        ("text/libsvm", False),
        ("application/x-recordio-protobuf", True),
    ],
)
def test_a_long_body_of_rows_takes_no_more_memory_than_a_short_one(server, content_type, chunked):
    block = block_of(content_type)
    answer = server.invoke(block, Content_Type=content_type, Accept=CSV).body
    assert answer.count(b"\n") == NUM_ROWS

    def score(num_bytes):
        num_blocks = num_bytes // len(block)
        headers = {"Content_Type": content_type, "Accept": CSV}
        if not chunked:
            headers["Content_Length"] = str(num_blocks * len(block))
        reply = server.invoke((block for _ in range(num_blocks)), **headers)
        assert reply.status == 200
        assert reply.body == num_blocks * answer

    score(WARM_UP_BYTES)
    assert growth_while(server, lambda: score(BODY_BYTES)) < MAX_GROWTH


def test_a_long_document_is_in_memory_once(server):
    instance = b'{"features": [1, 0, 0, 0.5, 0], "name": "' + b"x" * 400 + b'"}, '
    num_rows = BODY_BYTES // len(instance)
    body = b'{"instances": [' + instance * num_rows + instance.removesuffix(b", ") + b"]}"
    one = b'{"instances": [' + instance.removesuffix(b", ") + b"]}"
    answer = server.invoke(one, Content_Type=JSON, Accept=CSV).body

    def score():
        reply = server.invoke(body, Content_Type=JSON, Accept=CSV)
        assert reply.body == (num_rows + 1) * answer

    assert growth_while(server, score) < 1.25 * len(body) + MAX_GROWTH


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_mistake_in_the_last_row_of_a_long_body_is_told_by_the_status(server, chunked):
    block = block_of(CSV)
    num_blocks = (8 << 20) // len(block)
    body = block * num_blocks + b"1,2,3,4,x\n"

    reply = server.invoke(iter([body]) if chunked else body, Content_Type=CSV)

    assert reply.status == 400
    assert f"line {num_blocks * NUM_ROWS + 1}: column 5" in reply.reason


def test_the_caller_of_a_long_body_with_a_mistake_at_its_start_gets_to_read_why(server):
    body = b"1,2,3,4,x\n" + block_of(CSV) * 400

    with contextlib.closing(server.connect()) as connection:
        reply = ask(connection, "POST", "/invocations", body, Content_Type=CSV)
        assert reply.status == 400
        assert "line 1: column 5" in reply.reason
        # Nothing of the body is taken for the next request.
        assert ask(connection, "GET", "/ping", None).status == 200
