"""Compiled decoders give what the plain ones give: each piece's rows, bit by bit, and each error.

The strange records and near-rows are those the plain decoders are tested with.
"""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recordio_property import (
    FEATURE_DIM,
    any_records,
    expected,
    good_records,
    strange_records,
)
from test_text_formats import KINDS, PIECES

from fm_algo.data.bulk import line, recordio
from fm_algo.data.bulk.factory import make_bulk_decoder
from fm_algo.data.fields import KnownFields, LearntFields
from fm_algo.data.formats.content_type import parse_content_type
from fm_algo.data.formats.factory import make_decoder
from fm_algo.data.formats.record_rows import encode_sparse_rows
from fm_algo.data.formats.recordio import frame_record
from fm_algo.errors import UserError
from fm_algo.sparse import CSRBatch

RECORDIO = "application/x-recordio-protobuf"
TEXT_TYPES = {
    "text/csv;label_size=1": "csv",
    "text/csv": "csv",
    "text/libsvm": "libsvm",
    "text/libsvm;index_base=1": "libsvm",
    "text/libffm": "libffm",
    "text/libffm;index_base=1": "libffm",
    "application/jsonlines": "json",
}

UNHURRIED = settings(deadline=None)
MANY_EXAMPLES = settings(UNHURRIED, max_examples=150)

PIECES_OF_PLAIN = st.sampled_from([1, 100, 1 << 14])
"""How much the plain decoder gets from an unusual row on."""


def outcome(make, content_type, pieces, *, labelled=True, feature_dim=FEATURE_DIM):
    """Return the batch that each piece gives, as bytes, and the error's text or None."""
    decoder = make(parse_content_type(content_type), feature_dim=feature_dim, labelled=labelled)
    batches = []
    try:
        batches += [as_bytes(decoder.feed(piece)) for piece in pieces]
        batches.append(as_bytes(decoder.close()))
    except UserError as error:
        return batches, error.message
    return batches, None


def as_bytes(batch):
    arrays = (batch.indptr, batch.indices, batch.values, batch.labels)
    # Plus 0, for "-0" is 0 or -0 to the plain decoder, depending on what stands near it.
    return [None if array is None else (array.dtype.str, (array + 0).tobytes()) for array in arrays]


def assert_same(content_type, pieces, few=1, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordio, "_FEW_BYTES", few)
        patch.setattr(line, "_FEW_BYTES", few)
        found = outcome(make_bulk_decoder, content_type, pieces, **options)
    assert found == outcome(make_decoder, content_type, pieces, **options)


def cut(data, places):
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[first:last] for first, last in pairwise(bounds)]


def framed(payloads):
    return b"".join(map(frame_record, payloads))


records = st.lists(
    good_records | good_records | any_records | strange_records(), min_size=1, max_size=6
)
cuts = st.lists(st.integers(0, 400), max_size=6)


@given(records, cuts, st.booleans(), PIECES_OF_PLAIN)
@MANY_EXAMPLES
def test_records_are_read_as_by_the_plain_decoder(payloads, places, labelled, few):
    assert_same(RECORDIO, cut(framed(payloads), places), few, labelled=labelled)


@given(st.lists(good_records, min_size=1, max_size=6), cuts, st.data(), PIECES_OF_PLAIN)
@MANY_EXAMPLES
def test_damaged_records_are_read_or_refused_as_by_the_plain_decoder(payloads, places, data, few):
    damaged = bytearray(framed(payloads))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    assert_same(RECORDIO, cut(bytes(damaged[:end]), places), few)


@given(records, st.booleans())
@MANY_EXAMPLES
def test_records_are_read_as_the_runtime_reads_them(payloads, labelled):
    data = framed(payloads)
    rows, bad = expected(data, labelled=labelled)
    batches, message = outcome(make_bulk_decoder, RECORDIO, [data], labelled=labelled)
    assert (message is not None) == bad
    if bad:
        assert message.startswith(f"record {len(rows)} (byte offset ")
        return
    indptr, indices, values, labels = (
        part and np.frombuffer(part[1], part[0]).tolist() for part in batches[0]
    )
    found = [
        dict(zip(indices[first:last], values[first:last], strict=True))
        for first, last in pairwise(indptr)
    ]
    assert found == [row for row, _ in rows]
    assert (labels or [None] * len(rows)) == [label for _, label in rows]


