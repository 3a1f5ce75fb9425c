"""What to do about rows that cannot be read, where their first bytes tell the likely mistake.

A decoder says what is wrong with a record. Whoever opened the source knows how it begins, and adds
what that tells: most unreadable sources are good ones of another type.
"""

import base64
import re
from http import HTTPStatus

from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    PARQUET,
    RECORDIO_PROTOBUF,
    ContentType,
)
from fm_algo.data.formats.recordio import MAGIC_BYTES
from fm_algo.errors import UserError

START_BYTES = 1 << 12
"""How much of a source is looked at."""

NUMBERED_INSTANCE = '{"features": [1.5, 0]}'

_NAMES = {
    RECORDIO_PROTOBUF: "RecordIO",
    JSON: "JSON",
    JSONLINES: "JSON Lines",
    CSV: "CSV",
    LIBSVM: "libsvm",
    LIBFFM: "libffm",
}
_UTF16 = "it is UTF-16: save it as UTF-8"
_MAGIC = {
    b"\x1f\x8b": "it is gzip: unpack it, or send it with Content-Encoding: gzip",
    b"PK\x03\x04": "it is a ZIP archive, as Excel's .xlsx is: unpack it, or save the table as CSV",
    b"PAR1": f"it is Parquet: say ContentType={PARQUET}, which a job with columns and its model "
    "read",
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
}
_BASE64 = (
    "it is base64: send the bytes themselves, with version 2 of the AWS CLI by --body fileb://FILE "
    "or by --cli-binary-format raw-in-base64-out"
)
_TWICE = "it is JSON that was encoded twice: encode it once"
_NO_NUMBER = "NaN and Infinity are no JSON: leave such a feature out, or send a number"

_SEPARATORS = {b";": "semicolons", b"\t": "tabs", b"|": "vertical bars"}
_NUMBER = rb'[ "]*[-+]?\.?\d[\d.eE+-]*[ "]*'
_CSV_LINE = re.compile(rb"^%b(?:[,;\t|](?:%b)?)+\r?$" % (_NUMBER, _NUMBER), re.MULTILINE)
_DECIMAL_COMMA = re.compile(rb'"-?\d+,\d+"|;-?\d+,\d|\d,\d+;')
_BLANKS_LINE = re.compile(rb"%b(?: +%b)+\r?(?:\n|$)" % ((rb"[-+]?[\d.]+",) * 2))
_ENTRY_LINES = {
    content_type: re.compile(rb"[-+\w.]+(?:[ \t]+%b[^\s:]+)+[ \t\r]*(?:\n|$)" % numbers)
    for content_type, numbers in ((LIBSVM, rb"\d+:"), (LIBFFM, rb"\d+:\d+:"))
}
_BASE64_TEXT = re.compile(rb"[A-Za-z0-9+/]{12,}={0,2}")
_PRINTED = b"\t\n\r" + bytes(range(32, 127))
_JSON_IN_TEXT = re.compile(rb'"\s*[{\[]')
_NOT_A_NUMBER = re.compile(rb"[\[:,]\s*-?(?:NaN|Infinity)\s*[,\]}]")
_INSTANCES = re.compile(rb'"instances"\s*:\s*\[\s*[{\]]')
_NEXT_OBJECT = re.compile(rb"\}\s*\n\s*\{")


def with_advice(
    error: UserError,
    start: bytes,
    content_type: ContentType,
    instance: str = NUMBERED_INSTANCE,
) -> UserError:
    """Return the error of a decoder, followed by what to do about it where that is likely.

    Parameters
    ----------
    error : UserError
    start : bytes
        The first `START_BYTES` of the source.
    content_type : ContentType
        What the source was said to be.
    instance : str
        What an instance of JSON looks like.

    Returns
    -------
    UserError
        Of the same status. Where that is not 400, the rows are not to blame, nor advised on.
    """
    is_of_rows = error.http_status == HTTPStatus.BAD_REQUEST
    advice = _advice(start[:START_BYTES], content_type.name, instance) if is_of_rows else None
    joint = " " if error.message.endswith("?") else "; "
    told = error.message if advice is None else f"{error.message}{joint}{advice}"
    return UserError(told, error.http_status)


def _advice(start: bytes, said: str, instance: str) -> str | None:
    for magic, advice in _MAGIC.items():
        if start.startswith(magic):
            return advice
    if start.startswith(MAGIC_BYTES):
        return None if said == RECORDIO_PROTOBUF else _say(RECORDIO_PROTOBUF)
    text = start.lstrip()
    if _is_base64(text):
        return _BASE64
    if text[:1] in {b"{", b"["} or _JSON_IN_TEXT.match(text):
        return _advice_on_json(text, said, instance)
    return _advice_on_lines(text, said) or (_shape(instance) if said == JSON else None)


def _advice_on_json(text: bytes, said: str, instance: str) -> str | None:
    if text[:1] == b'"':
        return _TWICE
    if said in {JSON, JSONLINES} and _NOT_A_NUMBER.search(text):
        return _NO_NUMBER
    if said == JSON:
        return _advice_on_request(text, instance)
    if said == JSONLINES:
        return _say(JSON) if b'"instances"' in text else None
    if text[:1] == b"[":
        right = "CSV has no brackets: 1, 2, 3" if said == CSV else f"{_shape(instance)} ({JSON})"
        return f"it is a list of JSON; {right}"
    return _say(JSON if b'"instances"' in text else JSONLINES)


def _advice_on_request(text: bytes, instance: str) -> str | None:
    if _INSTANCES.search(text):
        return None
    return _say(JSONLINES) if _NEXT_OBJECT.search(text) else _shape(instance)


def _advice_on_lines(text: bytes, said: str) -> str | None:
    """Advise on text that has a row per line."""
    line = text.partition(b"\n")[0]
    for content_type, entry_line in _ENTRY_LINES.items():
        if said not in _ENTRY_LINES and entry_line.match(text):
            return _say(content_type)
    if said != CSV:
        return _say(CSV) if _CSV_LINE.search(text) else None
    if _DECIMAL_COMMA.search(line):
        return "its numbers have decimal commas: write 1.5 for 1,5, and commas between columns"
    for separator, name in _SEPARATORS.items():
        if line.count(separator) > line.count(b","):
            return f"its columns stand between {name}, those of CSV between commas"
    if _BLANKS_LINE.match(text):
        return "its columns stand between blanks, those of CSV between commas"
    return None


def _is_base64(text: bytes) -> bool:
    """Tell whether text is base64 of what could be rows."""
    packed = b"".join(text.split())
    if not _BASE64_TEXT.fullmatch(packed):
        return False
    packed = packed.rstrip(b"=")
    start = base64.b64decode(packed[: len(packed) // 4 * 4])
    return start.startswith(MAGIC_BYTES) or not start.translate(None, _PRINTED)


def _say(content_type: str) -> str:
    return f"it looks like {_NAMES[content_type]}: say ContentType={content_type}"


def _shape(instance: str) -> str:
    return f'the shape is {{"instances": [{instance}]}}'
