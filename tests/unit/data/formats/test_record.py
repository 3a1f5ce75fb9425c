import time
from pathlib import Path

import numpy as np
import pytest

from fm_algo.data.formats import record_block
from fm_algo.data.formats.record import RecordIODecoder, encode_predictions, survey_records
from fm_algo.data.formats.record_notes import RecordNotes
from fm_algo.data.formats.record_pb2 import Record
from fm_algo.data.formats.record_request import decode_records
from fm_algo.data.formats.recordio import MAGIC_BYTES, frame_record
from fm_algo.errors import UserError

DATA = Path(__file__).parents[3] / "data" / "recordio"

SPARSE = bytes.fromhex(
    "0a23d7ce 33000000"
    "0a1d 0a06 76616c756573 1213 1211 0a08 0000803f 0000003f 1202 0003 1a01 05"
    "1212 0a06 76616c756573 1208 1206 0a04 0000803f"
    "00"
)
"""A record as SageMaker's Python SDK writes it: {0: 1.0, 3: 0.5} of 5, label 1.0."""

DENSE = bytes.fromhex("0a23d7ce 18000000 0a16 0a06 76616c756573 120c 120a 0a08 0000803e 00000000")
"""Another one: [0.25, 0.0] without label."""


def record(features=None, label=None, **notes):
    built = Record(**notes)
    if features is not None:
        tensor = built.features["values"].float32_tensor
        tensor.shape.append(5)
        tensor.keys.extend(features)
        tensor.values.extend(features.values())
    if label is not None:
        built.label["values"].float32_tensor.values.append(label)
    return built.SerializeToString()


def framed(*payloads):
    return b"".join(map(frame_record, payloads))


def decode(data, *, feature_dim=5, labelled=True):
    decoder = RecordIODecoder(feature_dim=feature_dim, labelled=labelled)
    return decoder.feed(data), decoder.close()


def test_a_sparse_record_is_a_row_with_its_label():
    batch, rest = decode(SPARSE)
    assert batch.indptr.tolist() == [0, 2]
    assert batch.indices.tolist() == [0, 3]
    assert batch.values.tolist() == [1.0, 0.5]
    assert batch.labels.tolist() == [1.0]
    assert batch.feature_dim == 5
    assert rest.num_rows == 0


def test_a_dense_record_is_a_row_without_its_zeros():
    batch, _ = decode(DENSE, feature_dim=2, labelled=False)
    assert (batch.indptr.tolist(), batch.indices.tolist()) == ([0, 1], [0])
    assert batch.values.tolist() == [0.25]
    assert batch.labels is None


def test_zeros_are_kept_in_sparse_records_and_dropped_from_dense_ones_beside_them():
    dense = Record()
    dense.features["values"].float32_tensor.values.extend([0, 1, 0, 2, 0])
    payloads = record({3: 0.0, 1: 2.0}), dense.SerializeToString(), record({0: 0.0}), record({})
    batch, _ = decode(framed(*payloads), labelled=False)
    assert batch.indptr.tolist() == [0, 2, 4, 5, 5]
    assert batch.indices.tolist() == [3, 1, 1, 3, 0]
    assert batch.values.tolist() == [0, 2, 1, 2, 0]


@pytest.mark.parametrize("labelled", [True, False])
def test_batches_have_the_same_types_however_many_rows_they_have(labelled):
    for batch in decode(SPARSE + SPARSE, labelled=labelled):
        assert batch.indptr.dtype == np.int64
        assert batch.indices.dtype == np.int32
        assert batch.values.dtype == np.float32
        assert (batch.labels is not None) == labelled
        assert not labelled or batch.labels.dtype == np.float32


def test_labels_are_not_looked_at_where_none_are_wanted():
    other_key = Record.FromString(record({1: 2.0}))
    other_key.label["score"].bytes.value.append(b"?")
    payloads = record({1: 2.0}), record({1: 2.0}, float("nan")), other_key.SerializeToString()
    batch, _ = decode(framed(*payloads), labelled=False)
    assert batch.indices.tolist() == [1, 1, 1]


