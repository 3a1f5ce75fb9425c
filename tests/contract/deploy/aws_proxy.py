"""AWS over HTTP as far as moto plays it, seen through a proxy that can misbehave."""

import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = dict[str, Any]


@dataclass
class Rule:
    """What happens to the next `times` answers of an operation, e.g. CreateTrainingJob."""

    operation: str
    times: int
    change: Callable[[Answer], tuple[int, Answer]]
    instead: bool
    """The request does not reach AWS."""

    def apply(self, real: Answer) -> tuple[int, bytes]:
        self.times -= 1
        status, content = self.change(real)
        return status, json.dumps(content).encode()


@dataclass
class Proxy:
    """Between the tool and moto: records the calls of JSON services, breaks those it is told to."""

    port: int = 0
    calls: list[tuple[str, Answer]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, operation: str, code: str, message: str, times: int = 1) -> None:
        """AWS refuses the next calls."""
        answer = (400, {"__type": code, "message": message})
        self.rules.append(Rule(operation, times, lambda _: answer, instead=True))

    def alter(self, operation: str, times: int = 1, **fields: object) -> None:
        """AWS answers the next calls that succeed, but with these fields."""
        self.rules.append(Rule(operation, times, lambda real: (200, real | fields), instead=False))

    def answer(self, operation: str, times: int = 1, **fields: object) -> None:
        """Answers for what moto lacks."""
        self.rules.append(Rule(operation, times, lambda _: (200, fields), instead=True))

    def made(self, operation: str) -> list[Answer]:
        return [parameters for name, parameters in self.calls if name == operation]

    def operations(self) -> list[str]:
        """What was called, without the questions."""
        questions = ("Describe", "List", "Get")
        return [name for name, _ in self.calls if not name.startswith(questions)]


@contextmanager
def running_proxy(moto_port: int) -> Iterator[Proxy]:
    """Put a proxy in front of moto."""
    proxy = Proxy()
    handler = partial(_Handler, proxy=proxy, moto_port=moto_port)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, proxy: Proxy, moto_port: int) -> None:
        self._proxy = proxy
        self._moto_port = moto_port
        super().__init__(*args)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation:
            self._proxy.calls.append((operation, json.loads(body or b"{}")))
        rules = self._proxy.rules
        rule = next((r for r in rules if r.operation == operation and r.times), None)
        if rule and rule.instead:
            self._reply(*rule.apply({}), [])
            return
        status, headers, answer = self._forward(body)
        if rule and status == 200:
            self._reply(*rule.apply(json.loads(answer)), headers)
        else:
            self._reply(status, answer, headers)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST  # noqa: N815 - names of http.server's

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._moto_port, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), content

    def _reply(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


_HOP = {"content-length", "connection", "date", "server", "transfer-encoding"}
"""Headers that belong to one connection."""
