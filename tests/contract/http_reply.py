"""One HTTP request and what came back."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers["Content-Type"]

    @property
    def reason(self) -> str:
        """The body of an error, which has a form of its own."""
        text = self.body.decode()
        assert self.content_type.startswith("text/plain")
        assert len(text.splitlines()) == 1
        assert len(text) <= 2048
        return text


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: object, **headers: str
) -> Reply:
    """One request; a body that is an iterator is sent in chunks."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, sent)
    answer = connection.getresponse()
    return Reply(answer.status, dict(answer.getheaders()), answer.read())
