"""What the server sends back, be it by the fast way in front of Flask or by Flask."""

from collections.abc import Iterable
from dataclasses import dataclass, field

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
_MAX_ATTRIBUTES = 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the server.

    Attributes
    ----------
    status : int
        HTTP's.
    content_type : str
        MIME type of the body.
    body : iterable of bytes
        In pieces. It is closed, if it can be, once it has been sent.
    num_bytes : int
        Length of the body.
    headers : list of (str, str)
        Further ones.
    """

    status: int
    content_type: str
    body: Iterable[bytes]
    num_bytes: int
    headers: list[tuple[str, str]] = field(default_factory=list)


def plain(status: int, line: str, headers: Iterable[tuple[str, str]] = ()) -> Reply:
    """Answer with a line of text."""
    body = line.encode()
    return Reply(
        status=status,
        content_type="text/plain; charset=utf-8",
        body=[body],
        num_bytes=len(body),
        headers=[*headers],
    )


def passed_back(attributes: str) -> list[tuple[str, str]]:
    """Return the header of custom attributes, which callers get back only if we repeat it.

    Nothing comes back of what the platform would not have sent: more than 1,024 characters, or
    others than printable ASCII.
    """
    if not attributes or len(attributes) > _MAX_ATTRIBUTES:
        return []
    is_text = attributes.isascii() and attributes.isprintable()
    return [(CUSTOM_ATTRIBUTES, attributes)] if is_text else []
