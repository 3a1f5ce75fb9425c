"""Save and load a model: one safetensors file, which appears whole or not at all.

The file holds the float32 tensors `w0` (1,), `w` (feature_dim,) and `V` (feature_dim, num_factors)
and a `Manifest` as JSON under the metadata key `fm_algo`. Of a model with S samples it holds also
`sample_w0` (S, 1), `sample_w` (S, feature_dim) and `sample_V` (S, feature_dim, the samples' own
num_factors). Of a model of tables it holds also the arrays of its `Tables`, their names after
`tables.`; of one with weights of fields those of `field_tensors`, after `fields.`. It holds no
code. Loading maps the file: the processes that serve a model share one copy, and even a large model
opens at once.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import safetensors

from fm_algo.artifacts.field_tensors import OF_FIELDS, field_tensors, field_weights_of
from fm_algo.artifacts.model_tensors import (
    NAMES,
    NAMES_WITH_SAMPLES,
    OF_A_SAMPLE,
    OF_TABLES,
    SlicedModel,
    model_tensors,
)
from fm_algo.artifacts.tensors import map_tensors, write_tensors
from fm_algo.artifacts.whole_file import write_whole
from fm_algo.data.tables.encoder import below, named
from fm_algo.data.tables.tables import Tables
from fm_algo.errors import UserError
from fm_algo.model import FMModel, PredictorType
from fm_algo.sparse import Float32Array

MODEL_FILE = "model.safetensors"
FORMAT_VERSION = 4
"""The latest that is read: that of a file with weights of fields. A file has the lowest that it
needs, so that as many releases as can read it do."""

_VERSION_WITH_TABLES = 3
_VERSION_WITH_SAMPLES = 2
_VERSION_OF_A_PLAIN_MODEL = 1

Label = str | int | float | bool
"""What a class may be called."""

_METADATA_KEY = "fm_algo"


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
    tables : dict of str to object
        Of a model of tables: what `Tables.describe` tells.
    fields : tuple of str
        Names of the fields whose pairs have weights.
    """

    format_version: int
    predictor_type: PredictorType
    hyperparameters: dict[str, object] = {}
    labels: tuple[Label, ...] | msgspec.UnsetType = msgspec.UNSET
    tables: dict[str, object] | msgspec.UnsetType = msgspec.UNSET
    fields: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model and what is kept with it.

    Attributes
    ----------
    model : FMModel
    hyperparameters : dict of str to object
        Those the model was trained with; those of the built-in are all strings.
    tables : Tables or None
        Of a model of tables.
    labels : tuple of Label or None
        What the classes 0 and 1 are called, where the library trained on other labels.
    """

    model: FMModel
    hyperparameters: dict[str, object]
    tables: Tables | None = None
    labels: tuple[Label, ...] | None = None


def save_model(
    directory: Path,
    model: SlicedModel,
    hyperparameters: dict[str, object],
    *,
    tables: Tables | None = None,
    labels: tuple[Label, ...] | None = None,
) -> Path:
    """Write `model` into `directory`, which must exist.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model.
    model : SlicedModel
        With the samples or the weights of fields that an `FMModel` may have.
    hyperparameters : dict of str to object
        Kept in the manifest; JSON types.
    labels : tuple of Label, optional
        Kept in the manifest: what the classes 0 and 1 are called.
    tables : Tables, optional
        Of a model of tables. Its candidates are computed from the model.

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
    field_weights = model.field_weights if isinstance(model, FMModel) else None
    version = _VERSION_WITH_SAMPLES if samples else _VERSION_OF_A_PLAIN_MODEL
    if tables is not None:
        version = _VERSION_WITH_TABLES
    if field_weights is not None:
        version = FORMAT_VERSION
    manifest = Manifest(
        format_version=version,
        predictor_type=model.predictor_type,
        hyperparameters=hyperparameters,
        labels=msgspec.UNSET if labels is None else labels,
        tables=msgspec.UNSET if tables is None else tables.describe(),
        fields=msgspec.UNSET if field_weights is None else field_weights.space.fields,
    )
    metadata = {_METADATA_KEY: msgspec.json.encode(manifest).decode()}
    path = directory / MODEL_FILE
    of_fields = {} if field_weights is None else named(OF_FIELDS, field_tensors(field_weights))
    with write_whole(path, "the model") as file:
        tensors = model_tensors(model, samples, tables, Path(file.name))
        write_tensors(file, metadata, tensors | of_fields)
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
    return load_stored_model(directory).model


