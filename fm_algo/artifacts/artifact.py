"""Save and load a model: one safetensors file, which appears whole or not at all.

The file holds the float32 tensors `w0` (1,), `w` (feature_dim,) and `V` (feature_dim, num_factors)
and a `Manifest` as JSON under the metadata key `fm_algo`. Of a model with S samples it holds also
`sample_w0` (S, 1), `sample_w` (S, feature_dim) and `sample_V` (S, feature_dim, the samples' own
num_factors). It holds no code. Loading maps the file: the
processes that serve a model share one copy, and even a large model opens at once.
"""

import itertools
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
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
FORMAT_VERSION = 2
"""The latest that is read: that of a file with samples. One without has 1, for every release."""

_VERSION_WITHOUT_SAMPLES = 1

Label = str | int | float | bool
"""What a class may be called."""

_METADATA_KEY = "fm_algo"
_OF_A_SAMPLE = "sample_"
_NAMES = {"w0", "w", "V"}
_NAMES_WITH_SAMPLES = _NAMES | {_OF_A_SAMPLE + name for name in _NAMES}

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
    labels : tuple of Label, optional
        What the library calls the classes 0 and 1. A server answers with 0 and 1 all the same.
    """

    format_version: int
    predictor_type: PredictorType
    hyperparameters: dict[str, object] = {}
    labels: tuple[Label, ...] | msgspec.UnsetType = msgspec.UNSET


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


def save_model(
    directory: Path,
    model: SlicedModel,
    hyperparameters: dict[str, object],
    labels: tuple[Label, ...] | None = None,
) -> Path:
    """Write `model` into `directory`, which must exist.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model.
    model : SlicedModel
        With the samples that an `FMModel` may have.
    hyperparameters : dict of str to object
        Kept in the manifest; JSON types.
    labels : tuple of Label, optional
        Kept in the manifest: what the classes 0 and 1 are called.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    UserError
        If a sample is no model of these features, or not as wide as the others.
    PlatformError
        If it cannot be written. No partial file is left under the final name.
    """
    samples = model.samples if isinstance(model, FMModel) else ()
    _check_alike(model, samples)
    manifest = Manifest(
        format_version=FORMAT_VERSION if samples else _VERSION_WITHOUT_SAMPLES,
        predictor_type=model.predictor_type,
        hyperparameters=hyperparameters,
        labels=msgspec.UNSET if labels is None else labels,
    )
    path = directory / MODEL_FILE
    with write_whole(path, "the model") as file:
        write_pieces(file, _pieces(model, samples, msgspec.json.encode(manifest).decode()))
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
        Its arrays are read-only views of the file, and so are those of its samples.

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
    if tensors.keys() not in (_NAMES, _NAMES_WITH_SAMPLES):
        raise UserError(
            f"{path} holds the tensors {sorted(tensors)}, expected V, w and w0, and of a model "
            "with samples sample_V, sample_w and sample_w0"
        )
    w0, w, V = tensors["w0"], tensors["w"], tensors["V"]
    if w0.shape != (1,) or V.ndim != 2 or w.shape != (V.shape[0],) or 0 in V.shape:
        raise UserError(
            f"{path} holds w0 {w0.shape}, w {w.shape} and V {V.shape}; expected (1,), "
            "(feature_dim,) and (feature_dim, num_factors)"
        )
    samples: tuple[FMModel, ...] = ()
    if tensors.keys() != _NAMES:
        samples = _view_samples(path, manifest.predictor_type, tensors)
    return FMModel(manifest.predictor_type, w0, w, V, samples)


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


def _check_alike(model: SlicedModel, samples: Sequence[FMModel]) -> None:
    """Check that samples fit into three tensors beside those of the model."""
    for number, sample in enumerate(samples):
        expected = model.predictor_type, model.w.shape[0], samples[0].num_factors
        found = sample.predictor_type, sample.feature_dim, sample.num_factors
        if found != expected or sample.samples:
            raise UserError(
                f"sample {number} is a {found[0]} of feature_dim {found[1]} and num_factors "
                f"{found[2]} with {len(sample.samples)} samples; expected {expected[0]}, "
                f"{expected[1]}, {expected[2]} and none, as the model and its first sample have"
            )


def _view_samples(
    path: Path, predictor_type: PredictorType, tensors: Mapping[str, Float32Array]
) -> tuple[FMModel, ...]:
    """Return the samples of a file, as views of it."""
    w0, w, V = (tensors[_OF_A_SAMPLE + name] for name in ("w0", "w", "V"))
    shape = (*w0.shape[:1], len(tensors["w"]))  # (S, feature_dim)
    if w0.shape != (shape[0], 1) or w.shape != shape or V.shape[:-1] != shape or 0 in V.shape:
        raise UserError(
            f"{path} holds sample_w0 {w0.shape}, sample_w {w.shape} and sample_V {V.shape} beside "
            f"w {tensors['w'].shape}; expected (num_samples, 1), (num_samples, feature_dim) and "
            "(num_samples, feature_dim, num_factors)"
        )
    return tuple(FMModel(predictor_type, *parameters) for parameters in zip(w0, w, V, strict=True))


def _pieces(
    model: SlicedModel, samples: Sequence[FMModel], manifest: str
) -> Iterator[bytes | memoryview]:
    """Make a safetensors file in blocks: its own library wants whole, contiguous tensors.

    A model in training is a view of the optimiser's rows or lies on several hosts. A copy of it
    may not fit in memory.
    """
    header: dict[str, object] = {"__metadata__": {_METADATA_KEY: manifest}}
    tensors = {name: (array.shape, [array]) for name, array in _parameters(model).items()}
    for name in tuple(tensors) if samples else ():
        arrays = [_parameters(sample)[name] for sample in samples]
        tensors[_OF_A_SAMPLE + name] = (len(samples), *arrays[0].shape), arrays
    end = 0
    for name, (shape, _) in tensors.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-len(encoded) % 8)  # so that the data is aligned
    yield struct.pack("<Q", len(encoded)) + encoded
    for array in itertools.chain.from_iterable(arrays for _, arrays in tensors.values()):
        rows = max(1, _BLOCK_NUMBERS // math.prod(array.shape[1:]))
        for first in range(0, array.shape[0], rows):
            yield array[first : first + rows].astype("<f4", order="C").data


def _parameters(model: SlicedModel) -> dict[str, SlicedArray]:
    return {"w0": model.w0, "w": model.w, "V": model.V}


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
