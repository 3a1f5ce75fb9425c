import io
import threading

import numpy as np
import pytest
from werkzeug.exceptions import ServiceUnavailable

from container.serving.invoker import MAX_REQUESTS, Invoker
from container.serving.request_body import PIECE_BYTES
from container.settings import Settings
from fm_algo.errors import UserError
from fm_algo.model import FMModel

ROW = b"1,0,2\n"


@pytest.fixture
def invoke():
    """Answer a body in CSV, by a worker that takes bodies of up to 4 MiB."""
    limits = {"MAX_CONTENT_LENGTH": str(1 << 22), "SAGEMAKER_MODEL_SERVER_WORKERS": "64"}
    invoker = Invoker(Settings.from_environment(limits))
    zeros = np.zeros((3, 1), np.float32)
    model = FMModel("regressor", np.array([1], np.float32), np.ones(3, np.float32), zeros)

    def answer(stream, length=None, content_type="text/csv"):
        environ = {"wsgi.input": stream, "CONTENT_TYPE": content_type}
        if length is not None:
            environ["CONTENT_LENGTH"] = str(length)
        return invoker(model, environ)

    return answer


def test_a_short_answer_and_a_long_one_have_their_length(invoke):
    many = ROW * (PIECE_BYTES // len(ROW) + 1)
    for body, length in ((ROW, len(ROW)), (ROW, None), (many, len(many)), (many, None)):
        reply, num_rows = invoke(io.BytesIO(body), length)

        answered = b"".join(reply.body)
        reply.body.close()
        assert (reply.status, reply.content_type) == (200, "text/csv")
        assert num_rows == body.count(b"\n")
        assert len(answered) == reply.num_bytes
        assert answered == b"4.0\n" * num_rows


def test_one_invocation_too_many_is_refused_until_an_answer_has_been_sent(invoke):
    replies = [invoke(io.BytesIO(ROW), len(ROW))[0] for _ in range(MAX_REQUESTS)]

    with pytest.raises(ServiceUnavailable, match="62 requests are being answered") as refused:
        invoke(io.BytesIO(ROW), len(ROW))
    assert refused.value.retry_after == 1

    replies[0].body.close()
    assert invoke(io.BytesIO(ROW), len(ROW))[1] == 1


def test_an_invocation_that_fails_takes_no_place(invoke):
    for _ in range(MAX_REQUESTS + 1):
        with pytest.raises(UserError):
            invoke(io.BytesIO(b"x\n"), 2)

    assert invoke(io.BytesIO(ROW), len(ROW))[1] == 1


def test_what_is_sent_in_vain_is_read_before_it_is_refused(invoke):
    stream = io.BytesIO(ROW * 1000)

    with pytest.raises(UserError, match="is not read"):
        invoke(stream, len(ROW) * 1000, content_type="image/png")

    assert not stream.read()


class Waiting:
    """A body that comes when it may."""

    def __init__(self):
        self.is_read, self.may_come = threading.Event(), threading.Event()

    def read(self, size):
        self.is_read.set()
        self.may_come.wait(10)
        return b""


def test_bodies_of_more_than_a_workers_memory_are_refused(invoke):
    bodies = [Waiting() for _ in range(8)]

    def fail_in_the_end(body):
        with pytest.raises(UserError, match="broke off"):
            invoke(body, 1 << 22)

    threads = [threading.Thread(target=fail_in_the_end, args=(body,)) for body in bodies]
    for thread, body in zip(threads, bodies, strict=True):
        thread.start()
        assert body.is_read.wait(10)
    with pytest.raises(ServiceUnavailable, match=f"{8 << 22} bytes of requests are being"):
        invoke(io.BytesIO(ROW), len(ROW))
    for thread, body in zip(threads, bodies, strict=True):
        body.may_come.set()
        thread.join()

    assert invoke(io.BytesIO(ROW), len(ROW))[1] == 1


def test_a_short_request_has_its_turn_between_the_pieces_of_a_long_one(invoke):
    num_rows = (4 << 20) // 32
    long = b'{"instances": [%b]}' % b", ".join([b'{"features": [1, 0, 2]}'] * (num_rows - 1))
    answered, is_decoding = [], threading.Event()

    class Body(io.BytesIO):
        def read(self, size):
            if self.tell() + size >= len(long):
                is_decoding.set()
            return super().read(size)

    def ask(name, body, stream, content_type):
        reply, _ = invoke(stream, len(body), content_type)
        answered.append(name)
        assert len(b"".join(reply.body)) == reply.num_bytes

    threads = [
        threading.Thread(target=ask, args=("long", long, Body(long), "application/json")),
        threading.Thread(target=ask, args=("short", ROW, io.BytesIO(ROW), "text/csv")),
    ]
    for thread in threads:
        thread.start()
        is_decoding.wait(10)
    for thread in threads:
        thread.join()

    assert answered == ["short", "long"]