def test_the_first_bad_record_is_the_one_reported_among_many():
    good, no_label, nan = record({1: 2.0}, 1.0), record({1: 2.0}), record({1: np.nan}, 1.0)
    for bad, problem in ((no_label, "no label"), (nan, "value nan of feature 1 is not a finite")):
        payloads = [good] * 1000 + [bad] + [good] * 500 + [no_label, nan] * 3
        offset = len(framed(*payloads[:1000]))
        with pytest.raises(UserError) as caught:
            decode(framed(*payloads) + b"not a frame")
        assert caught.value.message.startswith(f"record 1000 (byte offset {offset}): {problem}")


def test_a_bad_record_comes_before_the_bad_frame_behind_it():
    with pytest.raises(UserError, match=r"record 1 \(byte offset 60\): no label"):
        decode(SPARSE + framed(record({1: 2.0})) + b"not a frame")
    with pytest.raises(UserError, match=r"record 1 \(byte offset 60\): begins with b'not '"):
        decode(SPARSE + b"not a frame")


def test_record_numbers_count_through_all_pieces():
    decoder = RecordIODecoder(feature_dim=5, labelled=True)
    assert decoder.feed(SPARSE * 3 + SPARSE[:10]).num_rows == 3
    assert decoder.feed(SPARSE[10:]).num_rows == 1
    assert decoder.feed(SPARSE[:30]).num_rows == 0
    with pytest.raises(UserError, match=r"record 4 \(byte offset 240\): truncated"):
        decoder.close()


def test_rows_are_the_same_in_blocks_of_any_size(monkeypatch):
    rng = np.random.default_rng(5)
    payloads = [
        record(dict.fromkeys(rng.permutation(5)[: rng.integers(0, 6)].tolist(), 1.5), float(label))
        for label in range(200)
    ]
    whole, _ = decode(framed(*payloads))
    monkeypatch.setattr(record_block, "BLOCK_BYTES", 300)
    blocks, _ = decode(framed(*payloads))
    assert whole.num_rows == blocks.num_rows == 200
    for name in ("indptr", "indices", "values", "labels"):
        assert np.array_equal(getattr(whole, name), getattr(blocks, name)), name


def test_a_request_gives_one_row_and_one_note_a_record():
    data = framed(record({1: 2.0}, uid="u1"), record({}), record({2: 1.0}, metadata='{"a": 1}'))
    batch, notes = decode_records(data, feature_dim=5)
    assert batch.indptr.tolist() == [0, 1, 1, 2]
    assert notes == [RecordNotes("u1", None), RecordNotes(), RecordNotes(None, '{"a": 1}')]


def test_a_request_of_no_records_gives_no_rows():
    batch, notes = decode_records(b"", feature_dim=5)
    assert (batch.num_rows, batch.feature_dim, notes) == (0, 5, [])


@pytest.mark.parametrize("first", ["features", "label"])
def test_a_request_may_be_one_record_without_a_frame(first):
    payload = record({1: 2.0}, uid="u1")
    label = Record()
    label.label["values"].float32_tensor.values.append(1.0)
    bare = payload + label.SerializeToString()
    if first == "label":
        bare = label.SerializeToString() + payload
    batch, notes = decode_records(bare, feature_dim=5)
    assert (batch.indices.tolist(), notes) == ([1], [RecordNotes("u1", None)])


