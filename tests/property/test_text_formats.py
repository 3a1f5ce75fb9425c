"""Text formats on generated rows, generated mistakes and every cut into pieces."""

import json
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fm_algo.data.fields import LearntFields
from fm_algo.data.formats import lines
from fm_algo.data.formats.csv import CSVDecoder
from fm_algo.data.formats.jsonio import JSONLinesDecoder, decode_json
from fm_algo.data.formats.libffm import LibFFMDecoder
from fm_algo.data.formats.libsvm import LibSVMDecoder
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

FEATURE_DIM = 5

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
rows_of_entries = st.lists(
    st.tuples(float32s, st.dictionaries(st.integers(0, FEATURE_DIM - 1), float32s)), max_size=6
)
cuts = st.lists(st.integers(0, 200), max_size=6)
line_ends = st.sampled_from(["\n", "\r\n"])

# Bytes that come near to rows, so that mistakes of every kind turn up.
PIECES = (
    *(b"0 1 7 0.5 -2 1e2 1e39 nan 1_0 .5 +1 4 5 x \xff \0 \xef\xbb\xbf".split()),
    *(b', : \n \r\n # qid: [ ] { } " , , : : \n \n'.split(b" ")),
    *(b'{"features": |{"data": |"keys": |"values": |"shape": |"label": | |\t|true'.split(b"|")),
)
near_rows = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)

# Lines of each format: plain ones, unusual ones, wrong ones.
LINES = {
    "csv": b"""
        1,0,1,0,0,2|2,0.5,0,0,0,0|-1, 1,2 ,3,4,5|1,.5,0,0,0,0|"1","2",3,4,5,6
        |1,2|1,2,3,4,5|1,x,0,0,0,0|1,0,nan,0,0,0|1,0,1e39,0,0,0|,,,,,""",
    "libsvm": b"""
        1 0:1 3:2|2 1:0.5 2:-1e2|1|3:1|4:1 1:1 4:2|+1 0:.5|1  0:1|1 0:1 # x|# x
        |1 5:1|1 -1:1|1 1.5:1|1 2:1:1|1 2|x 1:1|1 1:nan|1 1:3e38 1:3e38|1 1:1e39|1 : 1""",
    "libffm": b"""
        1 0:0:1 7:3:2|2 0:0:0.5 1:2:-1e2|1|7:3:1|7:4:1 2:1:1 7:4:2|+1 0:0:.5|1  0:0:1|1 0:0:1 # x
        |# x|1 0:5:1|1 0:-1:1|1 0:1.5:1|1 0:2:1:1|1 2|1 2:1|x 0:1:1|1 2:1:nan|1 2:1:3e38 2:1:3e38
        |1 2:1:1e39|1 : 1|1 65535:1:1|1 65536:1:1|1 -1:1:1|1 0.5:1:1|1 1e1:1:1|1 1:1:1|1 ::1|1 x:1:1
        |1 3:0:1|1 0:0:1 3:0:1""",
    "json": b"""
        {"features": [0, 1, 0, 0, 2], "label": 1}|{"features": {"keys": [3, 1], "values": [1, 2]}}
        |{"data": {"features": {"shape": [5]}}, "label": 2}|{"features": [1, 2], "label": 1}
        |{"features": {"keys": [3, 3], "values": [3e38, 3e38]}, "label": 1}|{"label": true}
        |{"features": {"keys": [5], "values": [1]}, "label": 1}|{"features": [0, 1e39, 0, 0, 0]}
        |{"features": [1], "data": 1}|[]|{"features": [NaN]}
        |{"label": 1e39, "features": {"shape": [5]}}""",
}
KINDS = {
    kind: [b"", b" ", *(line.strip() for line in text.split(b"|"))] for kind, text in LINES.items()
}


DECODERS = {
    "csv": lambda labelled: CSVDecoder(feature_dim=FEATURE_DIM, labelled=labelled, label_size=1),
    "csv, no label": lambda _: CSVDecoder(feature_dim=FEATURE_DIM, labelled=False, label_size=0),
    "libsvm": lambda labelled: LibSVMDecoder(feature_dim=FEATURE_DIM, labelled=labelled),
    "libsvm, from 1": lambda labelled: LibSVMDecoder(
        feature_dim=FEATURE_DIM, labelled=labelled, index_base=1
    ),
    "libffm": lambda labelled: LibFFMDecoder(feature_dim=FEATURE_DIM, labelled=labelled),
    "libffm, fields learnt": lambda labelled: LibFFMDecoder(
        feature_dim=FEATURE_DIM, labelled=labelled, fields=LearntFields(FEATURE_DIM)
    ),
    "json": lambda labelled: JSONLinesDecoder(feature_dim=FEATURE_DIM, labelled=labelled),
}


@st.composite
def sources(draw):
    """How to make a decoder, and bytes for it that are all but right."""
    name = draw(st.sampled_from(sorted(DECODERS)))
    labelled = draw(st.booleans())
    lines_of_kind = st.lists(st.sampled_from(KINDS[name.partition(",")[0]]), max_size=6)
    data = draw(
        lines_of_kind.map(b"\n".join) | lines_of_kind.map(b"\r\n".join) | near_rows | st.binary()
    )
    return lambda: DECODERS[name](labelled), data


def decode(decoder, data, places):
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    pieces = [data[first:last] for first, last in pairwise(bounds)]
    return CSRBatch.join([*map(decoder.feed, pieces), decoder.close()])


def plain(batch):
    labels = None if batch.labels is None else batch.labels.tolist()
    return batch.indptr.tolist(), batch.indices.tolist(), batch.values.tolist(), labels


