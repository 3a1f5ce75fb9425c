import numpy as np
import pytest

from fm_algo.data.bulk import line
from fm_algo.data.bulk.csv import BulkCSVDecoder, CSVForm
from fm_algo.data.bulk.frame import RowArrays, append_rows
from fm_algo.data.bulk.libsvm import BulkLibFFMDecoder, BulkLibSVMDecoder, LibSVMForm
from fm_algo.data.fields import KnownFields, LearntFields
from fm_algo.data.formats.csv import CSVDecoder
from fm_algo.data.formats.libffm import LibFFMDecoder
from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.errors import UserError

FEATURE_DIM = 3

FORMATS = {
    "csv": (CSVDecoder, BulkCSVDecoder, {"labelled": True, "label_size": 1}),
    "csv, label dropped": (CSVDecoder, BulkCSVDecoder, {"labelled": False, "label_size": 1}),
    "csv, no label": (CSVDecoder, BulkCSVDecoder, {"labelled": False, "label_size": 0}),
    "libsvm": (LibSVMDecoder, BulkLibSVMDecoder, {"labelled": True}),
    "libsvm, label dropped": (LibSVMDecoder, BulkLibSVMDecoder, {"labelled": False}),
    "libsvm, from 1": (LibSVMDecoder, BulkLibSVMDecoder, {"labelled": True, "index_base": 1}),
    "libffm": (LibFFMDecoder, BulkLibFFMDecoder, {"labelled": True}),
    "libffm, label dropped": (LibFFMDecoder, BulkLibFFMDecoder, {"labelled": False}),
    "libffm, from 1": (LibFFMDecoder, BulkLibFFMDecoder, {"labelled": True, "index_base": 1}),
}

USUAL = {
    "csv": [
        "1,0,2.5,0",
        "-1, 1 ,\t2,3 ",
        "0,0,0,0\r",
        "+1,.5,-0,1e-3",
        "0.1,0,0,0.30000000000000004",
    ],
    "csv, label dropped": ["1,0,2.5,0", "7,1,2,3"],
    "csv, no label": ["0,2.5,0", " 1,1,1"],
    "libsvm": ["1 0:1 2:0.5", "+1 2:1\t0:-1e2 ", "-1", "  0 1:0\r", "1  0:.5", "2.5 00:1"],
    "libsvm, label dropped": ["1 0:1", "0:1 2:0.5", "", " ", "\r", "3", "3 ", "\t1:0 \r"],
    "libsvm, from 1": ["1 1:1 3:2", "0 3:1"],
    "libffm": ["1 0:0:1 7:2:0.5", "+1 65535:2:1\t007:0:-1e2 ", "-1", "  0 3:1:0\r", "1  0:0:.5"],
    "libffm, label dropped": ["1 3:0:1", "3:0:1 3:2:0.5", "", "\r", "3 ", "\t0:1:0 \r"],
    "libffm, from 1": ["1 0:1:1 0:3:2"],
}
UNUSUAL = {
    "csv": ['1,"0",2,0', "1,0,2", "1,0,2,3,4", "1,x,2,3", "x,1,2,3", "1,0,nan,0", "1,1e39,0,0",
            "1,,2,3", "1,1_0,2,3", "1 2,0,0,0", "1,0,0,0\r\r", "1,0\xa0,0,0", "1:0:0:0", ",1,1,1"],
    "csv, label dropped": ["x,0,2.5,0", "0,2.5,0"],
    "csv, no label": ["1,0,2.5,0", "0,2"],
    "libsvm": ["1 0:1 # x", "# x", "0:1", "1 3:1", "1 -1:1", "1 1.0:1", "1 0:1 0:2", "1 2:1 2:1",
               "1 0:", "1 0 :1", "1 0: 1", "1 0:1:1", "1 0:nan", "1 0:1e39", "x 0:1", "1 0:1 2",
               "1 9999999999:1", "1 18446744073709551616:1", "1\v0:1", "1 0:1\r 1:1", "1,0:1"],
    "libsvm, label dropped": ["x", "1 2", "0:1 3", "0:1#", "1.0:1", "3:1"],
    "libsvm, from 1": ["1 0:1", "1 4:1"],
    "libffm": ["1 0:0:1 # x", "0:0:1", "1 0:3:1", "1 65536:0:1", "1 9999999999:0:1", "1 -1:0:1",
               "1 1.0:0:1", "1 x:0:1", "1 :0:1", "1 0:1", "1 0:0:1:1", "1 0:0:1 0:0:2", "1 0::1",
               "1 0:0:", "1 0 :0:1", "1 0: 0:1", "1 0:0:nan", "1 0", "1 0:0:1 2", "1 0\r:0:1",
               "1 0:0:1 1:0:1", "1 18446744073709551616:0:1"],
    "libffm, label dropped": ["x", "1 2", "0:0:1 3", "0:1", "0:0:1#", "1.0:0:1"],
    "libffm, from 1": ["1 1:0:1", "1 0:4:1"],
}  # fmt: skip


