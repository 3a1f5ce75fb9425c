import re

import pytest

from deploy.aws.names import (
    LONGEST_BASE,
    LONGEST_NAME,
    check_name,
    content_name,
    is_content_name,
    timed_name,
)
from fm_algo.errors import UserError


@pytest.mark.parametrize("name", ["a", "fm-1", "A" * 63])
def test_a_name_that_aws_takes_is_returned(name):
    assert check_name(name, 63) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "a_b", "a b", "ä", "A" * 64, "a\n"])
def test_another_name_is_refused(name):
    with pytest.raises(UserError, match="at most 63 characters"):
        check_name(name, 63)


def test_a_timed_name_is_a_name():
    assert re.fullmatch(r"fm-\d{8}-\d{6}", timed_name("fm"))
    assert check_name(timed_name("fm"), 32)


def test_the_same_content_has_the_same_name_whatever_its_order():
    assert content_name("fm", {"a": 1, "b": 2}) == content_name("fm", {"b": 2, "a": 1})


def test_another_content_has_another_name():
    assert content_name("fm", {"a": 1}) != content_name("fm", {"a": 2})


def test_a_content_name_is_known_by_its_base():
    name = content_name("fm", {"a": 1})
    assert is_content_name(name, "fm")
    assert not is_content_name(name, "f")
    assert not is_content_name("fm-other-12345678", "fm")
    assert not is_content_name("fm", "fm")


def test_a_name_made_from_the_longest_base_is_one_that_aws_takes():
    name = content_name("b" * LONGEST_BASE, {"a": 1})

    assert len(check_name(name, LONGEST_NAME)) == LONGEST_NAME
