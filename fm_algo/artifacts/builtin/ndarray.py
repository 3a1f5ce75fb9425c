"""Read and write MXNet's NDArray list: named arrays in one file, dense or row_sparse.

    uint64 0x112, uint64 0
    uint64 n, then n arrays
    uint64 m (0 or n), then m names: uint64 length, bytes

    array V2, V3  uint32 magic, int32 storage, [row_sparse: shape of the stored rows], shape,
                  int32 device, int32 device number, int32 dtype,
                  [row_sparse: int32 dtype and shape of the row numbers], data, [row numbers]
    array V1      uint32 magic, shape, device, device number, dtype, data
    array V0      uint32 ndim, ndim x uint32, device, device number, dtype, data
    shape         int32 ndim, ndim x int64

All numbers are little endian. A row_sparse array stores only some of its rows. An array without a
shape (ndim 0; in V3 -1) ends after ndim. V3 is always dense. Source: Apache MXNet,
src/ndarray/ndarray.cc, NDArray::Save and NDArray::Load; checked on files written by MXNet 1.3.1
and 1.9.1.
"""

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fm_algo.artifacts.archive import inflation_limit
from fm_algo.artifacts.tensors import Tensor
from fm_algo.errors import UserError
from fm_algo.sparse import Int64Array

_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE, _ROW_SPARSE = 0, 1
_CPU = (1, 0)
_DTYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"), 1: np.dtype("<f8"), 2: np.dtype("<f2"), 3: np.dtype("u1"),
    4: np.dtype("<i4"), 5: np.dtype("i1"), 6: np.dtype("<i8"), 7: np.dtype("?"),
}  # fmt: skip
_DTYPE_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_MAX_ARRAYS = 1024
_MAX_NDIM = 32  # the limit of both MXNet and NumPy
_MAX_LENGTH = 1 << 48  # of all dimensions multiplied: keeps products far below 64 bits

_ROWS_AT_ONCE = 1 << 19
"""Row numbers written at once, 4 MB."""

_INT32, _INT64 = struct.Struct("<i"), struct.Struct("<q")
_UINT32, _UINT64 = struct.Struct("<I"), struct.Struct("<Q")


@dataclass(frozen=True, slots=True, eq=False)
class StoredArray:
    """One array as the file stores it.

    Attributes
    ----------
    values : array, shape `shape`, or (num_stored_rows, *shape[1:])
        The stored numbers.
    shape : tuple of int
        Shape of the whole array.
    row_numbers : int64, shape (num_stored_rows,), or None
        Which rows are stored, ascending; the others are zero. None means a dense array: all rows
        are stored, without a list of them.
    """

    values: NDArray[Any]
    shape: tuple[int, ...]
    row_numbers: Int64Array | None = None

    @classmethod
    def dense(cls, values: NDArray[Any]) -> "StoredArray":
        """Return an array without a list of rows."""
        return cls(values, values.shape)

    @classmethod
    def row_sparse(cls, values: NDArray[Any]) -> "StoredArray":
        """Return an array with all its rows and a list of them."""
        return cls(values, values.shape, np.arange(len(values), dtype=np.int64))

    def unfold(self) -> NDArray[Any]:
        """Return the array with zeros for missing rows; it is no copy if no row is missing.

        Raises
        ------
        UserError
            If the array is larger than `inflation_limit` allows for the stored bytes.
        """
        if self.row_numbers is None or len(self.row_numbers) == self.shape[0]:
            return self.values
        num_bytes = math.prod(self.shape) * self.values.itemsize
        limit = inflation_limit(self.values.nbytes)
        if num_bytes > limit:
            raise UserError(
                f"shape {self.shape} is {num_bytes} bytes for {self.values.nbytes} stored, "
                f"allowed are {limit}"
            )
        array = np.zeros(self.shape, self.values.dtype)
        array[self.row_numbers] = self.values
        return array


@dataclass(frozen=True, slots=True)
class RowTensor:
    """One row_sparse array to be written, with all its rows and a list of them.

    Attributes
    ----------
    values : Tensor
    """

    values: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.values.shape

    @property
    def row_numbers(self) -> Tensor:
        """The list of rows."""
        num_rows = self.shape[0]

        def pieces() -> Iterator[Int64Array]:
            for first in range(0, num_rows, _ROWS_AT_ONCE):
                yield np.arange(first, min(first + _ROWS_AT_ONCE, num_rows), dtype=np.int64)

        return Tensor(np.dtype(np.int64), (num_rows,), pieces)


