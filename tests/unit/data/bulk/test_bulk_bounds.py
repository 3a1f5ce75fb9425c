"""No compiled function reads or writes outside its arrays: each ends where memory ends.

Memory behind and before an array is made unreadable, so that a step too far ends the process. That
is why the test has one of its own.
"""

import ctypes
import mmap
import subprocess
import sys

import numpy as np

from fm_algo.data.bulk.csv import CSVForm
from fm_algo.data.bulk.frame import RowArrays, append_rows
from fm_algo.data.bulk.libsvm import LibSVMForm
from fm_algo.data.bulk.record import RecordForm
from fm_algo.data.formats.record_pb2 import Record
from fm_algo.data.formats.record_rows import encode_dense_rows, encode_sparse_rows
from fm_algo.data.formats.recordio import frame_record
from fm_algo.sparse import CSRBatch

FEATURE_DIM = 20_000
DAMAGE = list(b"\0\1\x7f\x80\xff.:,\n\r1e")
LIBC = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """An array at the end or the beginning of memory that is fenced off on both sides."""

    def __init__(self, dtype, max_bytes=mmap.PAGESIZE):
        self._map = mmap.mmap(-1, 3 * mmap.PAGESIZE)
        self._dtype = np.dtype(dtype)
        self._first = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        assert max_bytes <= mmap.PAGESIZE
        for page in (0, 2):
            address = ctypes.c_void_p(self._first + page * mmap.PAGESIZE)
            assert LIBC.mprotect(address, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0

    def array(self, length, *, at_end=True):
        num_bytes = length * self._dtype.itemsize
        start = 2 * mmap.PAGESIZE - num_bytes if at_end else mmap.PAGESIZE
        return np.frombuffer(self._map, self._dtype, length, start)

    def bytes(self, data, *, at_end):
        array = self.array(len(data), at_end=at_end)
        array[:] = np.frombuffer(data, np.uint8)
        array.flags.writeable = False
        return array


def records_that_end_with_keys():
    for num_entries in range(12):
        record = Record()
        tensor = record.features["values"].float32_tensor
        tensor.values.extend([1] * num_entries)
        tensor.keys.extend(range(num_entries))
        yield frame_record(record.SerializeToString())
        tensor.keys[:] = range(FEATURE_DIM - num_entries, FEATURE_DIM)
        yield frame_record(record.SerializeToString())


def sources():
    """Bytes of each format, good and damaged and cut off."""
    chance = np.random.default_rng(0)
    arrays = np.array([0, 3, 3, 4]), np.array([1, 300, 19_999, 5]), np.array([1, 0, 2.5, -1])
    batch = CSRBatch(*arrays, np.array([1, 0, 1]), FEATURE_DIM)
    sparse = b"".join(encode_sparse_rows(batch))
    dense = b"".join(encode_dense_rows(np.ones((3, 4), np.float32), np.ones(3, np.float32)))
    texts = [
        b"1 0:1 300:0.25 19999:1e-3\n0\n1 5:1\r\n",
        b"1 65535:0:1 0:999:2 1:3:4\n7:1:1\r\n",
        b"1,0,2.5,-1e5,3 \n 0,1,1,1,0\r\n",
    ]
    yield from records_that_end_with_keys()
    for good in (sparse, dense, *texts):
        yield from (good[:end] for end in range(len(good) + 1))
        for _ in range(1500):
            damaged = bytearray(good[: chance.integers(len(good)) + 1])
            for _ in range(chance.integers(1, 3)):
                damaged[chance.integers(len(damaged))] = chance.choice(DAMAGE)
            yield bytes(damaged)


def decode_all():
    source = Guarded(np.uint8)
    outputs = [Guarded(kind) for kind in (np.int64, np.int32, np.float32, np.float32)]
    fields = {feature_dim: Guarded(np.int32).array(feature_dim) for feature_dim in (4, 1000)}
    chance = np.random.default_rng(1)
    for number, data in enumerate(sources()):
        text = source.bytes(data, at_end=number % 4 < 3)
        num_rows, num_entries = chance.integers(5), chance.integers(13)
        lengths = (num_rows + 1, num_entries, num_entries, num_rows)
        rows = RowArrays(*map(Guarded.array, outputs, lengths))
        rows.indptr[0] = 0
        for labelled in (True, False):
            for feature_dim in (4, FEATURE_DIM):
                append_rows(text, 0, RecordForm(feature_dim, labelled), rows, 0)
                append_rows(text, 0, LibSVMForm(feature_dim, 0, labelled), rows, 0)
                append_rows(text, 0, CSVForm(4, 1, labelled), rows, 0)
            for feature_dim, table in fields.items():
                table[:] = -1
                form = LibSVMForm(feature_dim, 0, labelled, True, True, table.ctypes.data)
                append_rows(text, 0, form, rows, 0)


def step_too_far():
    Guarded(np.uint8).array(8)  # keeps the memory's layout as above
    guarded = Guarded(np.uint8)
    address = guarded.array(8).ctypes.data
    ctypes.string_at(address, 9)


def run(function):
    return subprocess.run(
        [sys.executable, __file__, function.__name__], check=False, capture_output=True, text=True
    )


def test_no_byte_outside_of_the_arrays_is_touched():
    process = run(decode_all)
    assert process.returncode == 0, process.stderr


def test_a_step_too_far_would_be_noticed():
    assert run(step_too_far).returncode < 0


if __name__ == "__main__":
    {function.__name__: function for function in (decode_all, step_too_far)}[sys.argv[1]]()
