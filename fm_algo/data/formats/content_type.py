"""`ContentType`: read a MIME type; the names of all formats."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

RECORDIO_PROTOBUF = "application/x-recordio-protobuf"
JSON = "application/json"
JSONLINES = "application/jsonlines"
CSV = "text/csv"
LIBSVM = "text/libsvm"
LIBFFM = "text/libffm"
PARQUET = "application/x-parquet"

_ALIASES = {
    "text/x-libsvm": LIBSVM,
    "text/x-libffm": LIBFFM,
    "application/jsonl": JSONLINES,
    "application/x-jsonlines": JSONLINES,
    "application/vnd.apache.parquet": PARQUET,
    "application/parquet": PARQUET,
}

_ENDS = {
    ".parquet": PARQUET,
    ".csv": f"{CSV};header=present",
    ".jsonl": JSONLINES,
    ".ndjson": JSONLINES,
}
"""Ends of the names of tables, and their types."""

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"]*))')


@dataclass(frozen=True, slots=True)
class ContentType:
    """A MIME type, lower case, with its parameters.

    Attributes
    ----------
    name : str
        Type and subtype, e.g. ``text/csv``; replaces other spellings of a known name.
    parameters : mapping of str to str
        E.g. ``{"label_size": "1"}``; names in lower case. Unknown ones are kept and ignored.
    """

    name: str
    parameters: Mapping[str, str]


TABLE_TYPES = (PARQUET, f"{CSV};header=present", JSONLINES)
"""The content types of tables."""


def is_table(content_type: ContentType) -> bool:
    """Return whether a content type is that of tables.

    JSON Lines can be either: objects of cells, or of numbered features.
    """
    is_header = content_type.parameters.get("header", "").lower() == "present"
    return content_type.name in {PARQUET, JSONLINES} or (content_type.name == CSV and is_header)


def parse_content_type(text: str) -> ContentType:
    """Read a Content-Type header or the ContentType of a channel.

    Case does not matter: AWS's own pages write ``application/JSON`` and ``text/CSV``. Whatever is
    not a parameter by RFC 9110, section 5.6.6, is skipped.
    """
    name, semicolon, rest = text.partition(";")
    name = name.strip().lower()
    parameters = {
        key.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else plain.strip()
        for key, quoted, plain in _PARAMETER.findall(semicolon + rest)
    }
    return ContentType(_ALIASES.get(name, name), parameters)


def table_type_of(name: str) -> str | None:
    """Return the content type of a table by the end of its file's name; None if that tells none."""
    plain = name.removesuffix(".gz")
    return next((text for end, text in _ENDS.items() if plain.endswith(end)), None)