def decode_ndarray_list(data: bytes | bytearray) -> dict[str, StoredArray]:
    """Read a whole file.

    Parameters
    ----------
    data : bytes
        As written by `mxnet.nd.save` with names.

    Returns
    -------
    dict of str to StoredArray
        Keys are the names in the file, e.g. "arg:v". The arrays share the memory of `data`.

    Raises
    ------
    UserError
        At the first mistake; names the array and the byte offset.
    """
    cursor = _Cursor(data)
    if (magic := cursor.number(_UINT64, "magic")) != _LIST_MAGIC:
        raise UserError(f"it begins with {magic:#x}; an NDArray list of MXNet, with 0x112")
    cursor.number(_UINT64, "reserved word")
    num_arrays = cursor.number(_UINT64, "number of arrays")
    if num_arrays > _MAX_ARRAYS:
        raise UserError(f"{num_arrays} arrays announced, allowed are {_MAX_ARRAYS}")
    arrays = []
    for number in range(num_arrays):
        place = f"array {number} (byte offset {cursor.offset})"
        try:
            arrays.append(_decode_array(cursor))
        except UserError as error:
            raise error.within(place) from error
    num_names = cursor.number(_UINT64, "number of names")
    if num_names != num_arrays:
        raise UserError(f"{num_names} names for {num_arrays} arrays, allowed is one each")
    names = [_decode_name(cursor) for _ in arrays]
    if len(set(names)) < len(names):
        raise UserError(f"names {names}, allowed is each once")
    if cursor.num_left:
        raise UserError(f"{cursor.num_left} bytes follow the last name, allowed is none")
    return dict(zip(names, arrays, strict=True))


def encode_ndarray_list(
    arrays: Mapping[str, StoredArray] | Mapping[str, RowTensor | Tensor],
) -> list[memoryview | Tensor]:
    """Write a whole file, byte for byte as MXNet 1.3 writes it from a CPU.

    Parameters
    ----------
    arrays : mapping of str to StoredArray, RowTensor or Tensor
        In the order of the file. A Tensor is a dense array.

    Returns
    -------
    list of memoryview or Tensor
        The bytes, in pieces. The bytes of the arrays are not copied; tensors are left to whoever
        writes them.
    """
    pieces = [struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))]
    views: list[memoryview | Tensor] = []
    for array in arrays.values():
        values, row_numbers = _parts_of(array)
        is_sparse = row_numbers is not None
        head = struct.pack("<Ii", _V2, _ROW_SPARSE if is_sparse else _DENSE)
        if is_sparse:
            head += _encode_shape(values.shape)
        head += _encode_shape(array.shape)
        head += struct.pack("<iii", *_CPU, _DTYPE_NUMBERS[values.dtype])
        parts = [values]
        if row_numbers is not None:
            parts.append(row_numbers)
            head += _INT32.pack(_DTYPE_NUMBERS[row_numbers.dtype])
            head += _encode_shape(row_numbers.shape)
        views += [memoryview(b"".join([*pieces, head])), *map(_bytes_of, parts)]
        pieces = []
    pieces.append(_UINT64.pack(len(arrays)))
    for name in arrays:
        encoded = name.encode()
        pieces += [_UINT64.pack(len(encoded)), encoded]
    return [*views, memoryview(b"".join(pieces))]


def _parts_of(
    array: StoredArray | RowTensor | Tensor,
) -> tuple[NDArray[Any] | Tensor, NDArray[Any] | Tensor | None]:
    """Return the numbers of an array, and those of its rows if it has a list of them."""
    if isinstance(array, RowTensor):
        return array.values, array.row_numbers
    return (array, None) if isinstance(array, Tensor) else (array.values, array.row_numbers)