def load_tables(directory: Path) -> Tables | None:
    """Map the tables of the model that `save_model` wrote into `directory`.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model; read only.

    Returns
    -------
    Tables or None
        None of a model of numbered features.

    Raises
    ------
    UserError
        As from `load_model`.
    """
    return load_stored_model(directory).tables


def load_stored_model(directory: Path) -> StoredModel:
    """Map the model that `save_model` wrote into `directory`, and its tables.

    Parameters
    ----------
    directory : Path
        E.g. /opt/ml/model; read only.

    Returns
    -------
    StoredModel
        All its arrays are read-only views of the file.

    Raises
    ------
    UserError
        If there is no model file, or it is not one of ours.
    """
    manifest = load_manifest(directory)
    path = directory / MODEL_FILE
    try:
        tensors = map_tensors(path)
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{path} is not a model file of this library: {error}") from error
    labels = None if manifest.labels is msgspec.UNSET else manifest.labels
    told = ((OF_TABLES, manifest.tables), (OF_FIELDS, manifest.fields))
    apart = tuple(f"{prefix}." for prefix, what in told if what is not msgspec.UNSET)
    own = {name: tensors[name] for name in tensors if not name.startswith(apart)}
    model = _view_model(path, manifest.predictor_type, own)
    if manifest.fields is not msgspec.UNSET:
        try:
            field_weights = field_weights_of(
                manifest.fields, below(OF_FIELDS, tensors), model.feature_dim
            )
        except UserError as error:
            raise UserError(f"{path}: {error.message}") from error
        model = dataclasses.replace(model, field_weights=field_weights)
    if manifest.tables is msgspec.UNSET:
        return StoredModel(model, manifest.hyperparameters, labels=labels)
    of_tables = below(OF_TABLES, tensors)
    try:
        tables = Tables.of_arrays(manifest.tables, of_tables)
        weights = model.field_weights
        num_fields = None if weights is None else len(weights.R)
        tables.check_fits(model.feature_dim, model.num_factors, num_fields)
    except UserError as error:
        raise UserError(f"{path}: {error.message}") from error
    return StoredModel(model, manifest.hyperparameters, tables, labels)


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


def _view_model(
    path: Path, predictor_type: PredictorType, tensors: Mapping[str, Float32Array]
) -> FMModel:
    """Return the model of a file with its samples, as views of it."""
    if tensors.keys() not in (NAMES, NAMES_WITH_SAMPLES):
        raise UserError(
            f"{path} holds the tensors {sorted(tensors)}, expected V, w and w0, and of a model "
            "with samples sample_V, sample_w and sample_w0"
        )
    for name, tensor in tensors.items():
        if tensor.dtype != "float32":
            raise UserError(f"{path}: tensor {name} is {tensor.dtype}, expected F32")
    w0, w, V = tensors["w0"], tensors["w"], tensors["V"]
    if w0.shape != (1,) or V.ndim != 2 or w.shape != (V.shape[0],) or 0 in V.shape:
        raise UserError(
            f"{path} holds w0 {w0.shape}, w {w.shape} and V {V.shape}; expected (1,), "
            "(feature_dim,) and (feature_dim, num_factors)"
        )
    samples: tuple[FMModel, ...] = ()
    if tensors.keys() != NAMES:
        samples = _view_samples(path, predictor_type, tensors)
    return FMModel(predictor_type, w0, w, V, samples)


def _view_samples(
    path: Path, predictor_type: PredictorType, tensors: Mapping[str, Float32Array]
) -> tuple[FMModel, ...]:
    """Return the samples of a file, as views of it."""
    w0, w, V = (tensors[OF_A_SAMPLE + name] for name in ("w0", "w", "V"))
    shape = (*w0.shape[:1], len(tensors["w"]))  # (S, feature_dim)
    if w0.shape != (shape[0], 1) or w.shape != shape or V.shape[:-1] != shape or 0 in V.shape:
        raise UserError(
            f"{path} holds sample_w0 {w0.shape}, sample_w {w.shape} and sample_V {V.shape} beside "
            f"w {tensors['w'].shape}; expected (num_samples, 1), (num_samples, feature_dim) and "
            "(num_samples, feature_dim, num_factors)"
        )
    return tuple(FMModel(predictor_type, *parameters) for parameters in zip(w0, w, V, strict=True))
