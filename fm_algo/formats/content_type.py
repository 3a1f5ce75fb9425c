"""Names of the formats, and how a MIME type is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message

RECORDIO_PROTOBUF = "application/x-recordio-protobuf"
JSON = "application/json"
JSONLINES = "application/jsonlines"
CSV = "text/csv"
LIBSVM = "text/libsvm"

_ALIASES = {"text/x-libsvm": LIBSVM, "application/jsonl": JSONLINES, "application/x-jsonlines": JSONLINES}


@dataclass(frozen=True, slots=True)
class ContentType:
    """A MIME type, lower case, with its parameters.

    Attributes
    ----------
    name : str
        Type and subtype, e.g. ``text/csv``; other spellings of a known name are replaced by it.
    parameters : mapping of str to str
        E.g. ``{"label_size": "1"}``; names in lower case. Unknown ones are kept and ignored.
    """

    name: str
    parameters: Mapping[str, str]


def parse_content_type(text: str) -> ContentType:
    """Read a Content-Type header or the ContentType of a channel.

    Case does not matter: AWS's own pages write ``application/JSON`` and ``text/CSV``.
    """
    message = Message()
    message["content-type"] = text.strip()
    pairs = message.get_params(failobj=[])
    name = text.partition(";")[0].strip().lower()
    parameters = {key.lower(): value for key, value in pairs[1:]}
    return ContentType(_ALIASES.get(name, name), parameters)