class _Cursor:
    """A position in the file, which moves forward as bytes are taken."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = memoryview(data)
        self.offset = 0

    @property
    def num_left(self) -> int:
        return len(self._data) - self.offset

    def take(self, num_bytes: int, what: str) -> memoryview:
        if num_bytes > self.num_left:
            raise UserError(
                f"truncated: {what} of {num_bytes} bytes at byte offset {self.offset}, "
                f"{self.num_left} bytes are left"
            )
        start = self.offset
        self.offset += num_bytes
        return self._data[start : self.offset]

    def number(self, form: struct.Struct, what: str) -> int:
        number: int = form.unpack(self.take(form.size, what))[0]
        return number

    def shape(self, ndim: int, form: struct.Struct) -> tuple[int, ...]:
        if ndim > _MAX_NDIM:
            raise UserError(f"a shape of {ndim} dimensions, allowed are {_MAX_NDIM}")
        shape = tuple(
            number for (number,) in form.iter_unpack(self.take(form.size * ndim, "shape"))
        )
        if min(shape, default=0) < 0 or math.prod(max(n, 1) for n in shape) > _MAX_LENGTH:
            raise UserError(f"shape {shape}, allowed are lengths from 0 to {_MAX_LENGTH} in all")
        return shape

    def array(self, dtype: np.dtype[Any], shape: tuple[int, ...], what: str) -> NDArray[Any]:
        data = self.take(dtype.itemsize * math.prod(shape), what)
        # Align it: an odd number of bytes may come before it.
        return np.require(np.frombuffer(data, dtype).reshape(shape), requirements="A")


def _decode_array(cursor: _Cursor) -> StoredArray:
    magic = cursor.number(_UINT32, "magic")
    stored_shape: tuple[int, ...] | None = None
    if magic in {_V2, _V3}:
        storage = cursor.number(_INT32, "storage")
        allowed = {_DENSE, _ROW_SPARSE} if magic == _V2 else {_DENSE}
        if storage not in allowed:
            raise UserError(f"storage {storage}, allowed are 0 (dense) and, in V2, 1 (row_sparse)")
        if storage == _ROW_SPARSE:
            stored_shape = _decode_shape(cursor, magic) or ()
        shape = _decode_shape(cursor, magic)
    elif magic == _V1:
        shape = _decode_shape(cursor, magic)
    else:
        shape = cursor.shape(magic, _UINT32) or None
    if shape is None:
        return StoredArray.dense(np.empty(0, np.float32))
    cursor.number(_INT32, "device")
    cursor.number(_INT32, "device number")
    dtype = _decode_dtype(cursor)
    if stored_shape is None:
        return StoredArray(cursor.array(dtype, shape, "data"), shape)
    return _decode_rows(cursor, dtype, stored_shape, shape)


def _decode_rows(
    cursor: _Cursor, dtype: np.dtype[Any], stored_shape: tuple[int, ...], shape: tuple[int, ...]
) -> StoredArray:
    """Read the rest of a row_sparse array: dtype and shape of row numbers, rows, row numbers."""
    number_dtype = _decode_dtype(cursor)
    numbers_shape = _decode_shape(cursor, _V2)
    if number_dtype.kind != "i":
        raise UserError(f"row numbers of dtype {number_dtype}, allowed is int64")
    if stored_shape[1:] != shape[1:] or numbers_shape != stored_shape[:1]:
        raise UserError(
            f"rows of shape {stored_shape} with row numbers of shape {numbers_shape} for an array "
            f"of shape {shape}"
        )
    values = cursor.array(dtype, stored_shape, "data")
    numbers = cursor.array(number_dtype, numbers_shape, "row numbers").astype(np.int64)
    if len(numbers) and (
        numbers[0] < 0 or numbers[-1] >= shape[0] or np.any(numbers[1:] <= numbers[:-1])
    ):
        raise UserError(f"row numbers are not ascending within [0, {shape[0]})")
    return StoredArray(values, shape, numbers)


def _decode_shape(cursor: _Cursor, magic: int) -> tuple[int, ...] | None:
    """Read a shape; None if the array has none."""
    ndim = cursor.number(_INT32, "number of dimensions")
    none = -1 if magic == _V3 else 0
    if ndim == none:
        return None
    if ndim < 0:
        raise UserError(f"a shape of {ndim} dimensions, allowed are 1 to {_MAX_NDIM}")
    return cursor.shape(ndim, _INT64)


def _decode_dtype(cursor: _Cursor) -> np.dtype[Any]:
    number = cursor.number(_INT32, "dtype")
    if number not in _DTYPES:
        raise UserError(f"dtype {number}, allowed are 0 to {max(_DTYPES)}")
    return _DTYPES[number]


def _decode_name(cursor: _Cursor) -> str:
    data = cursor.take(cursor.number(_UINT64, "length of a name"), "name")
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"a name is not UTF-8: {bytes(data[:32])!r}") from error


def _encode_shape(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<i{len(shape)}q", len(shape), *shape)


def _bytes_of(array: NDArray[Any] | Tensor) -> memoryview | Tensor:
    if isinstance(array, Tensor):
        return array
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