def cases(lines_of_kind):
    return [
        pytest.param(kind, line, id=f"{kind}: {line!r}")
        for kind, lines in lines_of_kind.items()
        for line in lines
    ]


def decoders(kind):
    plain, bulk, options = FORMATS[kind]
    return plain(feature_dim=FEATURE_DIM, **options), bulk(feature_dim=FEATURE_DIM, **options)


def compiled(kind, text, *, max_rows=20, max_entries=60):
    """Where the compiled function stops, and how many rows it has then."""
    options = {"index_base": 0} | FORMATS[kind][2]
    if kind.startswith("csv"):
        form = CSVForm(FEATURE_DIM, options["label_size"], options["labelled"])
    else:
        has_fields = kind.startswith("libffm")
        form = LibSVMForm(FEATURE_DIM, options["index_base"], options["labelled"], has_fields)
    rows = RowArrays(
        np.zeros(max_rows + 1, np.int64),
        np.zeros(max_entries, np.int32),
        np.zeros(max_entries, np.float32),
        np.zeros(max_rows, np.float32),
    )
    return append_rows(np.frombuffer(text, np.uint8), 0, form, rows, 0)


def plain_lists(batch):
    labels = None if batch.labels is None else batch.labels.tolist()
    return batch.indptr.tolist(), batch.indices.tolist(), batch.values.tolist(), labels


def outcome(decoder, text):
    try:
        return plain_lists(decoder.feed(text)), plain_lists(decoder.close())
    except UserError as error:
        return error.message


@pytest.mark.parametrize(("kind", "line_text"), cases(USUAL))
def test_usual_lines_are_decoded_compiled_and_right(kind, line_text):
    text = f"{line_text}\n".encode() * 3
    assert compiled(kind, text) == (len(text), 3)
    plain, bulk = decoders(kind)
    if line_text.strip():  # blank lines may be cut off before
        assert outcome(bulk, text) == outcome(plain, text)


@pytest.mark.parametrize(("kind", "line_text"), cases(UNUSUAL))
def test_the_compiled_function_stops_before_a_line_that_is_unusual(kind, line_text):
    good = f"{USUAL[kind][0]}\n".encode()
    assert compiled(kind, good * 2 + f"{line_text}\n".encode() + good) == (2 * len(good), 2)


@pytest.mark.parametrize("few_bytes", [0, 1 << 10])
@pytest.mark.parametrize(("kind", "line_text"), cases(UNUSUAL))
def test_unusual_lines_are_read_or_refused_as_by_the_plain_decoder(
    kind, line_text, few_bytes, monkeypatch
):
    monkeypatch.setattr(line, "_FEW_BYTES", few_bytes)
    good = f"{USUAL[kind][0]}\n"
    text = f"{good * 2}{line_text}\n{good * 3}{line_text}\n{good}".encode()
    plain, bulk = decoders(kind)
    assert outcome(bulk, text) == outcome(plain, text)


