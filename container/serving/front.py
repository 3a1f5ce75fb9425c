"""The way in: answers invocations and /ping by what WSGI gives, and leaves all else to Flask.

Flask takes as long for a request as it takes to decode and score one instance.
"""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import TYPE_CHECKING

from container.serving.error_answer import error_reply
from container.serving.invoker import Invoker
from container.serving.reply import CUSTOM_ATTRIBUTES, Reply, passed_back
from container.serving.request_metrics import Answered, RequestMetrics
from container.serving.served import Served
from fm_algo.model import FMModel

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_ATTRIBUTES = "HTTP_" + CUSTOM_ATTRIBUTES.upper().replace("-", "_")
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Front:
    """The WSGI application that gunicorn calls.

    Parameters
    ----------
    served : Served
    invoke : Invoker
    metrics : RequestMetrics
        Counts invocations.
    others : WSGI application
        Answers all other requests.
    """

    def __init__(
        self,
        served: Served,
        invoke: Invoker,
        metrics: RequestMetrics,
        others: "WSGIApplication",
    ) -> None:
        self._served = served
        self._invoke = invoke
        self._metrics = metrics
        self._others = others

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "POST" and (borrowed := self._served.find(path)):
            reply = self._answer_invocation(environ, *borrowed)
        elif path == "/ping" and method in {"GET", "HEAD"}:
            reply = self._served.ping()
        else:
            return self._others(environ, start_response)
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(reply.num_bytes)),
            *reply.headers,
            *passed_back(environ.get(_ATTRIBUTES, "")),
        ]
        start_response(_STATUS_LINES.get(reply.status, f"{reply.status} "), headers)
        return reply.body

    def _answer_invocation(
        self, environ: "WSGIEnvironment", name: str, borrowed: AbstractContextManager[FMModel]
    ) -> Reply:
        started = time.perf_counter()
        known_name, num_rows = "", 0
        try:
            with borrowed as model:
                known_name = name
                reply, num_rows = self._invoke(model, environ)
        except Exception as error:  # noqa: BLE001 - a WSGI application is where they end
            reply = error_reply(error, f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        elapsed_s = time.perf_counter() - started
        answered = Answered(
            model=known_name, status=reply.status, num_rows=num_rows, elapsed_s=elapsed_s
        )
        self._metrics.count(answered)
        return reply
