"""Which requests take no longer than handing them to another thread would.

docs/performance.md, "Serving", says what it gains to answer them in the main loop.
"""

import re
from collections.abc import Callable

MAX_BYTES = 1 << 14
"""Of header and body. So few rows cost little, unless they ask for more than scores.

Of a body that is scored by S samples, S times its bytes: as many parameters are looked at then.
"""

_REQUEST_LINE = re.compile(
    rb"(?:GET /ping|POST (/invocations|/models/[^ ?]+/invoke)) HTTP/1\.1\r\n"
)
_FRAMING = re.compile(
    rb"\r\n(?:content-length:[ \t]*(\d{1,5})\r|content-length|transfer-encoding|expect)",
    re.IGNORECASE,
)

_PACKED = re.compile(rb"parquet|content-encoding", re.IGNORECASE)
"""In a header: such a short body can hold many rows. The first Parquet file loads a library."""


MAX_CELLS = 1 << 12
"""Of a body of rows by name, all their cells, times the samples: about a millisecond."""


def no_samples(_path: bytes) -> int:
    """Answer for a server whose models have none, and no rows by name."""
    return 0


def is_quick(
    data: bytes,
    num_samples: Callable[[bytes], int] = no_samples,
    row_width: Callable[[bytes], int] = no_samples,
) -> bool:
    """Tell whether the bytes are one whole invocation that only asks for scores, or a ping.

    The result decides where a request is answered, never how. Whoever answers reads it by the rules
    of HTTP; this function knows the common case alone.

    Parameters
    ----------
    data : bytes
        All that has come on a connection.
    num_samples : callable, optional
        How many samples the model has that is invoked at a path, as HTTP spells it.
    row_width : callable, optional
        How many features a row by name has at that model; 0 if it knows no names.
    """
    line = _REQUEST_LINE.match(data) if len(data) < MAX_BYTES else None
    if line is None:
        return False
    body = data.find(b"\r\n\r\n") + 4
    if body < 4:
        return False
    framing = _FRAMING.search(data, 0, body)
    if framing is None:
        return data.startswith(b"GET") and len(data) == body
    if framing[1] is None or len(data) != body + int(framing[1]):
        return False
    # A configuration may ask for seconds of work. Escaped, its name can be written in many ways.
    if b"configuration" in data or b"\\" in data or _PACKED.search(data, 0, body):
        return False
    path = line[1]
    return path is None or _is_light(data[body:], num_samples(path), row_width(path))


def _is_light(body: bytes, num_samples: int, row_width: int) -> bool:
    """Tell whether the rows of a body take little work, whatever they are."""
    if num_samples * len(body) >= MAX_BYTES:
        return False
    # However many columns a row by name lacks, it has a line or a brace.
    most_rows = 1 + body.count(b"\n") + body.count(b"{")
    return max(num_samples, 1) * row_width * most_rows < MAX_CELLS
