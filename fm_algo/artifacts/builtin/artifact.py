"""Read and write the built-in's model artifact: a ZIP of meta.json, symbol.json and params.

Source: the artifact of a real job of the built-in, and public notebooks that read such artifacts.
The archive is named after the host that wrote it, e.g. model_algo-1.
"""

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np

from fm_algo.artifacts.archive import read_zip, write_zip
from fm_algo.artifacts.builtin.ndarray import (
    RowTensor,
    StoredArray,
    decode_ndarray_list,
    encode_ndarray_list,
)
from fm_algo.artifacts.builtin.symbol import decode_predictor_type, encode_symbol
from fm_algo.artifacts.model_tensors import SlicedModel, float_tensor
from fm_algo.artifacts.tensors import Tensor
from fm_algo.artifacts.whole_file import write_whole
from fm_algo.errors import UserError
from fm_algo.hyperparameters import OF_TABLES, Hyperparameters, parse_hyperparameters
from fm_algo.model import FMModel, PredictorType
from fm_algo.model.plain import check_plain
from fm_algo.sparse import MAX_FEATURE_DIM, Float32Array

ARCHIVE = "model_algo-1"

_ARCHIVES = "model_algo-*"
# Names of each file: in the archive, and after the renaming that MXNet's own loader requires.
_META = ("meta.json",)
_SYMBOL = ("symbol.json", "model-symbol.json")
_PARAMS = ("params", "model-0000.params")
_NAMES = (*_META, *_SYMBOL, *_PARAMS)
_OF_SYMBOL = ("feature_dim", "num_factors", "predictor_type", "bias_", "linear_", "factors_")
"""How the hyperparameters begin that `encode_symbol` writes."""

_MAX_JSON_BYTES = 1 << 24
_PREDICTOR_TYPES: tuple[PredictorType, ...] = get_args(PredictorType)


class _Meta(msgspec.Struct, frozen=True):
    training_parameters: dict[str, object] = {}


def find_builtin_model(directory: Path) -> Path | None:
    """Find the built-in's artifact in a directory.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model.

    Returns
    -------
    Path or None
        The archive model_algo-1, or that of another host; the directory itself if it holds the
        files of the archive; None if there is neither.
    """
    archives = sorted(directory.glob(_ARCHIVES), key=lambda path: (len(path.name), path.name))
    if archives:
        return archives[0]
    return directory if any((directory / name).is_file() for name in _PARAMS) else None


def is_builtin_file(name: str) -> bool:
    """Return whether a file of this name is the built-in's archive or a part of it."""
    return name in _NAMES or fnmatch.fnmatchcase(name, _ARCHIVES)


def load_builtin_model(path: Path) -> FMModel:
    """Load a model that the built-in algorithm trained.

    Parameters
    ----------
    path : Path
        The archive model_algo-1, or a directory with this archive or its three files.

    Returns
    -------
    FMModel
        Holds the numbers as stored; rows that are not stored are zeros.

    Raises
    ------
    UserError
        If there is no such artifact or it cannot be read.
    """
    return read_builtin_model(path)[0]


def read_builtin_model(path: Path) -> tuple[FMModel, dict[str, object]]:
    """Load a model that the built-in trained, and its hyperparameters.

    Parameters
    ----------
    path : Path
        As for `load_builtin_model`.

    Returns
    -------
    model : FMModel
    hyperparameters : dict of str to object
        The training_parameters of meta.json, which the built-in writes as strings; {} without
        that file.

    Raises
    ------
    UserError
        As from `load_builtin_model`.
    """
    found = find_builtin_model(path) if path.is_dir() else path
    if found is None or not found.exists():
        raise UserError(f"no model of the built-in algorithm at {path}: expected {ARCHIVE}")
    files: Mapping[str, bytes | bytearray] = (
        _read_loose(found) if found.is_dir() else read_zip(found, _NAMES)
    )
    try:
        return _decode(files)
    except UserError as error:
        raise error.within(str(found)) from error


