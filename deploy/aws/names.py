"""Check names of things at AWS, or make them from the time or from the content."""

import hashlib
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from fm_algo.errors import UserError

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")
_DIGEST_LENGTH = 8

LONGEST_NAME = 63
"""Longest name of most things at AWS, in characters."""

LONGEST_BASE = LONGEST_NAME - 1 - _DIGEST_LENGTH
"""Longest base that `content_name` makes a name from, in characters."""


def check_name(name: str, longest: int) -> str:
    """Return the name if AWS accepts it.

    Raises
    ------
    UserError
        If it is not letters, digits and inner hyphens, or is longer than `longest`.
    """
    if not _NAME.fullmatch(name) or len(name) > longest:
        raise UserError(
            f"name {name!r} is not allowed: letters, digits and hyphens between them, at most "
            f"{longest} characters"
        )
    return name


def timed_name(prefix: str) -> str:
    """Make a name from the time, new each second, e.g. fm-20261123-052500."""
    return f"{prefix}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"


def content_name(base: str, content: Mapping[str, Any]) -> str:
    """Make a name from the content of a thing: same content, same name; other content, other name.

    AWS cannot change models and endpoint configurations. With such a name, a thing that exists is
    the requested one.
    """
    text = json.dumps(content, sort_keys=True)
    return f"{base}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]}"


def is_content_name(name: str, base: str) -> bool:
    """Return whether `content_name` may have made the name from this base."""
    return re.fullmatch(rf"{re.escape(base)}-[0-9a-f]{{{_DIGEST_LENGTH}}}", name) is not None
