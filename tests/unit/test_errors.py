import pytest

from fm_algo.errors import AlgorithmError, FMError, PlatformError, UserError, as_told

KINDS = [UserError, AlgorithmError, PlatformError]


@pytest.mark.parametrize("kind", KINDS)
def test_one_except_clause_catches_every_kind(kind):
    with pytest.raises(FMError, match=r"^what was found$"):
        raise kind("what was found")


@pytest.mark.parametrize("kind", KINDS)
def test_a_place_goes_before_the_message(kind):
    error = kind("line 7: no label").within("part-0003.csv").within("train channel")

    assert type(error) is kind
    assert str(error) == error.message == "train channel, part-0003.csv, line 7: no label"


def test_an_error_of_the_caller_has_a_status():
    assert UserError("too long").http_status == 400
    assert UserError("no such type", http_status=415).within("a request").http_status == 415


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (PlatformError("the disk is full"), PlatformError, "the disk is full"),
        (MemoryError("8 TiB"), UserError, "out of memory: use a larger instance (8 TiB)"),
        (KeyError("a"), AlgorithmError, "internal error: 'a' (caused by KeyError)"),
    ],
)
def test_whatever_went_wrong_is_told_in_one_line(error, kind, message):
    told = as_told(error)

    assert type(told) is kind
    assert told.message == message
