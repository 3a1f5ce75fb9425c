import struct
from pathlib import Path

import numpy as np
import pytest

from fm_algo.artifacts.builtin.ndarray import StoredArray, decode_ndarray_list, encode_ndarray_list
from fm_algo.errors import UserError

WRITTEN_BY_MXNET = sorted(
    (Path(__file__).parents[3] / "data" / "builtin" / "ndarray").glob("*.params")
)
"""Written by Apache MXNet 1.9.1; beside each what MXNet itself makes of its arrays."""

WORKED_EXAMPLE = bytes.fromhex(
    "1201000000000000 0000000000000000 0200000000000000"
    "c9fa93f9 00000000 01000000 0100000000000000 01000000 00000000 00000000 0000c03f"
    "c9fa93f9 01000000 02000000 0100000000000000 0200000000000000"
    "02000000 0300000000000000 0200000000000000 01000000 00000000 00000000"
    "06000000 01000000 0100000000000000 0000803f 00000040 0200000000000000"
    "0200000000000000 0d00000000000000 6172673a77305f776569676874 0500000000000000 6172673a76"
)
"""Written by MXNet 1.3.1: w0_weight = [1.5], and v of 3 x 2 with row 2 = [1, 2] alone."""


def a_list(*arrays, names=None):
    names = [f"n{number}" for number in range(len(arrays))] if names is None else names
    listed = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    head = struct.pack("<QQQ", 0x112, 0, len(arrays))
    return head + b"".join(arrays) + struct.pack("<Q", len(names)) + listed


def v2(stype, *rest):
    return struct.pack("<Ii", 0xF993FAC9, stype) + b"".join(rest)


def shape(*lengths):
    return struct.pack(f"<i{len(lengths)}q", len(lengths), *lengths)


CPU = struct.pack("<ii", 1, 0)
FLOAT32, INT64, UINT8 = (struct.pack("<i", number) for number in (0, 6, 3))


def bytes_of(pieces):
    return b"".join(pieces)


@pytest.mark.parametrize("path", WRITTEN_BY_MXNET, ids=lambda path: path.stem)
def test_what_mxnet_wrote_is_read_bit_for_bit(path):
    arrays = decode_ndarray_list(path.read_bytes())

    expected = np.load(path.with_suffix(".npz"))
    assert sorted(arrays) == sorted(expected.files)
    for name, array in arrays.items():
        unfolded = array.unfold()
        assert unfolded.dtype == expected[name].dtype
        assert unfolded.shape == expected[name].shape
        assert unfolded.tobytes() == expected[name].tobytes()


def test_there_is_something_that_mxnet_wrote():
    assert len(WRITTEN_BY_MXNET) >= 7


def test_the_file_of_mxnet_1_3_is_read_and_written_again():
    arrays = decode_ndarray_list(WORKED_EXAMPLE)

    assert arrays["arg:w0_weight"].unfold().tolist() == [1.5]
    assert arrays["arg:v"].unfold().tolist() == [[0, 0], [0, 0], [1, 2]]
    assert bytes_of(encode_ndarray_list(arrays)) == WORKED_EXAMPLE


def test_the_two_oldest_kinds_of_array_are_read():
    data = np.array([[1, 2, 3], [4, 5, 6]], "<f4").tobytes()
    v0 = struct.pack("<III", 2, 2, 3) + CPU + FLOAT32 + data
    v1 = struct.pack("<I", 0xF993FAC8) + shape(2, 3) + CPU + FLOAT32 + data

    arrays = decode_ndarray_list(a_list(v0, v1, names=["v0", "v1"]))

    for name in ("v0", "v1"):
        assert arrays[name].unfold().tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "nothing",
    [
        struct.pack("<I", 0),
        struct.pack("<Ii", 0xF993FAC8, 0),
        v2(0, shape()),
        struct.pack("<Iii", 0xF993FACA, 0, -1),
    ],
    ids=["V0", "V1", "V2", "V3"],
)
def test_an_array_without_a_shape_holds_nothing_and_ends_there(nothing):
    one = v2(0, shape(1), CPU, FLOAT32, struct.pack("<f", 7))

    arrays = decode_ndarray_list(a_list(nothing, one))

    assert arrays["n0"].unfold().size == 0
    assert arrays["n1"].unfold().tolist() == [7]


def test_numbers_after_an_odd_number_of_bytes_can_be_computed_with():
    odd = v2(0, shape(3), CPU, UINT8, b"abc")
    one = v2(0, shape(2), CPU, FLOAT32, struct.pack("<ff", 7, 8))

    array = decode_ndarray_list(a_list(odd, one))["n1"].unfold()

    assert array.flags.aligned
    assert array.tolist() == [7, 8]