def save_builtin_model(
    directory: Path, model: SlicedModel, hyperparameters: Mapping[str, object]
) -> Path:
    """Write a model as the built-in algorithm does, for programs that read its artifact.

    Parameters
    ----------
    directory : Path
        Must exist.
    model : SlicedModel
        All its rows are stored, as the built-in does, and a few megabytes are in memory at a time.
        The layout holds w0, w and V: samples and weights of fields that an `FMModel` may have are
        left out.
    hyperparameters : mapping of str to object
        Those the model was trained with; written to meta.json as strings, None and those of tables
        left out.

    Returns
    -------
    Path
        The archive written. The same arguments give the same bytes.

    Raises
    ------
    UserError
        If the value of a hyperparameter is not allowed, or pairs of fields have weights.
    PlatformError
        If it cannot be written.
    """
    feature_dim, num_factors = model.V.shape
    if isinstance(model, FMModel):
        check_plain(model)
    parameters = {
        name: _text(value)
        for name, value in hyperparameters.items()
        if value is not None and name not in OF_TABLES
    } | {
        "feature_dim": str(feature_dim),
        "num_factors": str(num_factors),
        "predictor_type": model.predictor_type,
    }
    known = {
        name: parameters[name]
        for name in Hyperparameters.__struct_fields__
        if name in parameters and name.startswith(_OF_SYMBOL)
    }
    meta = {
        "version": 1,
        "epoch_number": 1,
        "training_parameters": parameters,
        "label_names": ["out_label"],
    }
    arrays: dict[str, RowTensor | Tensor] = {
        "arg:w1_weight": RowTensor(replace(float_tensor(model.w), shape=(feature_dim, 1))),
        "arg:w0_weight": float_tensor(model.w0),
        "arg:v": RowTensor(float_tensor(model.V)),
    }
    members: dict[str, Sequence[memoryview | Tensor]] = {
        "meta.json": [memoryview(json.dumps(meta).encode())],
        "symbol.json": [memoryview(encode_symbol(parse_hyperparameters(known)))],
        "params": encode_ndarray_list(arrays),
    }
    path = directory / ARCHIVE
    with write_whole(path) as file:
        write_zip(file, members)
    return path


def _read_loose(directory: Path) -> dict[str, bytes]:
    try:
        return {
            name: (directory / name).read_bytes() for name in _NAMES if (directory / name).is_file()
        }
    except OSError as error:
        raise UserError(f"{directory} cannot be read: {error}") from error


def _decode(files: Mapping[str, bytes | bytearray]) -> tuple[FMModel, dict[str, object]]:
    meta, symbol, params = (
        next((files[name] for name in names if name in files), None)
        for names in (_META, _SYMBOL, _PARAMS)
    )
    if params is None:
        raise UserError(f"files {sorted(files)}, expected params, symbol.json and meta.json")
    for name, content in (("meta.json", meta), ("symbol.json", symbol)):
        if content is not None and len(content) > _MAX_JSON_BYTES:
            raise UserError(f"{name} of {len(content)} bytes, allowed are {_MAX_JSON_BYTES}")
    hyperparameters = {} if meta is None else _decode_meta(meta)
    named = hyperparameters.get("predictor_type")
    if named is None and symbol is not None:
        named = decode_predictor_type(symbol)
    predictor_type = next((known for known in _PREDICTOR_TYPES if known == named), None)
    if predictor_type is None:
        raise UserError(
            f"predictor_type {named!r}, allowed are {', '.join(_PREDICTOR_TYPES)}: it stands in "
            "meta.json, or else follows from symbol.json"
        )
    w0, w, V = _decode_params(params)
    return FMModel(predictor_type, w0, w, V), hyperparameters


def _decode_meta(data: bytes | bytearray) -> dict[str, object]:
    try:
        return msgspec.json.decode(data, type=_Meta).training_parameters
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UserError(f"meta.json cannot be read: {error}") from error


def _decode_params(data: bytes | bytearray) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Find w0, w and V under either set of names; the older set stores matrices transposed."""
    try:
        arrays = {
            name.removeprefix("arg:"): array for name, array in decode_ndarray_list(data).items()
        }
        is_older = "w1_weight" not in arrays and "Linear_Plus_Bias_weight" in arrays
        names = (
            ("Linear_Plus_Bias_bias", "Linear_Plus_Bias_weight", "v")
            if is_older
            else ("w0_weight", "w1_weight", "v")
        )
        if not arrays.keys() >= set(names):
            raise UserError(f"arrays {sorted(arrays)}, expected {', '.join(names)}")
        w0, w, V = (_unfold(name, arrays[name]) for name in names)
    except UserError as error:
        raise error.within("params") from error
    if is_older:
        w, V = w.T, V.T
    feature_dim = len(V) if V.ndim == 2 else 0
    fits = w0.shape == (1,) and w.shape == (feature_dim, 1) and V.size > 0
    if not fits or feature_dim > MAX_FEATURE_DIM:
        raise UserError(
            f"params, shapes {', '.join(f'{name} {arrays[name].shape}' for name in names)}; "
            "expected those of a bias, linear weights and factors of the same features"
        )
    return w0, np.ascontiguousarray(w).reshape(-1), np.ascontiguousarray(V)


def _unfold(name: str, stored: StoredArray) -> Float32Array:
    """Return an array as float32, with zeros for missing rows."""
    if stored.values.dtype.kind != "f":
        raise UserError(f"array {name} of dtype {stored.values.dtype}, allowed are floats")
    try:
        array = stored.unfold()
    except UserError as error:
        raise error.within(f"array {name}") from error
    with np.errstate(over="ignore"):  # becomes inf, and is found below
        narrow: Float32Array = array.astype(np.float32, copy=False)
    if array.itemsize > 4 and not np.array_equal(np.isfinite(narrow), np.isfinite(array)):
        raise UserError(f"array {name} holds numbers too large for float32")
    return narrow


def _text(value: object) -> str:
    """Write a hyperparameter as the built-in does: true, 0.00001."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return np.format_float_positional(value, trim="0")
    return str(value)
