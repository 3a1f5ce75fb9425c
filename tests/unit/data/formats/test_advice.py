import base64
import gzip
import json

import pytest

from fm_algo.data.formats.advice import with_advice
from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.formats.recordio import frame_record
from fm_algo.errors import UserError

JSON, JSONLINES = "application/json", "application/jsonlines"
CSV, LIBSVM, LIBFFM = "text/csv", "text/libsvm", "text/libffm"
RECORDIO = "application/x-recordio-protobuf"
REQUEST = b'{"instances": [{"features": [1.5, 0]}]}'

COMMAS = "its columns stand between {}, those of CSV between commas"
DECIMAL = "its numbers have decimal commas: write 1.5 for 1,5, and commas between columns"
SHAPE = 'the shape is {"instances": [{"features": [1.5, 0]}]}'
BASE64 = (
    "it is base64: send the bytes themselves, with version 2 of the AWS CLI by --body fileb://FILE "
    "or by --cli-binary-format raw-in-base64-out"
)
NAN = "NaN and Infinity are no JSON: leave such a feature out, or send a number"
UTF16 = "it is UTF-16: save it as UTF-8"


def advice(start, said, message="wrong", **more):
    told = with_advice(UserError(message), start, parse_content_type(said), **more)
    assert "\n" not in told.message
    return told.message.removeprefix(f"{message}; ") if told.message != message else None


def say(name, content_type):
    return f"it looks like {name}: say ContentType={content_type}"


@pytest.mark.parametrize(
    ("start", "said", "expected"),
    [
        (b"1\t2\t3\n", CSV, COMMAS.format("tabs")),
        (b"label\ta\tb\n1\t2\t3\n", CSV, COMMAS.format("tabs")),
        (b"1;2;3\n", CSV, COMMAS.format("semicolons")),
        (b"1|2|3\n", CSV, COMMAS.format("vertical bars")),
        (b"1 2.5 -3\n", CSV, COMMAS.format("blanks")),
        (b"1;0,5;3\n", CSV, DECIMAL),
        (b'"0,5","1"\n', CSV, DECIMAL),
        (b"[1, 2, 3]", CSV, "it is a list of JSON; CSV has no brackets: 1, 2, 3"),
        (b"[[1, 2], [3, 4]]", RECORDIO, f"it is a list of JSON; {SHAPE} (application/json)"),
        (REQUEST, CSV, say("JSON", JSON)),
        (b'{"features": [1, 2]}\n', CSV, say("JSON Lines", JSONLINES)),
        (b"1 0:1 5:2.5\n", CSV, say("libsvm", LIBSVM)),
        (b"-1 0:1", RECORDIO, say("libsvm", LIBSVM)),
        (b"1 0:3:1 1:9:0.5\n", CSV, say("libffm", LIBFFM)),
        (b"21.6,0,1\n", RECORDIO, say("CSV", CSV)),
        (b"label,a,b\n1,2,3\n", RECORDIO, say("CSV", CSV)),
        (b"1,2,3\n", JSON, say("CSV", CSV)),
        (b"1,,3\r\n", LIBSVM, say("CSV", CSV)),
        (frame_record(b"abcd"), CSV, say("RecordIO", RECORDIO)),
        (
            b"PAR1\x15\x04",
            CSV,
            "it is Parquet: say ContentType=application/x-parquet, which a job with columns and "
            "its model read",
        ),
        (
            b"PK\x03\x04\x14",
            CSV,
            "it is a ZIP archive, as Excel's .xlsx is: unpack it, or save the table as CSV",
        ),
        (
            gzip.compress(b"1,2,3\n", mtime=0),
            JSON,
            "it is gzip: unpack it, or send it with Content-Encoding: gzip",
        ),
        ("1,2\n".encode("utf-16"), CSV, UTF16),
        (b"\xfe\xff\x001", CSV, UTF16),
        (base64.b64encode(b"1.5,2.5\n1,2\n"), CSV, BASE64),
        (base64.encodebytes(REQUEST * 9), JSON, BASE64),
        (base64.b64encode(frame_record(bytes(8))), RECORDIO, BASE64),
        (json.dumps(REQUEST.decode()).encode(), JSON, "it is JSON that was encoded twice: encode "
         "it once"),
        (b'{"instances": [[1, 2]]}', JSON, SHAPE),
        (b"[1, 2]", JSON, SHAPE),
        (b'[{"features": [1, 2]}]', JSON, SHAPE),
        (b'{"inputs": [[1, 2]]}', JSON, SHAPE),
        (b'{"instance": {"features": [1, 2]}}', JSON, SHAPE),
        (b'{"instances": {"features": [1, 2]}}', JSON, SHAPE),
        (b"7", JSON, SHAPE),
        (b'{"features": [1, 2]}\n{"features": [1, 2]}\n', JSON, say("JSON Lines", JSONLINES)),
        (REQUEST, JSONLINES, say("JSON", JSON)),
        (b'{"instances": [{"features": [1, NaN]}]}', JSON, NAN),
        (b'{"features": [1, -Infinity]}', JSONLINES, NAN),
    ],
)  # fmt: skip
def test_a_source_of_another_kind_is_told_what_to_do(start, said, expected):
    assert advice(start, said) == expected
    assert advice(start + b"\n" * 100_000, said) == expected


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"", CSV),
        (b"1,2,3\n4,5\n", CSV),
        (b"1,2,x\n", CSV),
        (b"label,a,b\n1,2,3\n", CSV),
        (b'user,title\n1,"War; Peace"\n', "text/csv;header=present"),
        (b"title,a b c d\n", CSV),
        (b"123456789012\n", CSV),
        (b"abcdefghijkl\n", CSV),
        (b"1 0:1 9:1\n", LIBSVM),
        (b"x 0:1\n", LIBSVM),
        (b"1 0:1\n", LIBFFM),  # its decoder tells
        (b"1 0:0:1\n", LIBSVM),
        (b'{"instances": [{"features": [1, 2, 3]}]}', JSON),
        (b'{"a": 1, "instances" : []}', JSON),
        (b'{"features": [1, 2', JSONLINES),
        (b"[1, 2]", JSONLINES),
        (b'{"user": "NaN", "text": "a, Infinity"}', JSONLINES),
        (frame_record(b"abcd") + b"garbage", RECORDIO),
        (b"garbage\n" * 9, RECORDIO),
    ],
)
def test_a_source_that_is_what_it_was_said_to_be_is_told_no_more(start, said):
    assert advice(start, said) is None


def test_only_rows_are_advised_on():
    error = UserError("too long", http_status=413)

    told = with_advice(error, b"1;2", parse_content_type(CSV))

    assert (told.message, told.http_status) == ("too long", 413)


def test_advice_follows_a_question():
    told = with_advice(UserError("is it?"), b"1,2", parse_content_type(RECORDIO))

    assert told.message == "is it? it looks like CSV: say ContentType=text/csv"


def test_an_instance_is_shown_as_the_model_takes_it():
    shown = advice(b"[]", JSON, instance='{"user": …}')

    assert shown == 'the shape is {"instances": [{"user": …}]}'