def test_all_rows_stored_are_not_copied():
    values = np.ones((4, 3), np.float32)

    assert StoredArray.row_sparse(values).unfold() is values


def rows(stored, numbers, of=(4, 2), number_dtype=INT64, count=None):
    """A row_sparse array."""
    count = len(numbers) if count is None else count
    return v2(
        1,
        shape(*stored),
        shape(*of),
        CPU,
        FLOAT32,
        number_dtype,
        shape(count),
        bytes(4 * stored[0] * stored[1]),
        np.array(numbers, "<i8").tobytes(),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated: magic of 8 bytes at byte offset 0, 0 bytes are left"),
        (b"PK" + bytes(30), "it begins with 0x4b50; an NDArray list of MXNet, with 0x112"),
        (
            struct.pack("<QQQ", 0x112, 0, 2**63),
            "9223372036854775808 arrays announced, allowed are 1024",
        ),
        (
            a_list(v2(2, shape(1))),
            "array 0 (byte offset 24), storage 2, allowed are 0 (dense) and, in V2, 1 (row_sparse)",
        ),
        (
            a_list(struct.pack("<Ii", 0xF993FACA, 1)),
            "array 0 (byte offset 24), storage 1, allowed are 0 (dense) and, in V2, 1 (row_sparse)",
        ),
        (
            a_list(v2(0, struct.pack("<i", -3))),
            "array 0 (byte offset 24), a shape of -3 dimensions, allowed are 1 to 32",
        ),
        (
            a_list(v2(0, struct.pack("<i", 2**30))),
            "array 0 (byte offset 24), a shape of 1073741824 dimensions, allowed are 32",
        ),
        (
            a_list(v2(0, shape(-1, 3))),
            "array 0 (byte offset 24), shape (-1, 3), allowed are lengths from 0 to "
            "281474976710656 in all",
        ),
        (
            a_list(v2(0, shape(0, 2**62), CPU, FLOAT32)),
            "array 0 (byte offset 24), shape (0, 4611686018427387904), allowed are lengths from 0 "
            "to 281474976710656 in all",
        ),
        (
            a_list(v2(0, shape(2**40), CPU, FLOAT32), names=[""]),
            "array 0 (byte offset 24), truncated: data of 4398046511104 bytes at byte offset 56, "
            "16 bytes are left",
        ),
        (
            a_list(v2(0, shape(1), CPU, struct.pack("<i", 12), bytes(4))),
            "array 0 (byte offset 24), dtype 12, allowed are 0 to 7",
        ),
        (
            a_list(rows((2, 2), [1, 4])),
            "array 0 (byte offset 24), row numbers are not ascending within [0, 4)",
        ),
        (
            a_list(rows((2, 2), [2, 2])),
            "array 0 (byte offset 24), row numbers are not ascending within [0, 4)",
        ),
        (
            a_list(rows((2, 2), [-1, 2])),
            "array 0 (byte offset 24), row numbers are not ascending within [0, 4)",
        ),
        (
            a_list(rows((2, 3), [1, 2])),
            "array 0 (byte offset 24), rows of shape (2, 3) with row numbers of shape (2,) for an "
            "array of shape (4, 2)",
        ),
        (
            a_list(rows((2, 2), [1, 2, 3])),
            "array 0 (byte offset 24), rows of shape (2, 2) with row numbers of shape (3,) for an "
            "array of shape (4, 2)",
        ),
        (
            a_list(rows((2, 2), [1, 2], number_dtype=FLOAT32)),
            "array 0 (byte offset 24), row numbers of dtype float32, allowed is int64",
        ),
        (
            a_list(v2(1, shape(), shape(4, 2), CPU, FLOAT32, INT64, shape(1), bytes(8))),
            "array 0 (byte offset 24), rows of shape () with row numbers of shape (1,) for an "
            "array of shape (4, 2)",
        ),
        (a_list(v2(0, shape()), names=[]), "0 names for 1 arrays, allowed is one each"),
        (
            a_list(v2(0, shape()), v2(0, shape()), names=["v", "v"]),
            "names ['v', 'v'], allowed is each once",
        ),
        (
            a_list(v2(0, shape()), names=["v"])[:-1] + b"\xff",
            r"a name is not UTF-8: b'\xff'",
        ),
        (a_list() + b"x", "1 bytes follow the last name, allowed is none"),
    ],
)
def test_a_list_that_is_not_right_is_refused(data, message):
    with pytest.raises(UserError) as error:
        decode_ndarray_list(data)

    assert error.value.message == message


def test_a_sparse_array_that_would_fill_the_memory_is_refused():
    huge = rows((1, 2), [5], of=(2**40, 2))

    with pytest.raises(UserError, match=r"is 8796093022208 bytes for 8 stored, allowed are"):
        decode_ndarray_list(a_list(huge))["n0"].unfold()
