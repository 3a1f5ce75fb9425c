import numpy as np
import pytest

from fm_algo.data.tables.arrow.texts import Texts, find
from fm_algo.data.tables.dictionary import Dictionary
from fm_algo.data.tables.hashing import hash_text
from fm_algo.errors import UserError


def texts_of(words):
    offsets = np.cumsum([0, *map(len, words)])
    return Texts(np.frombuffer(b"".join(words), np.uint8), offsets[:-1], offsets[1:])


def test_values_of_one_hash_are_told_apart_by_their_text():
    one, other, third = b"one", b"other", b"third"
    shared = np.full(3, hash_text(other), np.uint64)
    words = texts_of([one, other, third])
    offsets = np.append(words.starts, words.stops[-1])
    dictionary = Dictionary.of_hashed(shared, offsets, words.data)

    assert dictionary.find(other) == 1
    assert find(texts_of([other, one]), dictionary).tolist() == [1, -1]
    with_no_text = Dictionary.of_hashed(shared[:1], offsets[:2], words.data[:3])
    assert with_no_text.find(other) == -1
    assert find(texts_of([other]), with_no_text).tolist() == [-1]


def test_an_empty_dictionary_knows_nothing():
    dictionary = Dictionary.of([])

    assert dictionary.find(b"x") == -1
    assert find(texts_of([b"x", b""]), dictionary).tolist() == [-1, -2]


def test_hashes_are_those_that_models_were_written_with():
    # The format of models: these numbers never change.
    assert hash_text(b"") == 0xEF46DB3751D8E999
    assert hash_text(b"user") == 0x3DA0FD9C44CFC9EE
    assert hash_text(b"a") == 0xD24EC4F1A98C6E5B


def test_arrays_make_the_dictionary_again():
    dictionary = Dictionary.of([b"u1", b"u2", "ü".encode()])
    again = Dictionary.of_arrays(dictionary.arrays())

    assert list(again.values()) == [b"u1", b"u2", "ü".encode()]
    assert len(again) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"hashes": np.zeros(2, np.uint64)},
        {"hashes": np.zeros(3, np.int64)},
        {"offsets": np.array([0, 2, 4], np.int64)},
        {"offsets": np.array([0, 2, 4, 99], np.int64)},
        {"starts": np.array([0, 1, 2, 3], np.uint32)},
        {"starts": np.array([0, 1, 2], np.uint32)},
        {"numbers": np.zeros((3, 1), np.int32)},
    ],
)
def test_damaged_arrays_are_refused(change):
    arrays = Dictionary.of([b"u1", b"u2", b"u3"]).arrays()

    with pytest.raises(UserError, match="a dictionary is damaged"):
        Dictionary.of_arrays(arrays | change)
