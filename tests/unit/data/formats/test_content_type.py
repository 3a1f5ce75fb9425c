import pytest

from fm_algo.data.formats.content_type import (
    CSV,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    RECORDIO_PROTOBUF,
    parse_content_type,
)


@pytest.mark.parametrize(
    ("text", "name", "parameters"),
    [
        ("text/csv", CSV, {}),
        ("text/CSV;label_size=1", CSV, {"label_size": "1"}),
        (
            " Text/Csv ; Label_Size = 0 ; charset=utf-8 ",
            CSV,
            {"label_size": "0", "charset": "utf-8"},
        ),
        ('text/csv; label_size="1"', CSV, {"label_size": "1"}),
        (r'text/csv; a="x;y=\"z\"";label_size=1', CSV, {"a": 'x;y="z"', "label_size": "1"}),
        ("text/csv;", CSV, {}),
        ("text/csv;;label_size=1;", CSV, {"label_size": "1"}),
        ("text/csv; header", CSV, {}),
        ("text/csv; header; label_size=1", CSV, {"label_size": "1"}),
        ("text/csv; label_size=", CSV, {"label_size": ""}),
        ("text/csv; =1", CSV, {}),
        ('text/csv; label_size="1', CSV, {"label_size": ""}),
        ("text/csv; label_size*=utf-8''1", CSV, {"label_size*": "utf-8''1"}),
        ("text/csv; é=ü; label_size=1", CSV, {"é": "ü", "label_size": "1"}),
        ("text/csv; a=\udcff", CSV, {"a": "\udcff"}),
        ("text/csv;\r\n label_size=1", CSV, {"label_size": "1"}),
        ("text/csv; label_size=0; label_size=1", CSV, {"label_size": "1"}),
        ("application/X-RecordIO-Protobuf", RECORDIO_PROTOBUF, {}),
        ("application/JSONLINES", JSONLINES, {}),
        ("application/jsonl", JSONLINES, {}),
        ("application/x-jsonlines; a=b", JSONLINES, {"a": "b"}),
        ("text/x-libsvm;index_base=1", LIBSVM, {"index_base": "1"}),
        ("text/x-libffm", LIBFFM, {}),
        ("*/*", "*/*", {}),
        ("", "", {}),
        (";", "", {}),
        ("größe", "größe", {}),
        ("text/csv, text/plain", "text/csv, text/plain", {}),
    ],
)
def test_a_content_type_is_read(text, name, parameters):
    content_type = parse_content_type(text)
    assert (content_type.name, dict(content_type.parameters)) == (name, parameters)