def test_a_record_whose_first_entry_is_as_long_as_the_magic_says_is_no_frame():
    built = Record()
    tensor = built.features["values"].float32_tensor
    tensor.values.extend([1, 2, 3, 4])
    tensor.shape.append(4)
    entry = built.SerializeToString()[2:] + b"\x30\x01"  # an unknown field fills it up
    bare = b"\x0a" + bytes([len(entry)]) + entry
    assert bare[:2] == MAGIC_BYTES[:2]
    batch, _ = decode_records(bare, feature_dim=4)
    assert batch.values.tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x0a\x05ab", "damaged protobuf message: a field of 5 bytes where 2 are left"),
        (b'{"instances": []}', "begins with b'{\"in', a RecordIO frame with its magic"),
        (SPARSE[:-8], "truncated: 51 bytes announced, 44 are there"),
        (framed(record({5: 1.0})), r"feature 5 is outside \[0, 5\), the range feature_dim allows"),
        (framed(b"\x1a\x01\xff" + record({1: 1.0})), "uid is not UTF-8"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(data, problem):
    with pytest.raises(UserError, match=rf"record 0 \(byte offset 0\): {problem}") as caught:
        decode_records(data, feature_dim=5)
    assert caught.value.http_status == 400


def test_long_keys_make_no_long_message():
    built = Record()
    for number in range(100):
        built.features["x" * 100 + str(number)].float32_tensor.values.append(1)
        built.features[str(number)].float32_tensor.values.append(1)
    with pytest.raises(UserError) as caught:
        decode_records(framed(built.SerializeToString()), feature_dim=5)
    assert caught.value.message == (
        "record 0 (byte offset 0): features has the keys ['0', '1', '10', '11', '12'], allowed is "
        '"values" alone'
    )


def test_an_answer_is_the_bytes_of_the_documented_example():
    assert encode_predictions(np.float32([0.25]), np.float32([0.0])) == bytes.fromhex(
        "0a23d7ce 30000000 121b 0a0f 7072656469637465645f6c6162656c 1208 1206 0a04 00000000"
        "1211 0a05 73636f7265 1208 1206 0a04 0000803e"
    )


def test_answers_say_what_a_recorded_response_says():
    response = (DATA / "response_binary_classifier.pbr").read_bytes()
    expected = [Record.FromString(response[at + 8 : at + 56]) for at in range(0, 280, 56)]
    score, predicted_label = (
        np.array([one.label[name].float32_tensor.values[0] for one in expected], np.float32)
        for name in ("score", "predicted_label")
    )
    answers = encode_predictions(score, predicted_label)
    got = [Record.FromString(answers[at + 8 : at + 56]) for at in range(0, 280, 56)]
    assert got == expected  # the order of a map's entries means nothing
    assert len(answers) == len(response)


def test_a_regressors_answer_has_no_predicted_label():
    answers = encode_predictions(np.float32([0.5, -1.5]), None)
    first, second = Record.FromString(answers[8:27]), Record.FromString(answers[36:55])
    assert [sorted(r.label) for r in (first, second)] == [["score"], ["score"]]
    assert list(second.label["score"].float32_tensor.values) == [-1.5]
    assert len(answers) == 56


def test_answers_repeat_the_notes_of_their_records():
    notes = [RecordNotes("ü", None), RecordNotes(), RecordNotes("b", "{}")]
    answers = encode_predictions(np.float32([1, 2, 3]), np.float32([1, 1, 1]), notes)
    plain = encode_predictions(np.float32([2]), np.float32([1]))
    lengths = [48 + 4, 48, 48 + 3 + 4]
    starts = np.cumsum([0, *(8 + length + -length % 4 for length in lengths)]).tolist()
    first, second, third = (
        Record.FromString(answers[start + 8 : start + 8 + length])
        for start, length in zip(starts, lengths, strict=False)
    )
    assert (first.uid, first.HasField("metadata")) == ("ü", False)
    assert second.SerializeToString(deterministic=True) == plain[8:]
    assert (third.uid, third.metadata) == ("b", "{}")
    assert third.label["score"].float32_tensor.values == [3.0]
    assert starts[-1] == len(answers)


def test_there_may_be_no_answers():
    assert encode_predictions(np.float32([]), np.float32([])) == b""


def test_a_survey_finds_the_least_width_and_whether_there_are_labels():
    shape_only, key, dense = Record(), Record(), Record()
    shape_only.features["values"].float32_tensor.shape.extend([3, 4])
    key.features["values"].float32_tensor.keys.append(6)
    key.features["values"].float32_tensor.values.append(1)
    dense.features["values"].float32_tensor.values.extend([0, 0, 0])
    for built, width in ((shape_only, 12), (key, 7), (dense, 3)):
        payload = built.SerializeToString()
        assert survey_records(framed(payload)) == (width, False)
        assert survey_records(framed(payload, record({}, 1.0))) == (max(width, 5), True)
    assert survey_records(b"") == (0, False)


def test_a_survey_of_what_no_model_can_have_stops_at_the_widest_model():
    built = Record()
    built.features["values"].float32_tensor.shape.extend([2**64 - 1] * 20 + [0])
    assert survey_records(framed(built.SerializeToString()))[0] == 2**31 - 1


def test_a_record_of_many_tiny_parts_does_not_take_long():
    part = bytes.fromhex("0a23d7ce 00000040")
    started = time.process_time()
    with pytest.raises(UserError, match="truncated: its last part is missing"):
        decode_records(bytes.fromhex("0a23d7ce 00000020") + part * 300_000, feature_dim=5)
    assert time.process_time() - started < 10  # measured: 0.4