numbers = st.one_of(
    st.sampled_from(
        ["0", "-0", "1", "2", "7", "0.5", "1e2", "1e39", "nan", "1_0", ".5", "+1", "x"]
    ),
    st.floats().map(repr),
    st.floats(-1e3, 1e3, width=32).map(repr),
    st.decimals(-100, 100, places=12).map(str),
    st.integers(-(10**21), 10**21).map(str),
)
usual_lines = {
    "csv": st.lists(numbers, min_size=FEATURE_DIM, max_size=FEATURE_DIM + 1).map(",".join),
    "libsvm": st.builds(
        lambda label, entries: " ".join([label, *(f"{i}:{value}" for i, value in entries)]),
        numbers,
        st.lists(st.tuples(st.integers(0, FEATURE_DIM), numbers), max_size=4),
    ),
    "libffm": st.builds(
        lambda label, entries: " ".join([label, *(f"{f}:{i}:{value}" for f, i, value in entries)]),
        numbers,
        st.lists(
            st.tuples(st.sampled_from([0, 0, 0, 1, 65535]), st.integers(0, FEATURE_DIM), numbers),
            max_size=4,
        ),
    ),
    "json": st.lists(numbers, min_size=FEATURE_DIM, max_size=FEATURE_DIM).map(
        lambda values: json.dumps({"features": values})
    ),
}


@st.composite
def texts(draw, *content_types):
    """Content type and bytes of lines, most of them right."""
    content_type = draw(st.sampled_from(content_types or sorted(TEXT_TYPES)))
    kind = TEXT_TYPES[content_type]
    lines = st.lists(
        usual_lines[kind].map(str.encode) | st.sampled_from(KINDS[kind]), min_size=1, max_size=6
    )
    data = draw(
        lines.map(b"\n".join)
        | lines.map(b"\r\n".join)
        | st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)
        | st.binary()
    )
    return content_type, data * draw(st.sampled_from([1, 1, 3]))


@given(texts(), cuts, st.booleans(), PIECES_OF_PLAIN, st.sampled_from([5, FEATURE_DIM]))
@settings(UNHURRIED, max_examples=300)
def test_text_is_read_or_refused_as_by_the_plain_decoder(text, places, labelled, few, feature_dim):
    content_type, data = text
    if labelled or "label_size" not in content_type:
        assert_same(
            content_type, cut(data, places), few, labelled=labelled, feature_dim=feature_dim
        )


@given(texts("text/libffm"), cuts, st.booleans(), PIECES_OF_PLAIN, st.booleans())
@settings(UNHURRIED, max_examples=300)
def test_fields_are_learnt_compared_or_refused_as_by_the_plain_decoder(
    text, places, labelled, few, known
):
    content_type, data = text
    tables = []

    def with_fields(make):
        def make_with_fields(*arguments, **options):
            fields = LearntFields(FEATURE_DIM)
            if known:
                fields.agree(np.arange(0, 4, dtype=np.int32), np.array([0, 0, 1, 0], np.int32))
                fields = KnownFields(fields.finish())
            tables.append(fields.table)
            return make(*arguments, fields=fields, **options)

        return make_with_fields

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line, "_FEW_BYTES", few)
        found, plain = (
            outcome(with_fields(make), content_type, cut(data, places), labelled=labelled)
            for make in (make_bulk_decoder, make_decoder)
        )
    assert found == plain
    assert plain[1] is not None or tables[0].tolist() == tables[1].tolist()


def test_every_damage_of_a_byte_and_every_end_are_met_as_by_the_plain_decoder():
    arrays = np.array([0, 2]), np.array([1, 300]), np.array([1, 2]), np.array([1])
    good = b"".join(encode_sparse_rows(CSRBatch(*arrays, feature_dim=400)))
    assert outcome(make_bulk_decoder, RECORDIO, [good * 2], feature_dim=301)[1] is None
    for place in range(len(good)):
        for flipped in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            damaged = bytearray(good)
            damaged[place] ^= flipped
            assert_same(RECORDIO, [good + bytes(damaged) + good], feature_dim=301)
        assert_same(RECORDIO, [good + good[:place]], feature_dim=301)