def check_message(error):
    assert error.message.isprintable()
    assert error.http_status == 400


def outcome(decoder, data, places):
    """The rows, or what is said against them."""
    try:
        return plain(decode(decoder, data, places))
    except UserError as error:
        check_message(error)
        return error.message


def expected(rows, *, labelled, dense):
    kept = [
        [
            (feature, np.float32(value))
            for feature, value in (sorted(entries.items()) if dense else entries.items())
            if value or not dense
        ]
        for _, entries in rows
    ]
    return (
        [0, *np.cumsum([len(entries) for entries in kept], dtype=int).tolist()],
        [feature for entries in kept for feature, _ in entries],
        [float(value) for entries in kept for _, value in entries],
        [label for label, _ in rows] if labelled else None,
    )


def dense(entries):
    return [entries.get(feature, 0.0) for feature in range(FEATURE_DIM)]


@given(rows_of_entries, cuts, line_ends, st.booleans(), st.booleans())
def test_csv_rows_come_out_as_they_went_in(rows, places, line_end, labelled, is_quoted):
    text = line_end.join(
        ",".join(f'"{number}"' if is_quoted else repr(number) for number in [label, *dense(row)])
        for label, row in rows
    )
    batch = decode(DECODERS["csv"](labelled), text.encode(), places)
    assert plain(batch) == expected(rows, labelled=labelled, dense=True)


@given(rows_of_entries, cuts, line_ends, st.booleans(), st.sampled_from(["", " ", " # 1:2"]))
def test_libsvm_rows_come_out_as_they_went_in(rows, places, line_end, labelled, tail):
    text = "".join(
        " ".join([repr(label), *(f"{feature}:{value!r}" for feature, value in row.items())])
        + tail
        + line_end
        for label, row in rows
    )
    batch = decode(DECODERS["libsvm"](labelled), text.encode(), places)
    assert plain(batch) == expected(rows, labelled=labelled, dense=False)


@given(rows_of_entries, cuts)
def test_libsvm_rows_without_labels_come_out_as_they_went_in(rows, places):
    text = "".join(
        " ".join(f"{feature + 1}:{value!r}" for feature, value in row.items()) + "\n"
        for _, row in rows
    )
    batch = decode(DECODERS["libsvm, from 1"](False), text.encode(), places)
    assert plain(batch) == expected(rows, labelled=False, dense=False)


@given(rows_of_entries, cuts, line_ends, st.lists(st.integers(0, 65535), min_size=5, max_size=5))
def test_libffm_rows_come_out_as_they_went_in_and_their_fields_are_learnt(
    rows, places, line_end, field_of
):
    text = "".join(
        " ".join([repr(label), *(f"{field_of[i]}:{i}:{value!r}" for i, value in row.items())])
        + line_end
        for label, row in rows
    )
    fields = LearntFields(FEATURE_DIM)
    decoder = LibFFMDecoder(feature_dim=FEATURE_DIM, labelled=True, fields=fields)
    batch = decode(decoder, text.encode(), places)
    assert plain(batch) == expected(rows, labelled=True, dense=False)
    seen = {feature for _, row in rows for feature in row}
    assert fields.table.tolist() == [field_of[i] if i in seen else -1 for i in range(FEATURE_DIM)]


def instance(label, row, *, is_dense):
    features = (
        {"values": dense(row)}
        if is_dense
        else {"keys": list(row), "values": list(row.values()), "shape": [FEATURE_DIM]}
    )
    return {"label": label, "data": {"features": features}}


@given(rows_of_entries, cuts, line_ends, st.booleans(), st.booleans())
def test_json_lines_come_out_as_they_went_in(rows, places, line_end, labelled, is_dense):
    text = line_end.join(json.dumps(instance(*row, is_dense=is_dense)) for row in rows)
    batch = decode(DECODERS["json"](labelled), text.encode(), places)
    assert plain(batch) == expected(rows, labelled=labelled, dense=is_dense)


@given(rows_of_entries.filter(bool), st.booleans())
def test_json_instances_come_out_as_they_went_in(rows, is_dense):
    body = json.dumps({"instances": [instance(*row, is_dense=is_dense) for row in rows]})
    batch = decode_json(body.encode(), feature_dim=FEATURE_DIM)[0]
    assert plain(batch) == expected(rows, labelled=False, dense=is_dense)


@settings(max_examples=500)
@given(sources(), cuts)
def test_neither_cuts_nor_blocks_change_rows_or_messages(source, places):
    make, data = source
    whole = outcome(make(), data, [])
    assert outcome(make(), data, places) == whole
    block_bytes = lines._BLOCK_BYTES
    lines._BLOCK_BYTES = 8
    try:
        assert outcome(make(), data, places) == whole
    finally:
        lines._BLOCK_BYTES = block_bytes


@settings(max_examples=500)
@given(sources())
def test_the_quick_way_gives_what_the_careful_way_gives(source):
    make, data = source
    careful = make()
    careful._decode_quickly = lambda _: None
    assert outcome(careful, data, []) == outcome(make(), data, [])


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(KINDS["json"]), max_size=5).map(
        lambda instances: b'{"instances": [%b]}' % b", ".join(instances)
    )
    | st.lists(st.sampled_from([*PIECES, b'{"instances": [', b"]}", b"}"])).map(b"".join)
    | st.binary()
)
def test_a_body_gives_rows_or_a_message_of_one_line(body):
    try:
        assert decode_json(body, feature_dim=FEATURE_DIM)[0].num_rows > 0
    except UserError as error:
        check_message(error)
