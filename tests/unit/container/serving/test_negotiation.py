import pytest

from container.serving.negotiation import default_answer_type, negotiate
from container.settings import ANSWER_TYPES
from fm_algo.data.formats.content_type import (
    CSV,
    JSON,
    JSONLINES,
    LIBFFM,
    LIBSVM,
    RECORDIO_PROTOBUF,
)
from fm_algo.errors import UserError


@pytest.mark.parametrize(
    ("request_type", "at_endpoint", "in_batch"),
    [
        (JSON, JSON, JSONLINES),
        (JSONLINES, JSONLINES, JSONLINES),
        (RECORDIO_PROTOBUF, JSON, JSONLINES),
        (CSV, CSV, CSV),
        (LIBSVM, CSV, CSV),
        (LIBFFM, CSV, CSV),
    ],
)
def test_a_request_has_a_default_answer_type(request_type, at_endpoint, in_batch):
    assert default_answer_type(request_type, is_batch=False) == at_endpoint
    assert default_answer_type(request_type, is_batch=True) == in_batch


@pytest.mark.parametrize("accept", [None, "", "  ", "*/*", "*/*;q=0.1", "*/*; charset=utf-8"])
@pytest.mark.parametrize("default", ANSWER_TYPES)
def test_whatever_is_acceptable_is_the_default(accept, default):
    assert negotiate(accept, default) == default


@pytest.mark.parametrize("accept", ANSWER_TYPES)
@pytest.mark.parametrize("default", ANSWER_TYPES)
def test_what_is_asked_for_is_answered(accept, default):
    assert negotiate(accept, default) == accept


@pytest.mark.parametrize(
    ("accept", "answer_type"),
    [
        ("APPLICATION/Json", JSON),
        (" text/csv ", CSV),
        ("application/jsonlines; verbose=true", JSONLINES),
        ("application/jsonl", JSONLINES),
        ("text/csv;Q=0.5, application/json;q=0.8", JSON),
        ("image/png, text/csv;q=0.001", CSV),
    ],
)
def test_case_parameters_and_other_spellings_do_not_matter(accept, answer_type):
    assert negotiate(accept, RECORDIO_PROTOBUF) == answer_type


@pytest.mark.parametrize(
    ("accept", "answer_type"),
    [
        ("text/csv, application/json", CSV),
        ("application/json, text/csv", JSON),
        ("text/csv, */*", CSV),
        ("*/*, text/csv", JSONLINES),
        ("application/*", JSONLINES),
        ("text/*", CSV),
        ("text/csv, application/*", CSV),
    ],
)
def test_among_equals_the_first_wins_and_a_wildcard_stands_for_the_default(accept, answer_type):
    assert negotiate(accept, JSONLINES) == answer_type


@pytest.mark.parametrize(
    ("accept", "answer_type"),
    [
        ("application/jsonlines;q=0, */*", JSON),
        ("application/jsonlines;q=0.5, application/*;q=0.8", JSON),
        ("*/*;q=0.1, application/jsonlines;q=0, application/*;q=0.05", CSV),
    ],
)
def test_of_the_ranges_that_cover_a_type_the_most_exact_counts(accept, answer_type):
    assert negotiate(accept, JSONLINES) == answer_type


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json;q=0", "*/*;q=0", "text/libsvm", ",", "json", "*"]
)
def test_what_cannot_be_answered_is_406_and_told(accept):
    with pytest.raises(UserError) as caught:
        negotiate(accept, JSON)

    assert caught.value.http_status == 406
    assert caught.value.message == (
        f"Accept {accept!r} cannot be answered, allowed: application/json, application/jsonlines, "
        "application/x-recordio-protobuf, text/csv"
    )


@pytest.mark.parametrize("quality", ["2", "-1", "high", "0.1234", "nan", ""])
def test_a_quality_is_a_number_from_0_to_1(quality):
    with pytest.raises(UserError, match="allowed: 0 to 1") as caught:
        negotiate(f"application/json;q={quality}", JSON)

    assert caught.value.http_status == 406
