import json

import numpy as np
import pytest

from fm_algo.data.formats.predictions import encode_csv, encode_json, encode_jsonlines
from fm_algo.errors import AlgorithmError

SCORE = np.array([0.4, 0.9999101161956787, 1, 1e-7, 3.4028235e38], np.float32)
LABEL = np.array([0, 1, 1, 0, 1], np.float32)
ENCODERS = [encode_json, encode_jsonlines, encode_csv]


def float32(*numbers):
    return np.array(numbers, np.float32)


def test_json_holds_each_score_in_full_and_labels_as_floats():
    assert encode_json(float32(0.9999101161956787, 0.4), float32(1, 0)) == (
        b'{"predictions": [{"score": 0.9999101161956787, "predicted_label": 1.0}, '
        b'{"score": 0.4000000059604645, "predicted_label": 0.0}]}'
    )


def test_json_of_a_regressor_holds_scores_alone():
    assert encode_json(float32(3.5), None) == b'{"predictions": [{"score": 3.5}]}'


def test_json_lines_have_the_label_first_no_blanks_and_15_digits():
    assert encode_jsonlines(float32(0.853027641773223, 1), float32(1, 1)) == (
        b'{"predicted_label":1.0,"score":0.853027641773223}\n{"predicted_label":1.0,"score":1.0}\n'
    )


@pytest.mark.parametrize(
    "written", ["0.533256769180297", "0.7873997092247", "0.78725790977478", "0.831917941570282"]
)
def test_json_lines_cut_scores_as_the_built_in_algorithm_did(written):
    assert encode_jsonlines(float32(written), None).decode() == f'{{"score":{written}}}\n'


def test_json_lines_of_a_regressor_hold_scores_alone():
    assert encode_jsonlines(float32(3.5, -2), None) == b'{"score":3.5}\n{"score":-2.0}\n'


def test_csv_is_label_and_score():
    assert encode_csv(float32(0.75, 0.25), float32(1, 0)) == b"1,0.75\n0,0.25\n"
    assert encode_csv(float32(0.75, 4), None) == b"0.75\n4.0\n"


@pytest.mark.parametrize("label", [None, LABEL])
def test_json_gives_back_the_very_scores(label):
    predictions = json.loads(encode_json(SCORE, label))["predictions"]
    assert [one["score"] for one in predictions] == SCORE.tolist()
    if label is not None:
        assert [one["predicted_label"] for one in predictions] == label.tolist()


@pytest.mark.parametrize("label", [None, LABEL])
def test_json_lines_and_csv_give_back_scores_to_float32(label):
    lines = [json.loads(line) for line in encode_jsonlines(SCORE, label).splitlines()]
    assert float32(*[line["score"] for line in lines]).tolist() == SCORE.tolist()
    table = np.loadtxt(encode_csv(SCORE, label).decode().splitlines(), delimiter=",", ndmin=2)
    assert table[:, -1].astype(np.float32).tolist() == SCORE.tolist()
    if label is not None:
        assert table[:, 0].tolist() == label.tolist()


def test_no_score_has_more_than_15_digits_in_json_lines():
    score = np.random.default_rng(7).normal(size=1000).astype(np.float32)
    for line in encode_jsonlines(score, None).splitlines():
        digits = line[len(b'{"score":') : -1].partition(b"e")[0].lstrip(b"-0.").replace(b".", b"")
        assert len(digits) <= 15


@pytest.mark.parametrize("encode", ENCODERS)
def test_no_rows_are_no_predictions(encode):
    expected = b'{"predictions": []}' if encode is encode_json else b""
    assert encode(float32(), None) == encode(float32(), float32()) == expected


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error(encode, number):
    with pytest.raises(
        AlgorithmError, match=rf"^the score of row 1 is {number}, expected a finite"
    ):
        encode(float32(1, number), None)
