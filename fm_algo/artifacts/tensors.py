"""Write the tensors of a safetensors file in pieces, and map those of a file.

Layout: uint64 header length, JSON header, then the data that its offsets count from
(https://huggingface.co/docs/safetensors, "Format"). Its own library wants whole, contiguous
tensors, and only copies those of a file.
"""

import math
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from fm_algo.artifacts.whole_file import write_pieces
from fm_algo.errors import UserError

_DTYPES = {
    name: np.dtype(code).newbyteorder("<")
    for name, code in (
        ("F32", "f4"), ("I32", "i4"), ("U32", "u4"), ("I64", "i8"), ("U64", "u8"), ("U8", "u1"),
    )
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor to be written.

    Attributes
    ----------
    dtype : dtype
        float32, int32, uint32, int64, uint64 or uint8.
    shape : tuple of int
    pieces : callable
        Returns its numbers in order, in arrays of a few megabytes. Called once all tensors with
        larger numbers, and those before this one with numbers as large, are in the file.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: Callable[[], Iterable[NDArray[Any]]]

    @classmethod
    def of(cls, array: NDArray[Any]) -> "Tensor":
        """Return an array as a tensor."""
        return cls(array.dtype, array.shape, lambda: [array])

    @property
    def num_bytes(self) -> int:
        """Bytes of all its numbers."""
        return self.dtype.itemsize * math.prod(self.shape)

    def encoded(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes of its numbers, little endian, piece by piece."""
        dtype = self.dtype.newbyteorder("<")
        for piece in self.pieces():
            numbers = piece.astype(dtype, "C")
            yield numbers.reshape(-1).view(np.uint8).data if numbers.size else b""


class _Entry(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


def write_tensors(
    file: BinaryIO, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> None:
    """Write a safetensors file.

    Parameters
    ----------
    file : binary file
        Empty.
    metadata : mapping of str to str
    tensors : mapping of str to Tensor
        Those with the largest numbers come first in the file, so that all are aligned.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    in_order = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)
    header: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, tensor in in_order:
        start, end = end, end + tensor.num_bytes
        kind = _NAMES[tensor.dtype.newbyteorder("<")]
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": (start, end)}
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % 8)  # so that the data is aligned
    file.write(struct.pack("<Q", len(encoded)) + encoded)
    for _, tensor in in_order:
        file.flush()  # the next tensor may be made from those in the file
        write_pieces(file, tensor.encoded())


def map_tensors(path: Path, wanted: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Map tensors of a safetensors file.

    Parameters
    ----------
    path : Path
    wanted : collection of str, optional
        Names; default: all. The file need not be complete beyond them.

    Returns
    -------
    dict of str to array
        Read-only views of the file, by name in the file's order.

    Raises
    ------
    UserError
        If a tensor has another dtype than those of `Tensor`, or not as many bytes as its shape.
    OSError, msgspec.MsgspecError
        If it is no such file.
    """
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = msgspec.json.decode(file.read(header_bytes), type=dict[str, msgspec.Raw])
    data = np.memmap(path, np.uint8, mode="r", offset=8 + header_bytes)
    tensors = {}
    for name, raw in header.items():
        if name == "__metadata__" or (wanted is not None and name not in wanted):
            continue
        entry = msgspec.json.decode(raw, type=_Entry)
        dtype = _DTYPES.get(entry.dtype)
        if dtype is None:
            raise UserError(f"{path}: tensor {name} is {entry.dtype}, expected F32")
        first, last = entry.data_offsets
        if last - first != dtype.itemsize * math.prod(entry.shape):
            raise UserError(f"{path}: tensor {name} has {last - first} bytes for {entry.shape}")
        tensors[name] = np.asarray(data[first:last]).view(dtype).reshape(entry.shape)
    return tensors
