"""Which MIME type an answer has: the Accept header, and what holds where there is none."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from container.settings import ANSWER_TYPES
from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    parse_content_type,
)
from fm_algo.errors import UserError

_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")


class _MediaRange(NamedTuple):
    """One element of an Accept header, e.g. ``text/*;q=0.5``."""

    name: str
    quality: float

    def specificity(self, name: str) -> int:
        """Tell how exactly this range names a MIME type: 3 fully, 2 half of it, 1 as any, 0 not."""
        if self.name == name:
            return 3
        if self.name == f"{name.partition('/')[0]}/*":
            return 2
        return 1 if self.name == "*/*" else 0


def default_answer_type(request_type: str, *, is_batch: bool) -> str:
    """Return the type of the answer to a request that leaves it open.

    Parameters
    ----------
    request_type : str
        MIME type of the request, without parameters.
    is_batch : bool
        The request is part of a batch transform job.

    Returns
    -------
    str
        JSON, as the built-in algorithm answers at an endpoint; JSON Lines, as it answered in batch
        jobs whatever they sent, or where the request is JSON Lines. Text in rows, which it never
        took, is answered by text in rows.
    """
    if request_type in {CSV, LIBSVM, LIBFFM}:
        return CSV
    return JSONLINES if is_batch or request_type == JSONLINES else JSON


@lru_cache(maxsize=256)
def negotiate(accept: str | None, default: str) -> str:
    """Choose the type of an answer.

    Parameters
    ----------
    accept : str or None
        The Accept header: a list of media ranges, perhaps with q-values. Other parameters and case
        do not matter.
    default : str
        What is answered where the header is missing or leaves it open.

    Returns
    -------
    str
        One of `ANSWER_TYPES`: that of the highest quality; among equals the one named first.

    Raises
    ------
    UserError
        406, if none is acceptable.

    Notes
    -----
    RFC 9110, section 12.5.1: of the ranges that cover a type the most specific one counts.
    """
    if accept is None or not accept.strip():
        return default
    ranges = [_parse_range(element) for element in accept.split(",") if element.strip()]
    best = max((default, *ANSWER_TYPES), key=lambda name: _rank(ranges, name))
    if _rank(ranges, best)[0] == 0:
        raise UserError(
            f"Accept {accept!r} cannot be answered, allowed: {', '.join(ANSWER_TYPES)}",
            http_status=406,
        )
    return best


def _rank(ranges: Sequence[_MediaRange], name: str) -> tuple[float, int]:
    """Return a type's quality by the range that names it most exactly; then, earlier is more."""
    covering = [
        (media.specificity(name), -place, media.quality)
        for place, media in enumerate(ranges)
        if media.specificity(name)
    ]
    _, place, quality = max(covering, default=(0, 0, 0.0))
    return quality, place


def _parse_range(element: str) -> _MediaRange:
    media = parse_content_type(element)
    quality = media.parameters.get("q", "1").strip()
    if not _QUALITY.fullmatch(quality):
        raise UserError(f"Accept has q={quality!r}, allowed: 0 to 1", http_status=406)
    return _MediaRange(media.name, float(quality))