@pytest.mark.parametrize("text", [b"", b"1 0:1", b"1,1,1,1"])
@pytest.mark.parametrize("kind", FORMATS)
def test_text_without_a_line_feed_at_its_end_is_not_looked_at(kind, text):
    assert compiled(kind, text) == (0, 0)


@pytest.mark.parametrize("max_rows", [0, 1, 2, 3])
@pytest.mark.parametrize("max_entries", range(9))
@pytest.mark.parametrize(
    ("kind", "text"),
    [("csv", b"1,2,0,3\n"), ("libsvm", b"1 0:2 2:3\n"), ("libffm", b"1 9:0:2 0:2:3\n")],
)
def test_the_compiled_function_stops_where_the_arrays_are_full(kind, text, max_rows, max_entries):
    position, num_rows = compiled(kind, text * 3, max_rows=max_rows, max_entries=max_entries)
    assert num_rows == min(max_rows, max_entries // 2)
    assert position == len(text) * num_rows


@pytest.mark.parametrize("num_rows", [1, 10, 5000])
def test_rows_for_which_there_is_no_room_come_out_all_the_same(num_rows, monkeypatch):
    monkeypatch.setattr(line, "_WAITING_BYTES", 0)
    _, bulk = decoders("libsvm")
    assert bulk.feed(b"7\n" * num_rows).labels.tolist() == [7] * num_rows


LEARNT = b"1 4:0:1 7:1:1\n0 4:0:1\n"


@pytest.mark.parametrize("few_bytes", [0, 1 << 10])
@pytest.mark.parametrize("text", [b"", b"1 7:1:2 4:0:1\n", b"1 7:2:1\n", b"1 # x\n1 9:2:1 4:0:3\n"])
def test_fields_are_learnt_as_by_the_plain_decoder(text, few_bytes, monkeypatch):
    monkeypatch.setattr(line, "_FEW_BYTES", few_bytes)
    tables = []
    for kind in (LibFFMDecoder, BulkLibFFMDecoder):
        fields = LearntFields(FEATURE_DIM)
        kind(feature_dim=FEATURE_DIM, labelled=True, fields=fields).feed(LEARNT + text)
        tables.append(fields.table.tolist())
    assert tables[0] == tables[1]
    assert tables[0][:2] == [4, 7]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("few_bytes", [0, 1 << 10])
@pytest.mark.parametrize(
    "text",
    [b"1 3:0:1\n", b"1 4:0:1 4:1:1\n", b"1 9:2:1 8:2:1\n", b"1 9:2:1\n1 8:2:1\n", b"1 3:0:1 x\n"],
)
def test_a_feature_in_two_fields_is_refused_as_by_the_plain_decoder(
    text, few_bytes, known, monkeypatch
):
    monkeypatch.setattr(line, "_FEW_BYTES", few_bytes)
    outcomes = []
    for kind in (LibFFMDecoder, BulkLibFFMDecoder):
        fields = LearntFields(FEATURE_DIM)
        kind(feature_dim=FEATURE_DIM, labelled=True, fields=fields).feed(LEARNT)
        if known:
            fields = KnownFields(fields.finish())
        decoder = kind(feature_dim=FEATURE_DIM, labelled=True, fields=fields)
        outcomes.append(outcome(decoder, LEARNT + text + LEARNT))
        if known:
            assert fields.table.tolist() == [4, 7, -1]
    assert outcomes[0] == outcomes[1]
    assert known or outcomes[0].startswith("line ")


def test_a_table_of_other_features_is_not_looked_at():
    decoder = BulkLibFFMDecoder(feature_dim=3, labelled=True, fields=LearntFields(2))
    with pytest.raises(ValueError, match="2 features have fields, not 3"):
        decoder.feed(b"1 0:2:1\n")
