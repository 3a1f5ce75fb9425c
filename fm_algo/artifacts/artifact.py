"""Save and load a model: one safetensors file, which appears whole or not at all.

The file holds the float32 tensors `w0` (1,), `w` (feature_dim,) and `V` (feature_dim, num_factors)
and a `Manifest` as JSON under the metadata key `fm_algo`. It holds no code. Loading maps the file:
the processes that serve a model share one copy, and even a large model opens at once.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
import safetensors

from fm_algo.artifacts.whole_file import write_pieces, write_whole
from fm_algo.errors import UserError
from fm_algo.model import FMModel, PredictorType
from fm_algo.sparse import Float32Array

MODEL_FILE = "model.safetensors"
FORMAT_VERSION = 1

_METADATA_KEY = "fm_algo"

_BLOCK_NUMBERS = 1 << 20
"""Numbers written at once, 4 MB. Saving needs memory for only a few such blocks."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a model in its file.

    Attributes
    ----------
    format_version : int
        Raised when an older reader could misread the file.
    predictor_type : {"regressor", "binary_classifier"}
        What the model's score means.
    hyperparameters : dict of str to object
        Those the model was trained with, for the record.
    """

    format_version: int
    predictor_type: PredictorType
    hyperparameters: dict[str, object] = {}


class _Tensor(msgspec.Struct, frozen=True):
    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class SlicedArray(Protocol):
    """An array that can be read in slices of its rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole array."""
        ...

    def __getitem__(self, rows: slice, /) -> Float32Array: ...


class SlicedModel(Protocol):
    """A model that can be read in slices: an `FMModel`, or one spread over several hosts."""

    @property
    def predictor_type(self) -> PredictorType:
        """What the score means."""
        ...

    @property
    def w0(self) -> SlicedArray:
        """Bias, shape (1,)."""
        ...

    @property
    def w(self) -> SlicedArray:
        """Linear weights, shape (feature_dim,)."""
        ...

    @property
    def V(self) -> SlicedArray:  # noqa: N802 - its name in every paper
        """Factors, shape (feature_dim, num_factors)."""
        ...


def save_model(directory: Path, model: SlicedModel, hyperparameters: dict[str, object]) -> Path:
    """Write `model` into `directory`, which must exist.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model.
    model : SlicedModel
    hyperparameters : dict of str to object
        Kept in the manifest; JSON types.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    PlatformError
        If it cannot be written. No partial file is left under the final name.
    """
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        predictor_type=model.predictor_type,
        hyperparameters=hyperparameters,
    )
    path = directory / MODEL_FILE
    with write_whole(path, "the model") as file:
        write_pieces(file, _pieces(model, msgspec.json.encode(manifest).decode()))
    return path


def load_model(directory: Path) -> FMModel:
    """Map the model that `save_model` wrote into `directory`.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model; read only.

    Returns
    -------
    FMModel
        Its arrays are read-only views of the file.

    Raises
    ------
    UserError
        If there is no model file, or it is not one of ours.
    """
    manifest = load_manifest(directory)
    path = directory / MODEL_FILE
    try:
        tensors = _map_tensors(path)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{path} is not a model file of this library: {error}") from error
    if tensors.keys() != {"w0", "w", "V"}:
        raise UserError(f"{path} holds the tensors {sorted(tensors)}, expected V, w and w0")
    w0, w, V = tensors["w0"], tensors["w"], tensors["V"]
    if w0.shape != (1,) or V.ndim != 2 or w.shape != (V.shape[0],) or 0 in V.shape:
        raise UserError(
            f"{path} holds w0 {w0.shape}, w {w.shape} and V {V.shape}; expected (1,), "
            "(feature_dim,) and (feature_dim, num_factors)"
        )
    return FMModel(manifest.predictor_type, w0, w, V)


def load_manifest(directory: Path) -> Manifest:
    """Read the manifest of the model file in `directory`.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model.

    Returns
    -------
    Manifest

    Raises
    ------
    UserError
        If there is no model file, or it is not one of ours.
    """
    path = directory / MODEL_FILE
    if not path.is_file():
        raise UserError(f"no model in {directory}: expected a file {MODEL_FILE}")
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:  # checks sizes and offsets
            written = (opened.metadata() or {}).get(_METADATA_KEY)
        if written is None:
            raise UserError(
                f"{path} is not a model file of this library: no {_METADATA_KEY} in its metadata"
            )
        manifest = msgspec.json.decode(written, type=Manifest)
    except (OSError, safetensors.SafetensorError, msgspec.MsgspecError) as error:
        raise UserError(f"{path} is not a model file of this library: {error}") from error
    if manifest.format_version > FORMAT_VERSION:
        raise UserError(
            f"{path} has format_version {manifest.format_version}; this release reads up to "
            f"{FORMAT_VERSION}"
        )
    return manifest


def _pieces(model: SlicedModel, manifest: str) -> Iterator[bytes | memoryview]:
    """Yield a safetensors file in blocks; its own library needs whole, contiguous tensors.

    A model in training is a view of the optimiser's rows or lies on several hosts. A copy of it
    may not fit in memory.
    """
    header: dict[str, object] = {"__metadata__": {_METADATA_KEY: manifest}}
    tensors: dict[str, SlicedArray] = {"w0": model.w0, "w": model.w, "V": model.V}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + 4 * math.prod(tensor.shape)
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (start, end)}
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % 8)  # so that the data is aligned
    yield struct.pack("<Q", len(encoded)) + encoded
    for tensor in tensors.values():
        rows = max(1, _BLOCK_NUMBERS // math.prod(tensor.shape[1:]))
        for first in range(0, tensor.shape[0], rows):
            yield tensor[first : first + rows].astype("<f4", order="C").data


def _map_tensors(path: Path) -> dict[str, Float32Array]:
    """Map the float32 tensors of a safetensors file; its own library only copies them.

    Layout: uint64 header length, JSON header, then the data that its offsets count from
    (https://huggingface.co/docs/safetensors, "Format").
    """
    with path.open("rb") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        header = msgspec.json.decode(file.read(header_bytes), type=dict[str, msgspec.Raw])
    data = np.memmap(path, np.uint8, mode="r", offset=8 + header_bytes)
    tensors = {}
    for name, raw in header.items():
        if name == "__metadata__":
            continue
        tensor = msgspec.json.decode(raw, type=_Tensor)
        if tensor.dtype != "F32":
            raise UserError(f"{path}: tensor {name} is {tensor.dtype}, expected F32")
        first, last = tensor.data_offsets
        if last - first != 4 * math.prod(tensor.shape):
            raise UserError(f"{path}: tensor {name} has {last - first} bytes for {tensor.shape}")
        tensors[name] = np.asarray(data[first:last]).view(np.float32).reshape(tensor.shape)
    return tensors
